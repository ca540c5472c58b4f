"""A store in an object store: S3 and what speaks like it, GCS, Azure, or this process's memory."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import MemoryStore, ObjectStore, from_url

from worker.errors import Invalid
from worker.store.backends.base import (
    AlreadyThere,
    IllegalName,
    Listed,
    ObjectMissing,
    StoreUnavailable,
    checked,
)

# Parts of this size, this many on their way: what a writer holds in memory. S3 takes parts from
# 5 MiB on and up to 10,000 of them, so a blob of 4 GiB fits many times over.
PART = 5 << 20
PARTS_AT_ONCE = 3
CAUSE_LIMIT = 300
NO_BUCKET = "the bucket does not exist"
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


class UnusableStore(Invalid):
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
    if str(config.get("endpoint", "")).startswith("http://"):
        client.setdefault("allow_http", True)
    try:
        # Which options there are depends on the service, and is the library's to say.
        store = from_url(url, config=config, client_options=client)  # type: ignore[call-overload]
    except (BaseError, ValueError) as error:
        raise UnusableStore(url, _first_line(error)) from error
    return RemoteBackend(store, url)


class RemoteBackend:
    """Objects of an object store, each under its own name below the prefix of *store*."""

    def __init__(self, store: ObjectStore, url: str) -> None:
        """Take *store*, which is called *url*."""
        self.url = url
        self._store = store

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end."""
        if stop is not None and stop <= start:
            return b""
        with _explained(f"reading {name}", name):
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
        with _explained(f"writing {name}", name):
            obstore.put(self._store, checked(name), data, use_multipart=False)

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if nothing is there."""
        with _explained(f"writing {name}", name):
            obstore.put(self._store, checked(name), data, mode="create", use_multipart=False)

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects below *prefix* that sort after *after*."""
        if prefix:
            if not prefix.endswith("/"):
                raise IllegalName(prefix)
            checked(prefix[:-1])
        # The service may take the offset for one inside the prefix, so one before it is no offset.
        offset = after if after > prefix else None
        with _explained(f"listing {prefix}"):
            for page in obstore.list(self._store, prefix or None, offset=offset):
                for found in page:
                    yield Listed(found["path"], found["size"], found["last_modified"].timestamp())

    def delete(self, name: str) -> None:
        """Delete the object; that there is none is fine."""
        with _explained(f"deleting {name}"), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, checked(name))

    def create(self, name: str) -> "UploadSink":
        """Begin an upload, in parts if it grows beyond one."""
        return UploadSink(self._store, checked(name))

    def sync(self, names: Iterable[str]) -> None:
        """Return at once: what an object store has acknowledged is durable."""

    def path(self, name: str) -> None:
        """Return None: nothing here is a file of this machine."""

    def sweep(self, _before: float, /) -> int:
        """Return 0: unfinished uploads are for a lifecycle rule of the bucket."""
        return 0


class UploadSink:
    """An object while it is being uploaded."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        """Begin the upload of *name*."""
        self._store = store
        self._name = name
        with _explained(f"writing {name}"):
            self._writer = obstore.open_writer(
                store, name, buffer_size=PART, max_concurrency=PARTS_AT_ONCE
            )

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*."""
        with _explained(f"writing {self._name}"):
            self._writer.write(data)

    def close(self) -> None:
        """Complete the upload: the object appears."""
        with _explained(f"writing {self._name}"):
            self._writer.close()

    def discard(self) -> None:
        """Leave no object: the library can't break an upload off, so it is ended and deleted."""
        with _explained(f"deleting {self._name}"):
            if not self._writer.closed():
                self._writer.close()
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, self._name)


@contextlib.contextmanager
def _explained(doing: str, name: str = "") -> Iterator[None]:
    """Turn what the library says into the store's errors."""
    try:
        yield
    except FileNotFoundError as error:
        # A bucket that is not there must not look like an empty store.
        if _no_bucket(error):
            raise StoreUnavailable(doing, NO_BUCKET) from error
        raise ObjectMissing(name) from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise AlreadyThere(name) from error
    except (BaseError, OSError, ValueError) as error:
        cause = NO_BUCKET if _no_bucket(error) else _first_line(error)
        raise StoreUnavailable(doing, cause) from error


def _no_bucket(error: Exception) -> bool:
    return any(code in str(error) for code in NO_BUCKET_CODES)


def _first_line(error: Exception) -> str:
    # What follows is how the library came to it, page after page.
    return str(error).partition("\n")[0][:CAUSE_LIMIT]
