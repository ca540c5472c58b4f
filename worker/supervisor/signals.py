"""Signals that stop a run: the first one stops it gracefully, the second one at once."""

import signal
from collections.abc import Collection

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from worker.supervisor.command import GracePeriod


@attrs.define
class StopRequest:
    """A request to stop by signal: cancels a scope, and cuts the grace period short if repeated.

    Work that must not be interrupted runs outside the scope: once the output is being committed, a
    signal has no effect.
    """

    grace_period: GracePeriod
    _cancels: bool = attrs.field(default=True, kw_only=True)
    """Whether the first signal cancels the scope; otherwise it only sets `received`."""
    scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    received: trio.Event = attrs.field(init=False, factory=trio.Event)
    """Set by the first signal."""
    signal_name: str | None = attrs.field(init=False, default=None)
    """The name of the first signal."""

    async def watch(
        self,
        log: FilteringBoundLogger,
        *,
        ignored: Collection[signal.Signals] = (),
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Handle signals until cancelled; those *ignored* are received without effect."""
        handled = {signal.SIGTERM, signal.SIGINT}
        # Under nohup, a run continues when its terminal closes.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            handled.add(signal.SIGHUP)
        with trio.open_signal_receiver(*handled, *ignored) as signals:
            task_status.started()
            async for number in signals:
                if number not in ignored:
                    self._handle(signal.Signals(number).name, log)

    def _handle(self, name: str, log: FilteringBoundLogger) -> None:
        if self.signal_name is None:
            self.signal_name = name
            log.warning("run.stopping", signal=name, grace=self.grace_period.seconds)
            self.received.set()
            if self._cancels:
                self.scope.cancel()
        else:
            log.warning("run.hurrying", signal=name)
            self.grace_period.cut_short.set()
            self.scope.cancel()
