"""The connections of one gateway process: accepting them, and a bound below its open files.

Each connection is an open file, and a process that has none left can neither accept a connection
nor open a file of the store. At the bound, the connection that has been idle for longest is closed
for one that waits: clients keep idle connections in pools, and open new ones when they are closed
(RFC 9112, 9.5). Connections with a request in flight are never closed for others.
"""

import errno
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from worker import telemetry

RESERVED = 256
"""Open files for the index and for threads that read; half of the limit if that is less."""
FILES_PER_CONNECTION = 2
"""The socket, and the file of the store that its request reads or writes."""
MOST = 1 << 13
"""Connections of a process however many files it may open: an unfinished head may hold 80 KiB."""
LEAST_IDLE = 1.0
"""Seconds for which a connection is idle before it is closed for another one.

The first request of a connection may be on its way, and so may the next one of a busy client.
"""
HEAD_TIMEOUT = 30.0
"""Seconds for a TLS handshake, and for a request head from its first byte to its last."""
STALL_TIMEOUT = 300.0
"""Seconds without a byte of a body, in either direction, after which a request is ended."""
PAUSE = 0.1
"""Seconds before the next attempt to accept a connection after an error."""
TLS_HANDSHAKE = "TLS handshake"
HEAD = "request head"
BODY = "request body"
RESPONSE = "response"
FAST_ENOUGH = "its time is fixed; send it at once"
SLOW = "the client must continue in time, or repeat the request; the limit is gateway.stall_timeout"
REMEDIES = {TLS_HANDSHAKE: FAST_ENOUGH, HEAD: FAST_ENOUGH, BODY: SLOW, RESPONSE: SLOW}
"""What to do about a client that stalls, by the part of a request."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of accept(2) that end when this or another process closes something."""

Handler = Callable[[Any, "Slot"], Awaitable[object]]


def bound() -> int:
    """Return the number of connections that the limit on open files of this process permits.

    It is at most `MOST`.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST
    return min(MOST, max(1, (soft - min(RESERVED, soft // 2)) // FILES_PER_CONNECTION))


@attrs.frozen
class Limits:
    """What the clients of a process may use."""

    connections: int = attrs.field(factory=bound)
    head: float = HEAD_TIMEOUT
    """Seconds for a TLS handshake, and for a head."""
    stall: float = STALL_TIMEOUT
    """Seconds for the next byte of a body."""


@attrs.define(eq=False)
class Slot:
    """The place of one connection among those of the process."""

    _connections: "Connections"
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    """The scope of the task that serves the connection; cancelled to close it."""

    def set_idle(self, idle: bool) -> None:
        """Report whether the connection waits for a request."""
        self._connections.set_idle(self, idle=idle)

    def report_stall(self, part: str, seconds: float) -> None:
        """Log that the client did not send or receive *part* in time."""
        self._connections.report_stall(part, seconds)


@attrs.define(eq=False)
class Connections:
    """The connections of a process, at most *limit*."""

    limit: int
    _slots: set[Slot] = attrs.field(factory=set, init=False)
    _idle: dict[Slot, float] = attrs.field(factory=dict, init=False)
    """Idle connections and since when, the oldest first."""
    _closing: set[Slot] = attrs.field(factory=set, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _stalls: dict[str, telemetry.Recurring] = attrs.field(factory=dict, init=False)
    """The events of stalled clients by the part of a request."""

    @property
    def full(self) -> bool:
        """Whether no further connection is permitted."""
        return len(self._slots) >= self.limit

    def add(self) -> Slot:
        """Count a new connection, which is idle at first."""
        slot = Slot(self)
        self._slots.add(slot)
        self.set_idle(slot, idle=True)
        return slot

    @contextmanager
    def serving(self, slot: Slot) -> Iterator[None]:
        """Enter the scope of *slot*, and count its connection no longer at the end."""
        try:
            with slot.scope:
                yield
        finally:
            self._slots.discard(slot)
            self._closing.discard(slot)
            self.set_idle(slot, idle=False)

    def set_idle(self, slot: Slot, *, idle: bool) -> None:
        """Record that *slot* starts to wait for a request, or that it does not any more."""
        self._idle.pop(slot, None)
        if idle and slot not in self._closing:
            self._idle[slot] = trio.current_time()
        self._changed.unpark_all()

    def report_stall(self, part: str, seconds: float) -> None:
        """Log that a client did not send or receive *part* in time, once a minute for each."""
        event = self._stalls.get(part)
        if event is None:
            event = telemetry.Recurring("gateway.client_stalled", trio.current_time)
            self._stalls[part] = event
        event.warn(part=part, seconds=seconds, remedy=REMEDIES[part])

    async def make_room(self) -> None:
        """Wait until a further connection is permitted, closing the oldest idle one for it."""
        while self.full:
            if self._closing:
                await self._changed.park()
            else:
                await self.close_oldest()

    async def close_oldest(self) -> None:
        """Close the connection that has been idle for longest, once that is `LEAST_IDLE` seconds.

        Returns early, without closing one, if a connection ends or changes its state meanwhile.
        """
        oldest, since = next(iter(self._idle.items()), (None, float("inf")))
        due = since + LEAST_IDLE
        if oldest is not None and trio.current_time() >= due:
            del self._idle[oldest]
            self._closing.add(oldest)
            oldest.scope.cancel()
            return
        with trio.CancelScope(deadline=due):
            await self._changed.park()


async def accept_connections(
    listener: trio.SocketListener,
    wrap: Callable[[trio.SocketStream, Slot], Any],
    connections: Connections,
    handler: Handler,
    nursery: trio.Nursery,
) -> None:
    """Accept connections of *listener* until cancelled, and serve each one in a task of *nursery*.

    *wrap* makes the stream that *handler* gets, such as one with TLS.
    """
    full = telemetry.Recurring("gateway.connections_full", trio.current_time)
    failed = telemetry.Recurring("gateway.accept_failed", trio.current_time)
    broken = telemetry.RecurringErrors("gateway.connection_failed", trio.current_time)
    while True:
        if connections.full:
            # Only for a client that waits. Another process of the gateway may accept it first.
            await trio.lowlevel.wait_readable(listener.socket)
            full.warn(
                limit=connections.limit,
                remedy="idle connections are closed for new ones; raise the limit of open files "
                "(ulimit -n), or limit the connections of the clients",
            )
            await connections.make_room()
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            failed.warn(
                reason=error.strerror,
                remedy="raise the limit of open files (ulimit -n), or limit the connections of "
                "the clients",
            )
            with trio.move_on_after(PAUSE):
                await connections.close_oldest()
            await trio.sleep(PAUSE)
            continue
        # Counted here, since the task starts later than the next round of this loop.
        slot = connections.add()
        nursery.start_soon(_serve, wrap(stream, slot), slot, connections, handler, broken)


async def _serve(
    stream: Any,
    slot: Slot,
    connections: Connections,
    handler: Handler,
    broken: telemetry.RecurringErrors,
) -> None:
    with connections.serving(slot):
        try:
            await handler(stream, slot)
        except Exception as error:
            # A fault of the server that one client can cause must not end the others.
            broken.error(str(error), exc_info=error)
        finally:
            # A cancelled handler has not closed it.
            await trio.aclose_forcefully(stream)
