"""The backend in an object store: S3 and compatible services, GCS, Azure, or memory."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import MemoryStore, ObjectStore, from_url

from worker.errors import Misconfigured
from worker.store.backends.attempts import (
    FIRST,
    LATER,
    ONCE,
    Attempts,
    Client,
    Retry,
    RetryPolicy,
    first_line,
    is_not_implemented,
)
from worker.store.backends.base import (
    AlreadyThere,
    Listed,
    NoPutIfAbsent,
    ObjectMissing,
    StoreUnavailable,
    WriteUncertain,
    checked,
    checked_prefix,
)
from worker.store.backends.chunks import ChunkSink, read_chunks

LIST_PAGE = 1000
# Options of the HTTP client, which all object stores share. The library takes them separately, and
# panics if it finds one among the options of the store.
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


class UnusableStore(Misconfigured):
    """The object-store library rejects the URL or the options."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"store: {url}: {cause}")
        self.url = url


# Stores in memory by URL, so that a store can be opened again in the same process.
_memories: dict[str, MemoryStore] = {}


def open_remote(url: str, options: Mapping[str, str]) -> "RemoteBackend":
    """Return the backend at *url*; *options* of obstore take precedence over the environment.

    Raises UnusableStore.
    """
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
        # The library panics at the first request to it.
        raise UnusableStore(url, f"the endpoint {endpoint!r} is not http://HOST or https://HOST")

    def store(policy: RetryPolicy) -> ObjectStore:
        return from_url(  # type: ignore[call-overload, no-any-return]  # options depend on the service
            url,
            config=config,
            client_options={**policy.timeouts, **client},
            retry_config=ONCE,
        )

    try:
        return RemoteBackend(store(LATER), url, first=store(FIRST))
    except (BaseError, ValueError) as error:
        raise UnusableStore(url, first_line(error)) from error


def _is_http(endpoint: str) -> bool:
    with contextlib.suppress(ValueError):
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    return False


class RemoteBackend:
    """Objects of an object store, each under its own name below the prefix of the store."""

    def __init__(self, store: ObjectStore, url: str, *, first: ObjectStore | None = None) -> None:
        """Use *store* at *url*; *first*, if given, until it has responded once."""
        self.url = url
        self._client = Client(store, url, first=first)

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end."""
        checked(name)
        if stop is not None and stop <= start:
            return b""
        return self._client.send("reading", name, lambda store: _get(store, name, start, stop))

    def exists(self, name: str) -> bool:
        """Return whether the object exists, with a HEAD request."""
        checked(name)
        try:
            self._client.send("looking for", name, lambda store: obstore.head(store, name))
        except ObjectMissing:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, and replace an existing object."""
        checked(name)
        self._client.send("writing", name, lambda store: _put(store, name, data))

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if there is no such object.

        If the response to an attempt was lost, but the object stored, the next attempt finds an
        object with the same bytes.
        """
        checked(name)

        def attempt(store: ObjectStore) -> None:
            try:
                obstore.put(store, name, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError) as conflict:
                try:
                    found = _get(store, name, 0, None)
                except FileNotFoundError:
                    raise conflict from None  # another write is in progress, and can still fail
                if found != data:
                    raise AlreadyThere(name) from conflict

        try:
            self._client.send("writing", name, attempt, no_response=WriteUncertain)
        except StoreUnavailable as error:
            if is_not_implemented(error.__cause__):
                raise NoPutIfAbsent(self.url, error.cause) from error
            raise

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects below *prefix* that sort after *after*."""
        checked_prefix(prefix)
        last = after
        attempts = Attempts(self._client, "listing", prefix)
        while True:
            # Some services resolve the offset within the prefix, so an earlier one is not sent.
            offset = last if last > prefix else None
            try:
                with attempts.next() as store:
                    for page in obstore.list(
                        store, prefix or None, offset=offset, chunk_size=LIST_PAGE
                    ):
                        for found in page:
                            yield Listed(
                                found["path"], found["size"], found["last_modified"].timestamp()
                            )
                            last = found["path"]
                        attempts.restart()
                    return
            except Retry:
                continue

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below *prefix*, with a delimited LIST."""
        checked_prefix(prefix)
        found = self._client.send(
            "listing", prefix, lambda store: obstore.list_with_delimiter(store, prefix or None)
        )
        return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])

    def delete(self, name: str) -> None:
        """Delete the object if it exists."""
        checked(name)
        with contextlib.suppress(ObjectMissing):
            self._client.send("deleting", name, lambda store: obstore.delete(store, name))

    def create(self, name: str) -> "ChunkSink":
        """Start a blob that is stored in chunks."""
        return ChunkSink(self, checked(name))

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a blob from *start* up to *stop*, from its chunks."""
        return read_chunks(self, checked(name), start, stop)

    def sync(self, names: Iterable[str]) -> None:
        """Do nothing, as every acknowledged object is durable."""

    def path(self, name: str) -> None:
        """Return None, as no object is a local file."""

    def sweep(self, _before: float, /) -> int:
        """Return 0, as an interrupted PUT leaves nothing."""
        return 0


def _get(store: ObjectStore, name: str, start: int, stop: int | None) -> bytes:
    if stop is None and start == 0:
        return bytes(obstore.get(store, name).bytes())
    try:
        if stop is None:
            found = obstore.get(store, name, options={"range": {"offset": start}})
            return bytes(found.bytes())
        return bytes(obstore.get_range(store, name, start=start, end=stop))
    except BaseError:
        # Services differ in their response to a range that starts beyond the end.
        if start < obstore.head(store, name)["size"]:
            raise
        return b""


def _put(store: ObjectStore, name: str, data: bytes) -> None:
    obstore.put(store, name, data, use_multipart=False)
