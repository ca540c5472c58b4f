"""The queue between the connection of a request and the application that reads its body."""

import attrs
import trio

from worker.gateway.http import ClientDisconnected
from worker.s3.error_codes import S3Error

QUEUED = 256 << 10
"""Bytes of a body that are queued before the connection stops reading."""
MANY_PIECES = 256
"""Pieces of a body that are received before other tasks run."""


@attrs.define(eq=False)
class ReceiveQueue:
    """The body of a request, between the task that reads the connection and the application.

    Queued pieces are combined: a body may arrive byte by byte, and switching tasks costs more than
    reading thousands of bytes. No task waits for one that is gone: after `close`, pieces are
    dropped; after `disconnect`, queued pieces are read, then ClientDisconnected is raised; likewise
    RequestTimeout after `stall`, until the client continues.

    A client may wait for ``100 Continue`` before it sends the body: `is_wanted` tells whether the
    application reads it.
    """

    complete: bool = attrs.field(default=False, init=False)
    """Whether the whole body has been received."""
    stalled: bool = attrs.field(default=False, init=False)
    """Whether the client has sent nothing for too long, and nothing since."""
    closed: bool = attrs.field(default=False, init=False)
    """Whether further pieces are dropped."""
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    _disconnected: bool = attrs.field(default=False, init=False)
    _wanted: bool = attrs.field(default=False, init=False)
    _decided: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when `_wanted` is final."""
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    async def put(self, data: bytes) -> None:
        """Queue a piece of the body, as soon as there is space."""
        while self._size >= QUEUED and not (self._disconnected or self.closed):
            await self._changed.park()
        if self.closed:
            return
        self.stalled = False
        self._pieces.append(data)
        self._size += len(data)
        self._changed.unpark_all()
        if len(self._pieces) % MANY_PIECES == MANY_PIECES - 1:
            # A client that sends single bytes must not keep the event loop from others.
            await trio.lowlevel.checkpoint()

    async def is_wanted(self) -> bool:
        """Wait for `read`, `decline` or `close`; whether the first of them was `read`."""
        await self._decided.wait()
        return self._wanted

    def decline(self) -> None:
        """Mark that the application has a response; a body that it did not read is not wanted."""
        self._decided.set()

    def end(self) -> None:
        """Mark the end of the body."""
        self.complete = True
        self._changed.unpark_all()

    def stall(self) -> None:
        """Mark that the client has sent nothing for too long."""
        self.stalled = True
        self._changed.unpark_all()

    def disconnect(self) -> None:
        """Mark that the client has disconnected, or that the exchange is over."""
        self._disconnected = True
        self._changed.unpark_all()

    def close(self) -> None:
        """Drop all further pieces: the application has finished."""
        self._decided.set()
        self.closed = True
        self._pieces.clear()
        self._size = 0
        self._changed.unpark_all()

    async def read(self) -> bytes:
        """Return all bytes that are queued, waiting for some; empty at the end of the body.

        Raises ClientDisconnected, and RequestTimeout if the client has stalled.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._decided.is_set():
            self._wanted = True
            self._decided.set()
        while not (self._pieces or self.complete or self._disconnected or self.stalled):
            await self._changed.park()
        if not self._pieces:
            if self.complete:
                return b""
            raise ClientDisconnected if self._disconnected else S3Error("RequestTimeout")
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._changed.unpark_all()
        return data

    async def discard(self) -> None:
        """Drop the rest of the body until its end; raises ClientDisconnected."""
        while not self.complete:
            if self._disconnected:
                raise ClientDisconnected
            self._pieces.clear()
            self._size = 0
            self._changed.unpark_all()
            await self._changed.park()
