"""Writes in flight: those that a drain waits for, and names if it has to cut them off."""

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from worker.errors import OutputClosed

CUT_OFF = (
    "The job has ended: this write was still in flight when the time for requests in flight "
    "(gateway.drain) was over, and was discarded."
)


@attrs.define(eq=False)
class _Write:
    name: str
    scope: trio.CancelScope


@attrs.define(eq=False)
class WritesInFlight:
    """The requests of one process that write and have no response yet."""

    _writes: set[_Write] = attrs.field(factory=set, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when a write ends; replaced by whoever waits for the next one."""

    @contextmanager
    def track(self, name: str) -> Iterator[None]:
        """Handle a write in the block. *name* describes it, as in ``PutObject a/b``.

        Raises OutputClosed if `drain` cut it off.
        """
        write = _Write(name, trio.CancelScope())
        self._writes.add(write)
        try:
            with write.scope:
                yield
        finally:
            self._writes.discard(write)
            self._ended.set()
        if write.scope.cancelled_caught:
            raise OutputClosed(CUT_OFF)

    async def drain(self, seconds: float) -> tuple[str, ...]:
        """Wait for the writes that are in flight now; return the names of those cut off.

        Writes that have not ended after *seconds* are cancelled.
        """
        pending = set(self._writes)
        with trio.move_on_after(seconds):
            await self._wait(pending)
        cut_off = pending & self._writes
        for write in cut_off:
            write.scope.cancel()
        # A thread that is changing the index is not interrupted, and takes microseconds.
        await self._wait(cut_off)
        return tuple(sorted(each.name for each in cut_off if each.scope.cancelled_caught))

    async def _wait(self, pending: set[_Write]) -> None:
        while pending & self._writes:
            self._ended = trio.Event()
            await self._ended.wait()
