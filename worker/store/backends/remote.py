"""A store in an object store: S3 and what speaks like it, GCS, Azure, or this process's memory."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import MemoryStore, ObjectStore, from_url

from worker.errors import Misconfigured
from worker.store.backends.base import (
    AlreadyThere,
    IllegalName,
    Listed,
    ObjectMissing,
    StoreUnavailable,
    checked,
)

if TYPE_CHECKING:
    from obstore.store import RetryConfig

# Parts of this size, this many on their way: what a writer holds in memory. S3 takes parts from
# 5 MiB on and up to 10,000 of them, so a blob of 4 GiB fits many times over.
PART = 5 << 20
PARTS_AT_ONCE = 3
CAUSE_LIMIT = 300
NO_BUCKET_CODES = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
# Options of the HTTP client under every object store; told apart because the library wants them so,
# and panics when it finds one among the others.
CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "default_content_type",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "timeout",
    "user_agent",
)
S3_ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# A store that has never answered is most likely called wrong, and somebody is waiting to hear so.
# One that has answered is worth waiting for: the work of days may stand behind the next put.
FIRST_PATIENCE: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
FIRST_TIMEOUTS = {"connect_timeout": "5s", "timeout": "10s"}
PATIENCE: "RetryConfig" = {
    # The pauses are drawn by lot and can be short: let the time decide, not the number.
    "max_retries": 1000,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {
        "init_backoff": timedelta(seconds=0.2),
        "max_backoff": timedelta(seconds=10),
        "base": 2,
    },
}
# Of a whole request, body included: three parts on a slow line take more than the usual 30 s.
TIMEOUTS = {"connect_timeout": "5s", "timeout": "120s"}
# What services say in XML, among much that is no help, such as the signature that they expected.
SERVICE_ERROR = re.compile(
    r"<Error>.*?<Code>(?P<code>[^<]*)</Code>(?:.*?<Message>(?P<message>[^<]*)</Message>)?", re.S
)
# What the library says of a request that failed: how, where (without the query), how long, why.
FAILED_REQUEST = re.compile(r"Error performing \w+ ([^\s?]+)\S* in .*? - (.*)")


class UnusableStore(Misconfigured):
    """The object-store library can't make a store of this URL and these options."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"store: {url}: {cause}")
        self.url = url


# Stores in memory by URL: to open one again in the same process finds what was put there.
_memories: dict[str, MemoryStore] = {}


def open_remote(url: str, options: Mapping[str, str]) -> "RemoteBackend":
    """Return the store at *url*, with *options* of obstore over the environment."""
    if url.startswith("memory://"):
        return RemoteBackend(_memories.setdefault(url, MemoryStore()), url)
    config = {name: value for name, value in options.items() if name not in CLIENT_OPTIONS}
    if url.startswith("s3://"):
        named = next((os.environ[name] for name in S3_ENDPOINT if os.environ.get(name)), None)
        if named is not None:
            config.setdefault("endpoint", named)
    client: dict[str, Any] = {n: v for n, v in options.items() if n in CLIENT_OPTIONS}
    endpoint = str(config.get("endpoint", ""))
    if endpoint.startswith("http://"):
        client.setdefault("allow_http", True)
    if endpoint and not _is_http(endpoint):
        # The library would panic at the first request.
        raise UnusableStore(url, f"the endpoint {endpoint!r} is not http://HOST or https://HOST")

    def store(timeouts: Mapping[str, str], patience: "RetryConfig") -> ObjectStore:
        # Which options there are depends on the service, and is the library's to say.
        return from_url(  # type: ignore[call-overload, no-any-return]
            url, config=config, client_options={**timeouts, **client}, retry_config=patience
        )

    try:
        return RemoteBackend(
            store(TIMEOUTS, PATIENCE), url, first=store(FIRST_TIMEOUTS, FIRST_PATIENCE)
        )
    except (BaseError, ValueError) as error:
        raise UnusableStore(url, _first_line(error)) from error


def _is_http(endpoint: str) -> bool:
    with contextlib.suppress(ValueError):
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    return False


class RemoteBackend:
    """Objects of an object store, each under its own name below the prefix of *store*."""

    def __init__(self, store: ObjectStore, url: str, *, first: ObjectStore | None = None) -> None:
        """Take *store*, which is called *url*; *first* is asked instead until it has answered."""
        self.url = url
        self._patient = store
        self._store = first or store

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end."""
        if stop is not None and stop <= start:
            return b""
        with self._asking("reading", name):
            if stop is None and start == 0:
                return bytes(obstore.get(self._store, checked(name)).bytes())
            try:
                return self._range(checked(name), start, stop)
            except BaseError:
                # What is said to a range that begins beyond the end differs between services.
                if start < obstore.head(self._store, name)["size"]:
                    raise
                return b""

    def _range(self, name: str, start: int, stop: int | None) -> bytes:
        if stop is None:
            found = obstore.get(self._store, name, options={"range": {"offset": start}})
            return bytes(found.bytes())
        return bytes(obstore.get_range(self._store, name, start=start, end=stop))

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, in place of what was there."""
        with self._asking("writing", name):
            obstore.put(self._store, checked(name), data, use_multipart=False)

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if nothing is there."""
        with self._asking("writing", name):
            obstore.put(self._store, checked(name), data, mode="create", use_multipart=False)

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects below *prefix* that sort after *after*."""
        if prefix:
            if not prefix.endswith("/"):
                raise IllegalName(prefix)
            checked(prefix[:-1])
        # The service may take the offset for one inside the prefix, so one before it is no offset.
        offset = after if after > prefix else None
        with self._asking("listing", prefix):
            for page in obstore.list(self._store, prefix or None, offset=offset):
                for found in page:
                    yield Listed(found["path"], found["size"], found["last_modified"].timestamp())

    def delete(self, name: str) -> None:
        """Delete the object; that there is none is fine."""
        with self._asking("deleting", name), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, checked(name))

    def create(self, name: str) -> "UploadSink":
        """Begin an upload, in parts if it grows beyond one."""
        return UploadSink(self._patient, checked(name), self.url)

    def sync(self, names: Iterable[str]) -> None:
        """Return at once: what an object store has acknowledged is durable."""

    def path(self, name: str) -> None:
        """Return None: nothing here is a file of this machine."""

    def sweep(self, _before: float, /) -> int:
        """Return 0: unfinished uploads are for a lifecycle rule of the bucket."""
        return 0

    @contextlib.contextmanager
    def _asking(self, doing: str, name: str) -> Iterator[None]:
        try:
            with _explained(doing, name, self.url):
                yield
        except (ObjectMissing, AlreadyThere):
            self._store = self._patient
            raise
        self._store = self._patient


class UploadSink:
    """An object while it is being uploaded."""

    def __init__(self, store: ObjectStore, name: str, url: str) -> None:
        """Begin the upload of *name* to the store that is called *url*."""
        self._store = store
        self._name = name
        self._url = url
        with _explained("writing", name, url):
            self._writer = obstore.open_writer(
                store, name, buffer_size=PART, max_concurrency=PARTS_AT_ONCE
            )

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*."""
        with _explained("writing", self._name, self._url):
            self._writer.write(data)

    def close(self) -> None:
        """Complete the upload: the object appears."""
        with _explained("writing", self._name, self._url):
            self._writer.close()

    def discard(self) -> None:
        """Leave no object: the library can't break an upload off, so it is ended and deleted."""
        with _explained("deleting", self._name, self._url):
            if not self._writer.closed():
                self._writer.close()
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, self._name)


@contextlib.contextmanager
def _explained(doing: str, name: str, url: str) -> Iterator[None]:
    """Turn what the library says into the store's errors."""
    try:
        yield
    except FileNotFoundError as error:
        # A bucket that is not there must not look like an empty store.
        if _no_bucket(error):
            raise StoreUnavailable(f"{doing} {name}", _cause(error, url)) from error
        raise ObjectMissing(name) from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise AlreadyThere(name) from error
    except (BaseError, OSError, ValueError) as error:
        raise StoreUnavailable(f"{doing} {name}", _cause(error, url)) from error
    except BaseException as error:
        # Where the library gives up it raises what is no Exception, of a class it does not export.
        if type(error).__name__ != "PanicException":
            raise
        raise StoreUnavailable(f"{doing} {name}", _cause(error, url)) from error


def _cause(error: BaseException, url: str) -> str:
    return f"the bucket does not exist ({url})" if _no_bucket(error) else _first_line(error)


def _no_bucket(error: BaseException) -> bool:
    return any(code in str(error) for code in NO_BUCKET_CODES)


def _first_line(error: BaseException) -> str:
    text = str(error)
    if said := SERVICE_ERROR.search(text):
        return ": ".join(unescape(part) for part in said.groups() if part)[:CAUSE_LIMIT]
    # What follows is how the library came to it, page after page.
    text = text.partition("\n")[0]
    if failed := FAILED_REQUEST.search(text):
        text = ": ".join(failed.groups())
    return text[:CAUSE_LIMIT]
