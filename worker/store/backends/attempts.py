"""Attempts at idempotent requests, which are repeated until there is a response."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import attrs

from worker.store.backends.base import AlreadyThere, ObjectMissing, StoreUnavailable

T = TypeVar("T")
C = TypeVar("C")


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


class Transient(StoreUnavailable):
    """A request failed in a way that may pass, such as no response: it can be repeated."""


class Retry(Exception):
    """An attempt failed with a transient error, and another one must follow."""


class Client(Generic[C]):
    """A client of an object store, which retries for longer once the store has responded."""

    def __init__(
        self,
        client: C,
        *,
        first: C | None,
        translated: Callable[[str, str], AbstractContextManager[None]],
    ) -> None:
        """Use *first*, if given, until the store has responded once, and then *client*.

        *translated* gets what a request does and the name of its object. Its context translates the
        errors of the client to those of the store, transient ones to Transient.
        """
        self.client = client
        self.first = first
        self.translated = translated
        self.has_responded = first is None

    def send(
        self,
        doing: str,
        name: str,
        request: Callable[[C], T],
        *,
        no_response: type[StoreUnavailable] = StoreUnavailable,
    ) -> T:
        """Send an idempotent request until there is a response; raise *no_response* if not."""
        attempts = Attempts(self, doing, name, no_response)
        while True:
            try:
                with attempts.next() as client:
                    return request(client)
            except Retry:
                continue


class Attempts(Generic[C]):
    """The attempts at one request."""

    def __init__(
        self,
        client: Client[C],
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
    def next(self) -> Iterator[C]:
        """Yield the client for one attempt, with its errors translated.

        Raises Retry, after a pause, if the error is transient and the limits allow another attempt.
        """
        client = self._client
        self._count += 1
        is_first = client.first is not None and not client.has_responded
        try:
            with client.translated(self._doing, self._name):
                yield client.first if is_first else client.client  # type: ignore[misc]  # first is set
        except Transient as error:
            self._is_uncertain = True
            is_late = time.monotonic() + self._pause > self._deadline
            if self._count >= self._policy.attempts or (is_late and self._count > 1):
                # Later requests, which clean up, retry only briefly.
                client.has_responded = client.first is None
                raise self._no_response(error.doing, error.cause) from error.__cause__
            time.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            raise Retry from error
        except StoreUnavailable as error:
            client.has_responded = True
            if self._is_uncertain:
                raise self._no_response(error.doing, error.cause) from error.__cause__
            raise
        except (ObjectMissing, AlreadyThere):
            client.has_responded = True
            raise
        client.has_responded = True
