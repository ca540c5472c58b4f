"""The TCP stream of a connection, which a client that takes no data cannot hold forever."""

import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable

import trio

SAMPLES = 4
"""How often within the time limit the progress of a client is measured."""
RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that discards unsent data when the socket is closed."""


class Transport(trio.abc.HalfCloseableStream):
    """A TCP stream whose send fails if the client acknowledges nothing for *stall* seconds.

    The kernel reports a socket as writable only after a third of its buffer has been sent, which
    may take a slow client hours. So the measure of progress is the number of bytes that the client
    has not acknowledged yet.
    """

    def __init__(
        self, stream: trio.SocketStream, *, stall: float, on_stall: Callable[[], None]
    ) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._period = stall / SAMPLES
        self._on_stall = on_stall

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data*; raises BrokenResourceError, also when the client stalls."""
        unchanged, queued = 0, -1
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                with trio.move_on_after(self._period) as waiting:
                    sent += await self._send(view[sent:])
                if not waiting.cancelled_caught:
                    unchanged, queued = 0, -1
                    continue
                before, queued = queued, self._unacknowledged()
                unchanged = unchanged + 1 if queued == before else 0
                if unchanged == SAMPLES:
                    self._on_stall()
                    # The kernel would keep the data, and try to send them for many minutes more.
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    raise trio.BrokenResourceError("the client does not read")

    async def _send(self, data: memoryview) -> int:
        try:
            return await self.socket.send(data)
        except OSError as error:
            if self.socket.fileno() < 0:
                raise trio.ClosedResourceError("this socket is closed") from None
            raise trio.BrokenResourceError(str(error)) from error

    def _unacknowledged(self) -> int:
        """Return the number of bytes in the send queue of the kernel (SIOCOUTQ of tcp(7))."""
        answer = fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel takes data."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Close the sending side."""
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return the bytes that have arrived, at least one of them; empty at the end."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()
