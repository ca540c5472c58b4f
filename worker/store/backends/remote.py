"""A store in an object store: S3 and what speaks like it, GCS, Azure, or this process's memory."""

import contextlib
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs
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
from worker.store.backends.base import (
    AlreadyThere,
    IllegalName,
    Listed,
    NoPutIfAbsent,
    ObjectMissing,
    StoreUnavailable,
    WriteUncertain,
    checked,
)

if TYPE_CHECKING:
    from obstore.store import RetryConfig

T = TypeVar("T")

# A blob is stored in chunks of this size, each a whole PUT. So every request to the store is
# idempotent and its body is in memory: a lost answer means to send it again. (A multipart upload
# cannot be completed again by its id once the answer is lost, and leaves parts behind in a crash.)
CHUNK = 8 << 20
CHUNKS_AT_ONCE = 2
LIST_PAGE = 1000
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


@attrs.frozen
class Patience:
    """How long a request is repeated; it is always sent twice."""

    timeouts: Mapping[str, str]
    """Of one request, body included."""
    attempts: int
    seconds: float


# A store that has never answered is probably misconfigured, and the user is waiting. One that has
# answered is worth waiting for: days of work may stand behind the next PUT.
FIRST = Patience({"connect_timeout": "5s", "timeout": "10s"}, attempts=3, seconds=10.0)
LATER = Patience({"connect_timeout": "5s", "timeout": "120s"}, attempts=1000, seconds=180.0)
PAUSE = 0.1
"""Seconds before a request is first repeated; each further pause is up to twice as long."""
LONGEST_PAUSE = 5.0
# The client library does not repeat requests: it cannot tell which ones are idempotent.
ONCE: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
# Answers that decide a request; all else (no answer, 5xx, 429, 409 of concurrent writes) may pass.
STATUS = re.compile(r"status code: (\d{3})")
RETRIED = (408, 409, 429)
NOT_IMPLEMENTED = 501
DECIDED = (
    FileNotFoundError,
    PreconditionError,
    PermissionDeniedError,
    UnauthenticatedError,
    NotSupportedError,
    InvalidPathError,
    UnknownConfigurationKeyError,
)
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

    def store(patience: Patience) -> ObjectStore:
        # Which options there are depends on the service, and is the library's to say.
        return from_url(  # type: ignore[call-overload, no-any-return]
            url,
            config=config,
            client_options={**patience.timeouts, **client},
            retry_config=ONCE,
        )

    try:
        return RemoteBackend(store(LATER), url, first=store(FIRST))
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
        self._later = store
        self._first = first or store
        self._answered = first is None

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end."""
        checked(name)
        if stop is not None and stop <= start:
            return b""
        return self._ask("reading", name, lambda store: _get(store, name, start, stop))

    def exists(self, name: str) -> bool:
        """Return whether the object is there, by a HEAD."""
        checked(name)
        try:
            self._ask("looking for", name, lambda store: obstore.head(store, name))
        except ObjectMissing:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, in place of what was there."""
        checked(name)
        self._ask("writing", name, lambda store: _put(store, name, data))

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if nothing is there.

        An attempt whose answer was lost may have been carried out, and is then found by the next
        one as an object with the same bytes.
        """
        checked(name)

        def attempt(store: ObjectStore) -> None:
            try:
                obstore.put(store, name, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError) as conflict:
                try:
                    found = _get(store, name, 0, None)
                except FileNotFoundError:
                    raise conflict from None  # another write is under way, and may yet fail
                if found != data:
                    raise AlreadyThere(name) from conflict

        try:
            self._ask("writing", name, attempt, unanswered=WriteUncertain)
        except StoreUnavailable as error:
            if _is_not_implemented(error.__cause__):
                raise NoPutIfAbsent(self.url, error.cause) from error
            raise

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects below *prefix* that sort after *after*."""
        if prefix:
            if not prefix.endswith("/"):
                raise IllegalName(prefix)
            checked(prefix[:-1])
        last = after
        attempts = _Attempts(self, "listing", prefix)
        while True:
            # The service may take the offset for one inside the prefix, so one before it is none.
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
                    return
            except _Again:
                continue

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below *prefix*, by a LIST with delimiter."""
        if prefix:
            checked(prefix.removesuffix("/"))
        found = self._ask(
            "listing", prefix, lambda store: obstore.list_with_delimiter(store, prefix or None)
        )
        return sorted(path.rpartition("/")[2] for path in found["common_prefixes"])

    def delete(self, name: str) -> None:
        """Delete the object; that there is none is fine."""
        checked(name)
        with contextlib.suppress(ObjectMissing):
            self._ask("deleting", name, lambda store: obstore.delete(store, name))

    def create(self, name: str) -> "ChunkSink":
        """Begin a blob that is stored in chunks."""
        return ChunkSink(self, checked(name))

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a blob from *start* up to *stop*, out of its chunks."""
        pieces: list[bytes] = []
        while start < stop:
            number, offset = divmod(start, CHUNK)
            wanted = min(stop - start, CHUNK - offset)
            try:
                piece = self.get(_chunk(name, number), offset, offset + wanted)
            except ObjectMissing:
                if pieces:
                    break
                raise
            pieces.append(piece)
            start += len(piece)
            if len(piece) < wanted:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def sync(self, names: Iterable[str]) -> None:
        """Return at once: what an object store has acknowledged is durable."""

    def path(self, name: str) -> None:
        """Return None: nothing here is a file of this machine."""

    def sweep(self, _before: float, /) -> int:
        """Return 0: a PUT that was interrupted leaves nothing."""
        return 0

    def _ask(
        self,
        doing: str,
        name: str,
        request: Callable[[ObjectStore], T],
        *,
        unanswered: type[StoreUnavailable] = StoreUnavailable,
    ) -> T:
        """Send an idempotent request until it is answered, else raise *unanswered*."""
        attempts = _Attempts(self, doing, name, unanswered)
        while True:
            try:
                with attempts.next() as store:
                    return request(store)
            except _Again:
                continue


class _Again(Exception):
    """An attempt failed in a way that may pass."""


class _Attempts:
    """The attempts at one request of *backend*."""

    def __init__(
        self,
        backend: RemoteBackend,
        doing: str,
        name: str,
        unanswered: type[StoreUnavailable] = StoreUnavailable,
    ) -> None:
        self._backend = backend
        self._doing = doing
        self._name = name
        self._unanswered = unanswered
        self._patience = LATER if backend._answered else FIRST
        self._count = 0
        self._deadline = time.monotonic() + self._patience.seconds
        self._pause = PAUSE
        self._failed = False
        """Whether an attempt got no answer, and so may have been carried out."""

    @contextlib.contextmanager
    def next(self) -> Iterator[ObjectStore]:
        """Lend the client for an attempt; raises _Again after a pause if there is to be another.

        Any other error of the block is translated to the store's.
        """
        backend = self._backend
        self._count += 1
        try:
            with _explained(self._doing, self._name, backend.url):
                yield backend._later if backend._answered else backend._first
        except StoreUnavailable as error:
            if not _may_pass(error.__cause__):
                backend._answered = True
                if self._failed:
                    raise self._unanswered(error.doing, error.cause) from error.__cause__
                raise
            self._failed = True
            late = time.monotonic() + self._pause > self._deadline
            if self._count >= self._patience.attempts or (late and self._count > 1):
                # What follows on a store that does not answer, such as cleaning up, is kept short.
                backend._answered = backend._first is backend._later
                raise self._unanswered(error.doing, error.cause) from error.__cause__
            time.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            raise _Again from error
        except (ObjectMissing, AlreadyThere):
            backend._answered = True
            raise
        backend._answered = True


def _may_pass(error: BaseException | None) -> bool:
    """Return whether a request that failed with *error* can succeed when it is sent again."""
    if isinstance(error, AlreadyExistsError):
        return True
    # Where the library panics, it raises what is no Exception.
    if isinstance(error, DECIDED) or not isinstance(error, Exception):
        return False
    if (found := STATUS.search(str(error))) is None:
        return True
    status = int(found[1])
    return status in RETRIED or (status >= 500 and status != NOT_IMPLEMENTED)


def _is_not_implemented(error: BaseException | None) -> bool:
    found = STATUS.search(str(error))
    return isinstance(error, NotSupportedError) or (
        found is not None and int(found[1]) == NOT_IMPLEMENTED
    )


def _get(store: ObjectStore, name: str, start: int, stop: int | None) -> bytes:
    if stop is None and start == 0:
        return bytes(obstore.get(store, name).bytes())
    try:
        if stop is None:
            found = obstore.get(store, name, options={"range": {"offset": start}})
            return bytes(found.bytes())
        return bytes(obstore.get_range(store, name, start=start, end=stop))
    except BaseError:
        # The answer to a range that begins beyond the end differs between services.
        if start < obstore.head(store, name)["size"]:
            raise
        return b""


def _put(store: ObjectStore, name: str, data: bytes) -> None:
    obstore.put(store, name, data, use_multipart=False)


def _chunk(name: str, number: int) -> str:
    return f"{name}/{number:06d}"


class ChunkSink:
    """A blob while it is being uploaded, chunk by chunk; an error ends it."""

    def __init__(self, backend: RemoteBackend, name: str) -> None:
        """Begin the blob *name* of *backend*."""
        self._backend = backend
        self._name = name
        self._buffer = bytearray()
        self._count = 0
        self._uploads: deque[Future[None]] = deque()
        self._error: StoreUnavailable | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; the chunks that it fills are uploaded meanwhile."""
        view = memoryview(data)
        while view:
            room = CHUNK - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == CHUNK:
                self._wait(CHUNKS_AT_ONCE - 1)
                self._uploads.append(_in_thread(self._upload()))

    def close(self) -> None:
        """Return when every chunk is stored."""
        if not self._count:
            self._upload()()
        elif self._buffer:
            self._uploads.append(_in_thread(self._upload()))
        self._wait(0)

    def discard(self) -> None:
        """Delete the chunks, unless the store has stopped answering: then gc does."""
        with contextlib.suppress(StoreUnavailable):
            self._wait(0)
            for number in range(self._count):
                self._backend.delete(_chunk(self._name, number))

    def _upload(self) -> Callable[[], None]:
        """Return the upload of what is buffered, which is one chunk."""
        name, data = _chunk(self._name, self._count), bytes(self._buffer)
        self._count += 1
        self._buffer.clear()
        return lambda: self._backend.put(name, data)

    def _wait(self, most: int) -> None:
        """Wait until at most so many uploads are running; raise the error of one that failed."""
        while len(self._uploads) > most:
            try:
                self._uploads.popleft().result()
            except StoreUnavailable as error:
                self._error = self._error or error
        if self._error is not None:
            raise self._error


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Do *work* in a thread that does not keep the process alive; return its outcome."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextlib.contextmanager
def _explained(doing: str, name: str, url: str) -> Iterator[None]:
    """Translate the library's errors to the store's."""
    try:
        yield
    except FileNotFoundError as error:
        # A bucket that is not there must not look like an empty store, nor a PUT like a GET.
        if doing == "writing" or _no_bucket(error):
            raise StoreUnavailable(f"{doing} {name}", _cause(error, url)) from error
        raise ObjectMissing(name) from error
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
