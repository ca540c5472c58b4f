"""Running a command: its exit, the signals that stop it, and its whole process tree."""

import os
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from worker.concurrency import closing, open_plain_nursery
from worker.signals import FORWARDED_SIGNALS, STOP_SIGNALS, not_ignored
from worker.supervisor.cgroup import own_oom_kills
from worker.supervisor.output import OutputHandler, open_pump
from worker.supervisor.tree import (
    CommandSpec,
    LeftoverProcess,
    ProcessTree,
    Usage,
    start_tree,
)

LINGER = 1.0
"""Seconds for descendants to exit by themselves after the command, such as ``> >(tee log)``."""

# --- run ------------------------------------------------------------------------------------------


@attrs.frozen
class CommandSignals:
    """The signals that commands get: how they are stopped, and what is forwarded to them."""

    grace: float
    """Seconds between SIGTERM and SIGKILL."""
    cut_short: trio.Event = attrs.field(factory=trio.Event)
    """Set to end the grace period at once, now or when it starts."""
    _running: set[ProcessTree] = attrs.field(factory=set, init=False)

    async def forward(self, number: int) -> bool:
        """Send a signal to the command that runs now; return whether there is one."""
        for tree in tuple(self._running):
            await tree.send_to_command(number)
        return bool(self._running)

    @contextmanager
    def forwarding_to(self, tree: ProcessTree) -> Iterator[None]:
        """Forward signals to the command of *tree* in the block."""
        self._running.add(tree)
        try:
            yield
        finally:
            self._running.discard(tree)


@attrs.frozen
class CommandExit:
    """Exit of a command, after its whole process tree has ended."""

    code: int | None
    """The exit code; None if a signal killed the command."""
    signal: int | None
    leftovers: tuple[LeftoverProcess, ...] = ()
    """Processes that the command left running, and that were therefore terminated."""
    out_of_memory: bool = False
    """Whether the kernel killed a process of this cgroup for memory meanwhile."""

    def succeeded(self, accepted: tuple[int, ...]) -> bool:
        """Whether the exit code is 0 or one of those *accepted*; a signal is never success."""
        return self.code is not None and (self.code == 0 or self.code in accepted)

    def __str__(self) -> str:
        if self.signal is not None:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(self.signal).name}"
            return f"was killed by signal {self.signal}"
        return f"exited with code {self.code}"


async def run_command(
    command: CommandSpec,
    *,
    stdin: bytes,
    command_signals: CommandSignals,
    output: OutputHandler,
    on_usage: Callable[[Usage], None],
) -> CommandExit:
    """Run a command until it exits, then terminate the rest of its process tree.

    On cancellation the whole tree receives SIGTERM, and after the grace period SIGKILL.
    *on_usage* receives what the tree used, on every path. Raises NotStarted, ShimDied, and
    SurvivingProcesses if a process cannot be killed.
    """
    oom_kills = own_oom_kills()
    read_end, write_end = os.pipe()
    end_of_command = ExitStack()
    end_of_command.callback(os.close, read_end)
    async with (
        closing(trio.lowlevel.FdStream(write_end)) as stdin_stream,
        open_pump(output) as pump,
        open_plain_nursery() as nursery,
    ):
        with end_of_command:
            streams = {"stdin": read_end, "stdout": pump.stdout, "stderr": pump.stderr}
            async with start_tree(command, **streams) as tree:
                end_of_command.close()
                pump.close_write_ends()
                nursery.start_soon(_write_stdin, stdin_stream, stdin)
                result = await _supervise(tree, command_signals, on_usage)
        nursery.cancel_scope.cancel()
    killed = result.out_of_memory or own_oom_kills() > oom_kills
    return attrs.evolve(result, out_of_memory=killed)


async def run_on_terminal(
    command: CommandSpec, *, command_signals: CommandSignals, on_usage: Callable[[Usage], None]
) -> CommandExit:
    """Run a command on the worker's own terminal, as a shell would."""
    command = attrs.evolve(command, new_session=False)
    async with start_tree(command, stdin=None, stdout=None, stderr=None) as tree:
        return await _supervise(tree, command_signals, on_usage)


async def _supervise(
    tree: ProcessTree, command_signals: CommandSignals, on_usage: Callable[[Usage], None]
) -> CommandExit:
    leftovers: tuple[LeftoverProcess, ...] = ()
    ended = False
    try:
        with command_signals.forwarding_to(tree):
            returncode = await tree.wait_exit()
        with trio.move_on_after(LINGER):
            ended = await tree.wait_end()
        if not ended:
            leftovers = await tree.list_processes()
    finally:
        with trio.CancelScope(shield=True):
            if not ended:
                await _terminate(tree, command_signals)
            try:
                await tree.end()
            finally:
                on_usage(tree.usage)
    killed = returncode < 0
    return CommandExit(
        code=None if killed else returncode,
        signal=-returncode if killed else None,
        leftovers=leftovers,
        out_of_memory=tree.oom_kills > 0,
    )


async def _terminate(tree: ProcessTree, command_signals: CommandSignals) -> None:
    """Send SIGTERM to the tree, and wait until it ends or the grace period does."""
    await tree.send_signal(signal.SIGTERM)
    with trio.move_on_after(command_signals.grace):
        async with trio.open_nursery() as nursery:

            async def cut_short() -> None:
                await command_signals.cut_short.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(cut_short)
            await tree.wait_end()
            nursery.cancel_scope.cancel()


async def _write_stdin(stream: trio.lowlevel.FdStream, data: bytes) -> None:
    # A command is allowed to close its standard input, or to stop reading it.
    async with stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)


# --- stop by signal -------------------------------------------------------------------------------


@attrs.define
class StopRequest:
    """A request to stop by signal: cancels a scope, and cuts the grace period short if repeated.

    Work that must not be interrupted runs outside the scope: once the output is being committed, a
    signal has no effect.
    """

    command_signals: CommandSignals
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
        # Under nohup, a run continues when its terminal closes.
        received = {*not_ignored(STOP_SIGNALS | FORWARDED_SIGNALS), *ignored}
        with trio.open_signal_receiver(*received) as signals:
            task_status.started()
            async for number in signals:
                name = signal.Signals(number).name
                if number in FORWARDED_SIGNALS:
                    is_forwarded = await self.command_signals.forward(number)
                    log.info("run.signal", signal=name, forwarded=is_forwarded)
                elif number not in ignored:
                    self._handle(name, log)

    def _handle(self, name: str, log: FilteringBoundLogger) -> None:
        if self.signal_name is None:
            self.signal_name = name
            log.warning("run.stopping", signal=name, grace=self.command_signals.grace)
            self.received.set()
            if self._cancels:
                self.scope.cancel()
        else:
            log.warning("run.killing", signal=name)
            self.command_signals.cut_short.set()
            self.scope.cancel()
