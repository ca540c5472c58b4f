"""Requests to stop: the first signal ends a run in order, the second one without a grace period."""

import signal
from collections.abc import Collection

import trio
from structlog.typing import FilteringBoundLogger

from worker.supervisor.command import GracePeriod


class StopRequest:
    """A request to stop a run: a scope that a signal cancels, and the command's grace period.

    What must not be interrupted happens outside of the scope: a signal has no effect once the
    output is being committed.
    """

    def __init__(self, grace: float, *, cancels: bool = True) -> None:
        """Give a command *grace* seconds; without *cancels*, the first signal only sets `event`."""
        self.scope = trio.CancelScope()
        self.grace_period = GracePeriod(grace)
        self.event = trio.Event()
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
        """Receive signals until cancelled; those in *ignored* have no effect."""
        wanted = {signal.SIGTERM, signal.SIGINT}
        # Under nohup, SIGHUP is ignored and the run outlives its terminal.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            wanted.add(signal.SIGHUP)
        with trio.open_signal_receiver(*wanted, *ignored) as signals:
            task_status.started()
            async for number in signals:
                if number in ignored:
                    continue
                name = signal.Signals(number).name
                if self.signal is None:
                    self.signal = name
                    log.warning("run.stopping", signal=name, grace=self.grace_period.seconds)
                    self.event.set()
                    if self._cancels:
                        self.scope.cancel()
                else:
                    log.warning("run.hurrying", signal=name)
                    self.grace_period.skip.set()
                    self.scope.cancel()
