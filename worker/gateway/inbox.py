"""What an application has yet to hear of its request, between the task that reads and its own."""

from collections.abc import Mapping
from typing import Any

import trio

WAITING = 256 << 10
"""Bytes of a body that may wait; whoever brings more waits too."""
MANY = 256
"""So many pieces may be taken in without giving other tasks a turn."""

Event = Mapping[str, Any]
"""An ASGI event."""

DISCONNECT: Event = {"type": "http.disconnect"}


class Inbox:
    """Takes in events from one task and hands them out to another, pieces of a body put together.

    A body may come in pieces of a byte, and to change tasks costs more than to read thousands of
    them. Nobody waits here for somebody who is gone: once the application has ended, it is told of
    nothing; once the client has left, what it sent can still be heard, and then that it has left.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._complete = False
        self._left = False
        self._closed = False
        self._changed = trio.lowlevel.ParkingLot()

    async def tell(self, event: Event) -> None:
        """Take in *event*, when there is room for it."""
        if event["type"] == DISCONNECT["type"]:
            self._left = True
            self._changed.unpark_all()
            return
        while self._size >= WAITING and not (self._left or self._closed):
            await self._changed.park()
        if self._closed:
            return
        if body := event.get("body", b""):
            self._pieces.append(body)
            self._size += len(body)
        self._complete = not event.get("more_body", False)
        self._changed.unpark_all()
        if len(self._pieces) % MANY == MANY - 1:
            # Whoever sends a body byte by byte must not keep all others waiting for it.
            await trio.lowlevel.checkpoint()

    async def hear(self) -> Event:
        """Return all of the body that has come and was not heard yet, or that the client left."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not (self._pieces or self._complete or self._left):
            await self._changed.park()
        if not (self._pieces or self._complete):
            return DISCONNECT
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        complete, self._complete = self._complete, False
        self._pieces.clear()
        self._size = 0
        self._changed.unpark_all()
        return {"type": "http.request", "body": body, "more_body": not complete}

    def close(self) -> None:
        """Take in nothing any more: the application has ended."""
        self._closed = True
        self._pieces.clear()
        self._changed.unpark_all()
