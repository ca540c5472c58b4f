"""Requests to an object store: idempotent, and sent again until they are answered."""

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, TypeVar

import attrs
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
from obstore.store import ObjectStore

from worker.store.backends.base import AlreadyThere, ObjectMissing, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import RetryConfig

T = TypeVar("T")

CAUSE_LIMIT = 300
NO_BUCKET_CODES = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
# What services say in XML, among much that is no help, such as the signature that they expected.
SERVICE_ERROR = re.compile(
    r"<Error>.*?<Code>(?P<code>[^<]*)</Code>(?:.*?<Message>(?P<message>[^<]*)</Message>)?", re.S
)
# What the library says of a request that failed: how, where (without the query), how long, why.
FAILED_REQUEST = re.compile(r"Error performing \w+ ([^\s?]+)\S* in .*? - (.*)")


@attrs.frozen
class RetryPolicy:
    """How long a request is repeated; it is always sent twice."""

    timeouts: Mapping[str, str]
    """Of one request, body included."""
    attempts: int
    seconds: float


# A store that has never answered is probably misconfigured, and the user is waiting. One that has
# answered is worth waiting for: days of work may stand behind the next PUT.
FIRST = RetryPolicy({"connect_timeout": "5s", "timeout": "10s"}, attempts=3, seconds=10.0)
LATER = RetryPolicy({"connect_timeout": "5s", "timeout": "120s"}, attempts=1000, seconds=180.0)
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


class Again(Exception):
    """An attempt failed in a way that may pass; the next one follows."""


class Client:
    """The client of an object store; it retries for longer once the store has answered."""

    def __init__(self, store: ObjectStore, url: str, *, first: ObjectStore | None = None) -> None:
        """Send requests by *store*, and by *first* until the store has answered one of them."""
        self.url = url
        self.answered = first is None
        self._later = store
        self._first = first

    @property
    def store(self) -> ObjectStore:
        """The library's client for the next request."""
        return self._later if self.answered or self._first is None else self._first

    def gave_up(self) -> None:
        """Retry briefly from now on: the store does not answer, and clean-up must not take long."""
        self.answered = self._first is None

    def ask(
        self,
        doing: str,
        name: str,
        request: Callable[[ObjectStore], T],
        *,
        unanswered: type[StoreUnavailable] = StoreUnavailable,
    ) -> T:
        """Send an idempotent request until it is answered, else raise *unanswered*."""
        attempts = Attempts(self, doing, name, unanswered)
        while True:
            try:
                with attempts.next() as store:
                    return request(store)
            except Again:
                continue


class Attempts:
    """The attempts at one request."""

    def __init__(
        self,
        client: Client,
        doing: str,
        name: str,
        unanswered: type[StoreUnavailable] = StoreUnavailable,
    ) -> None:
        self._client = client
        self._doing = doing
        self._name = name
        self._unanswered = unanswered
        self._failed = False
        """Whether an attempt got no answer, and so may have been carried out."""
        self.restart()

    def restart(self) -> None:
        """Count and wait from the start: the request has got on, as a listing does by pages."""
        self._policy = LATER if self._client.answered else FIRST
        self._count = 0
        self._deadline = time.monotonic() + self._policy.seconds
        self._pause = PAUSE

    @contextlib.contextmanager
    def next(self) -> Iterator[ObjectStore]:
        """Lend the client for an attempt; raises Again after a pause if there is to be another.

        Any other error of the block is translated to the store's.
        """
        client = self._client
        self._count += 1
        try:
            with _explained(self._doing, self._name, client.url):
                yield client.store
        except StoreUnavailable as error:
            if not _may_pass(error.__cause__):
                client.answered = True
                if self._failed:
                    raise self._unanswered(error.doing, error.cause) from error.__cause__
                raise
            self._failed = True
            late = time.monotonic() + self._pause > self._deadline
            if self._count >= self._policy.attempts or (late and self._count > 1):
                client.gave_up()
                raise self._unanswered(error.doing, error.cause) from error.__cause__
            time.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            raise Again from error
        except (ObjectMissing, AlreadyThere):
            client.answered = True
            raise
        client.answered = True


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


def is_not_implemented(error: BaseException | None) -> bool:
    """Return whether the service, or the library for it, lacks the operation."""
    found = STATUS.search(str(error))
    return isinstance(error, NotSupportedError) or (
        found is not None and int(found[1]) == NOT_IMPLEMENTED
    )


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
    return f"the bucket does not exist ({url})" if _no_bucket(error) else first_line(error)


def _no_bucket(error: BaseException) -> bool:
    return any(code in str(error) for code in NO_BUCKET_CODES)


def first_line(error: BaseException) -> str:
    """Return the cause that *error* names, in one line without anything to sign with."""
    text = str(error)
    if said := SERVICE_ERROR.search(text):
        return ": ".join(unescape(part) for part in said.groups() if part)[:CAUSE_LIMIT]
    # What follows is how the library came to it, page after page.
    text = text.partition("\n")[0]
    if failed := FAILED_REQUEST.search(text):
        text = ": ".join(failed.groups())
    return text[:CAUSE_LIMIT]
