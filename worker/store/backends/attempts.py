"""Attempts at requests to an object store: idempotent, and repeated until there is a response."""

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
"""Characters of a cause in an error message."""
NO_BUCKET_CODES = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
# The useful part of an XML error response. Others, such as the expected signature, are dropped.
SERVICE_ERROR = re.compile(
    r"<Error>.*?<Code>(?P<code>[^<]*)</Code>(?:.*?<Message>(?P<message>[^<]*)</Message>)?", re.S
)
# The library's message for a failed request: method, URL (here without the query), duration, cause.
FAILED_REQUEST = re.compile(r"Error performing \w+ ([^\s?]+)\S* in .*? - (.*)")


@attrs.frozen
class RetryPolicy:
    """The limits for attempts at a request. There are always at least two."""

    timeouts: Mapping[str, str]
    """Of one attempt, including its body."""
    attempts: int
    seconds: float


# A store that has never responded is probably misconfigured, and a user is waiting. One that has
# responded is worth waiting for: the next PUT may be the result of days of work.
FIRST = RetryPolicy({"connect_timeout": "5s", "timeout": "10s"}, attempts=3, seconds=10.0)
LATER = RetryPolicy({"connect_timeout": "5s", "timeout": "120s"}, attempts=1000, seconds=180.0)
PAUSE = 0.1
"""Seconds before the second attempt; each further pause is up to twice as long."""
LONGEST_PAUSE = 5.0
# The library does not retry, as it cannot tell which requests are idempotent.
ONCE: "RetryConfig" = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
STATUS = re.compile(r"status code: (\d{3})")
# Transient: no response, 5xx, and these. 409 is the response to concurrent writes.
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


class Retry(Exception):
    """An attempt failed with a transient error, and another one must follow."""


class Client:
    """A client of an object store, which retries for longer once the store has responded."""

    def __init__(self, store: ObjectStore, url: str, *, first: ObjectStore | None = None) -> None:
        """Use *first*, if given, until the store has responded once, and then *store*."""
        self.url = url
        self.later = store
        self.first = first
        self.has_responded = first is None

    def send(
        self,
        doing: str,
        name: str,
        request: Callable[[ObjectStore], T],
        *,
        no_response: type[StoreUnavailable] = StoreUnavailable,
    ) -> T:
        """Send an idempotent request until there is a response; raise *no_response* if not."""
        attempts = Attempts(self, doing, name, no_response)
        while True:
            try:
                with attempts.next() as store:
                    return request(store)
            except Retry:
                continue


class Attempts:
    """The attempts at one request."""

    def __init__(
        self,
        client: Client,
        doing: str,
        name: str,
        no_response: type[StoreUnavailable] = StoreUnavailable,
    ) -> None:
        self._client = client
        self._doing = doing
        self._name = name
        self._no_response = no_response
        self._is_uncertain = False
        """Whether an attempt had no response, so that the store may have carried it out."""
        self.restart()

    def restart(self) -> None:
        """Reset the limits after progress, such as a page of a listing."""
        self._policy = LATER if self._client.has_responded else FIRST
        self._count = 0
        self._deadline = time.monotonic() + self._policy.seconds
        self._pause = PAUSE

    @contextlib.contextmanager
    def next(self) -> Iterator[ObjectStore]:
        """Yield the library's client for one attempt; translate its errors to those of the store.

        Raises Retry, after a pause, if the error is transient and the limits allow another attempt.
        """
        client = self._client
        self._count += 1
        try:
            with _translated(self._doing, self._name, client.url):
                yield client.later if client.has_responded or not client.first else client.first
        except StoreUnavailable as error:
            if not _is_transient(error.__cause__):
                client.has_responded = True
                if self._is_uncertain:
                    raise self._no_response(error.doing, error.cause) from error.__cause__
                raise
            self._is_uncertain = True
            is_late = time.monotonic() + self._pause > self._deadline
            if self._count >= self._policy.attempts or (is_late and self._count > 1):
                # Later requests, which clean up, retry only briefly.
                client.has_responded = client.first is None
                raise self._no_response(error.doing, error.cause) from error.__cause__
            time.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            raise Retry from error
        except (ObjectMissing, AlreadyThere):
            client.has_responded = True
            raise
        client.has_responded = True


def _is_transient(error: BaseException | None) -> bool:
    """Return whether a request that failed with *error* can succeed when it is repeated."""
    if isinstance(error, AlreadyExistsError):
        return True
    # A panic of the library is not an Exception.
    if isinstance(error, PERMANENT) or not isinstance(error, Exception):
        return False
    if (found := STATUS.search(str(error))) is None:
        return True
    status = int(found[1])
    return status in TRANSIENT or (status >= 500 and status != NOT_IMPLEMENTED)


def is_not_implemented(error: BaseException | None) -> bool:
    """Return whether the service, or the library for it, lacks the operation."""
    found = STATUS.search(str(error))
    return isinstance(error, NotSupportedError) or (
        found is not None and int(found[1]) == NOT_IMPLEMENTED
    )


@contextlib.contextmanager
def _translated(doing: str, name: str, url: str) -> Iterator[None]:
    """Translate the library's errors to those of the store."""
    try:
        yield
    except FileNotFoundError as error:
        # A missing bucket must not look like an empty store. A PUT needs no existing object.
        if doing == "writing" or _is_bucket_missing(error):
            raise StoreUnavailable(f"{doing} {name}", _cause(error, url)) from error
        raise ObjectMissing(name) from error
    except (BaseError, OSError, ValueError) as error:
        raise StoreUnavailable(f"{doing} {name}", _cause(error, url)) from error
    except BaseException as error:
        # A panic of the library is a BaseException of a class that it does not export.
        if type(error).__name__ != "PanicException":
            raise
        raise StoreUnavailable(f"{doing} {name}", _cause(error, url)) from error


def _cause(error: BaseException, url: str) -> str:
    if _is_bucket_missing(error):
        return f"the bucket does not exist ({url})"
    return first_line(error)


def _is_bucket_missing(error: BaseException) -> bool:
    return any(code in str(error) for code in NO_BUCKET_CODES)


def first_line(error: BaseException) -> str:
    """Return the cause in the message of *error*: one line, without signatures."""
    text = str(error)
    if found := SERVICE_ERROR.search(text):
        return ": ".join(unescape(part) for part in found.groups() if part)[:CAUSE_LIMIT]
    # The other lines are a chain of causes inside the library, several pages long.
    text = text.partition("\n")[0]
    if failed := FAILED_REQUEST.search(text):
        text = ": ".join(failed.groups())
    return text[:CAUSE_LIMIT]
