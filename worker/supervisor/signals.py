"""Being asked to stop: the first signal ends the run in order, the second one ends it faster."""

import signal
from collections.abc import Collection

import trio
from structlog.typing import FilteringBoundLogger

from worker.supervisor.command import Patience


class Stop:
    """The wish that a run end: a scope that a signal cancels, and patience that a second one ends.

    Whatever must not be broken off happens outside of the scope: once the output is being
    committed, a signal comes too late to change anything.
    """

    def __init__(self, grace: float, *, cancels: bool = True) -> None:
        """Give a command *grace* seconds; without *cancels* only ``asked`` tells of a signal."""
        self.scope = trio.CancelScope()
        self.patience = Patience(grace)
        self.asked = trio.Event()
        self.signal: str | None = None
        """The name of the first signal."""
        self._cancels = cancels

    async def watch(
        self,
        log: FilteringBoundLogger,
        *,
        ignored: Collection[signal.Signals] = (),
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen for signals until cancelled; those *ignored* are taken and do nothing."""
        wanted = {signal.SIGTERM, signal.SIGINT}
        # Under nohup, the end of the terminal is not the end of the run.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            wanted.add(signal.SIGHUP)
        with trio.open_signal_receiver(*wanted, *ignored) as signals:
            task_status.started()
            async for number in signals:
                if number not in ignored:
                    self._take(signal.Signals(number).name, log)

    def _take(self, name: str, log: FilteringBoundLogger) -> None:
        if self.signal is None:
            self.signal = name
            log.warning("run.stopping", signal=name, grace=self.patience.seconds)
            self.asked.set()
            if self._cancels:
                self.scope.cancel()
        else:
            log.warning("run.hurrying", signal=name)
            self.patience.over.set()
            self.scope.cancel()
