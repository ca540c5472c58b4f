"""The backend in an object store: S3 and compatible services, GCS, Azure, or memory."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import MemoryStore, ObjectStore, from_url

from worker.errors import Misconfigured
from worker.store.backends.attempts import (
    FIRST,
    LATER,
    Attempts,
    Client,
    Retry,
    RetryPolicy,
    Transient,
)
from worker.store.backends.base import (
    AlreadyThere,
    BucketMissing,
    Damaged,
    Listed,
    NoPutIfAbsent,
    ObjectMissing,
    StoreDenied,
    StoreUnavailable,
    WriteUncertain,
    checked,
    checked_prefix,
)
from worker.store.backends.chunks import ChunkSink, read_chunks
from worker.store.backends.options import CLIENT_OPTIONS

if TYPE_CHECKING:
    from obstore.store import RetryConfig

LIST_PAGE = 1000
# The library does not retry, as it cannot tell which requests are idempotent.
ONCE: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
S3_ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

CAUSE_LIMIT = 300
"""Characters of a cause in an error message."""
NO_BUCKET_CODES = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
# The useful part of an XML error response. The rest, such as the expected signature, is dropped.
SERVICE_ERROR = re.compile(
    r"<Error>.*?<Code>(?P<code>[^<]*)</Code>(?:.*?<Message>(?P<message>[^<]*)</Message>)?", re.S
)
# The library's message for a failed request: method, URL (here without the query), duration, cause.
FAILED_REQUEST = re.compile(r"Error performing \w+ ([^\s?]+)\S* in .*? - (.*)")
METADATA_PATH = re.compile(r"/latest/(api/token|meta-data/)")
"""Where a client without credentials asks the instance metadata service of EC2 for them."""
NO_RESPONSE = "HTTP error: error sending request"
# Why there was no response: the message of the system, or the error of TLS, in the library's chain
# of causes, which is a dump of Rust structures.
SYSTEM_MESSAGE = re.compile(r'(?:message|error): "([^"]+)"')
TLS_ERROR = re.compile(r"error: (Invalid\w+\([^{}]*\))")
STATUS = re.compile(r"status code: (\d{3})")
# Transient are no response, 5xx, and these. 409 is the response to concurrent writes.
TRANSIENT = (408, 409, 429)
NOT_IMPLEMENTED = 501
PERMANENT = (
    FileNotFoundError,
    PreconditionError,
    PermissionDeniedError,
    UnauthenticatedError,
    NotSupportedError,
    InvalidPathError,
    UnknownConfigurationKeyError,
)


class UnusableStore(Misconfigured):
    """The object-store library rejects the URL or the options."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"store: {url}: {cause}")
        self.url = url


class OutOfOrder(StoreUnavailable):
    """The listing of the store is not sorted, so that it need not end."""

    def __init__(self, prefix: str, before: str, found: str) -> None:
        super().__init__(
            f"listing {prefix}",
            f"found {found!r} after {before!r}, expected names in the order of their bytes",
        )


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
        raise UnusableStore(url, _cause(error)) from error


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
        self._client = Client(store, first=first, translated=self._translated)

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
                    found = _get(store, name, 0, len(data) + 1)
                except FileNotFoundError:
                    raise conflict from None  # another write is in progress, and can still fail
                if found != data:
                    raise AlreadyThere(name) from conflict

        try:
            self._client.send("writing", name, attempt, no_response=WriteUncertain)
        except StoreUnavailable as error:
            if _is_not_implemented(error.__cause__):
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
                            name = found["path"]
                            if name <= last:
                                # Also a service that sends the same page again and again.
                                raise OutOfOrder(prefix, last, name)
                            yield Listed(name, found["size"], found["last_modified"].timestamp())
                            last = name
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

    @contextlib.contextmanager
    def _translated(self, doing: str, name: str) -> Iterator[None]:
        """Translate the library's errors to those of the store."""
        try:
            yield
        except BaseException as error:
            # A panic of the library is a BaseException of a class that it does not export.
            is_panic = type(error).__name__ == "PanicException"
            if not is_panic and not isinstance(error, BaseError | OSError | ValueError):
                raise
            # A missing bucket must not look like an empty store.
            if any(code in str(error) for code in NO_BUCKET_CODES):
                raise BucketMissing(f"{doing} {name}", self.url) from error
            # A PUT needs no existing object.
            if isinstance(error, FileNotFoundError) and doing != "writing":
                raise ObjectMissing(name) from error
            kind: type[StoreUnavailable] = StoreUnavailable
            if isinstance(error, PermissionDeniedError | UnauthenticatedError):
                kind = StoreDenied
            elif not is_panic and _is_transient(error):
                kind = Transient
            raise kind(f"{doing} {name}", _cause(error)) from error


def _get(store: ObjectStore, name: str, start: int, stop: int | None) -> bytes:
    if stop is None and start == 0:
        return bytes(obstore.get(store, name).bytes())
    try:
        if stop is None:
            found = obstore.get(store, name, options={"range": {"offset": start}})
            return bytes(found.bytes())
        found = obstore.get(store, name, options={"range": (start, stop)})
        return _at_most(stop - start, found.stream(min_chunk_size=stop - start), name)
    except BaseError:
        # Services differ in their response to a range that starts beyond the end.
        if start < obstore.head(store, name)["size"]:
            raise
        return b""


def _at_most(size: int, pieces: "obstore.BytesStream", name: str) -> bytes:
    """Return the bytes of a response of at most *size* bytes; raise Damaged if there are more.

    A service could send without end.
    """
    taken: list[bytes] = []
    left = size
    for piece in pieces:
        taken.append(bytes(piece))
        left -= len(taken[-1])
        if left < 0:
            raise Damaged(name, f"the store sent more than the {size:,} bytes of the range")
    return taken[0] if len(taken) == 1 else b"".join(taken)


def _put(store: ObjectStore, name: str, data: bytes) -> None:
    obstore.put(store, name, data, use_multipart=False)


def _is_transient(error: BaseException) -> bool:
    """Return whether a request that failed with *error* can succeed when it is repeated."""
    if isinstance(error, AlreadyExistsError):
        return True
    if isinstance(error, PERMANENT):
        return False
    found = STATUS.search(str(error))
    status = int(found[1]) if found else None
    return status is None or status in TRANSIENT or (status >= 500 and status != NOT_IMPLEMENTED)


def _is_not_implemented(error: BaseException | None) -> bool:
    """Return whether the service, or the library for it, lacks the operation."""
    found = STATUS.search(str(error))
    return isinstance(error, NotSupportedError) or (
        found is not None and int(found[1]) == NOT_IMPLEMENTED
    )


def _cause(error: BaseException) -> str:
    """Return the cause in the message of *error*: one line, without signatures."""
    text = str(error)
    if found := SERVICE_ERROR.search(text):
        return ": ".join(unescape(part) for part in found.groups() if part)[:CAUSE_LIMIT]
    text, _, chain = text.partition("\n")
    if failed := FAILED_REQUEST.search(text):
        url, reason = failed.groups()
        text = f"{url}: {_no_response(chain) if reason == NO_RESPONSE else reason}"
        if METADATA_PATH.search(url):
            text = f"no credentials are set, and the machine provides none ({text})"
    return text[:CAUSE_LIMIT]


def _no_response(chain: str) -> str:
    """Return why a request got no response, from the library's chain of causes."""
    if messages := SYSTEM_MESSAGE.findall(chain):
        return str(messages[-1])
    if found := TLS_ERROR.search(chain):
        return ": ".join(["TLS", *re.findall(r"\w+", found[1])])
    named = {
        "TimedOut": "no response in time",
        "IncompleteMessage": "the connection was closed without a response",
    }
    return next((text for name, text in named.items() if name in chain), NO_RESPONSE)
