"""One HTTP exchange, without a web framework: what came in, its body, and what goes out."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import attrs

Headers = list[tuple[bytes, bytes]]

Event = Mapping[str, Any]
"""An ASGI event."""


class ClientGone(Exception):
    """The client closed its connection before its request was over; nobody can be answered."""


@attrs.frozen
class Head:
    """What came before the body of a request, as it was sent."""

    method: str
    path: bytes
    """The path of the target, still percent-encoded."""
    query: bytes
    headers: Headers
    """In order, with names in lower case."""
    scheme: str


@attrs.frozen
class Answer:
    """What goes out; an answer to HEAD has the headers of its body and no body."""

    status: int
    headers: Headers = attrs.field(factory=list)
    body: bytes | AsyncGenerator[bytes, None] = b""
    """Where it is an iterator, the headers carry the length."""


class Incoming:
    """The body of a request, taken from its connection piece by piece as it is asked for."""

    def __init__(self, receive: Callable[[], Awaitable[Event]]) -> None:
        self._receive = receive
        self.finished = False
        """Whether the whole body has been taken."""

    async def read(self) -> bytes:
        """Return the next piece, or nothing at the end; raises :class:`ClientGone`."""
        while not self.finished:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            self.finished = not event.get("more_body", False)
            if piece := event.get("body", b""):
                return bytes(piece)
        return b""

    async def discard(self) -> None:
        """Take what is left of the body and drop it."""
        while not self.finished:
            await self.read()
