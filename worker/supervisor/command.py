"""Running a command: its streams, its exit, and the termination of its process tree."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

import attrs
import trio

from worker.concurrency import open_plain_nursery
from worker.supervisor.cgroup import own_oom_kills
from worker.supervisor.output import LineSplitter, OutputHandler
from worker.supervisor.tree import (
    KILL_TIMEOUT,
    CommandSpec,
    LeftoverProcess,
    ProcessTree,
    start_tree,
)
from worker.supervisor.usage import Usage

# A small read completes a bounded number of lines, so a command that prints as fast as it can
# leaves the event loop time for other tasks.
READ_SIZE = 16 * 1024
LINGER = 1.0
"""Seconds for descendants to exit by themselves after the command, such as ``> >(tee log)``."""
PIPE_TIMEOUT = 1.0
"""Seconds for pipes to close after the tree has ended: another process may hold them open."""


@attrs.frozen
class GracePeriod:
    """The time between SIGTERM and SIGKILL for a command."""

    seconds: float
    cut_short: trio.Event = attrs.field(factory=trio.Event)
    """Set to end the grace period at once, now or when it starts."""


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
    grace_period: GracePeriod,
    output: OutputHandler,
    on_usage: Callable[[Usage], None],
) -> CommandExit:
    """Run a command until it exits, then terminate the rest of its process tree.

    On cancellation the whole tree receives SIGTERM, and after the grace period SIGKILL.
    *on_usage* receives what the tree used, on every path. Raises NotStarted and ShimDied.
    """
    oom_kills = own_oom_kills()
    input_pipe, output_pipe, error_pipe = os.pipe(), os.pipe(), os.pipe()
    stdin_stream = trio.lowlevel.FdStream(input_pipe[1])
    readers = [
        _OutputReader("stdout", trio.lowlevel.FdStream(output_pipe[0]), output),
        _OutputReader("stderr", trio.lowlevel.FdStream(error_pipe[0]), output),
    ]
    streams = {"stdin": input_pipe[0], "stdout": output_pipe[1], "stderr": error_pipe[1]}
    ends_of_command = ExitStack()
    for descriptor in streams.values():
        ends_of_command.callback(os.close, descriptor)
    async with stdin_stream, readers[0].stream, readers[1].stream, open_plain_nursery() as nursery:
        try:
            async with start_tree(command, **streams) as tree:
                ends_of_command.close()
                nursery.start_soon(_write_stdin, stdin_stream, stdin)
                for reader in readers:
                    nursery.start_soon(reader.run)
                result = await _supervise(tree, grace_period, on_usage)
        finally:
            ends_of_command.close()
            for reader in readers:
                await reader.finish()
            nursery.cancel_scope.cancel()
    killed = result.out_of_memory or own_oom_kills() > oom_kills
    return attrs.evolve(result, out_of_memory=killed)


async def run_on_terminal(
    command: CommandSpec, *, grace_period: GracePeriod, on_usage: Callable[[Usage], None]
) -> CommandExit:
    """Run a command on the worker's own terminal, as a shell would."""
    command = attrs.evolve(command, new_session=False)
    async with start_tree(command, stdin=None, stdout=None, stderr=None) as tree:
        return await _supervise(tree, grace_period, on_usage)


async def _supervise(
    tree: ProcessTree, grace_period: GracePeriod, on_usage: Callable[[Usage], None]
) -> CommandExit:
    leftovers: tuple[LeftoverProcess, ...] = ()
    ended = False
    try:
        returncode = await tree.wait_exit()
        with trio.move_on_after(LINGER):
            await tree.wait_end()
            ended = True
        if not ended:
            leftovers = await tree.list_processes()
    finally:
        with trio.CancelScope(shield=True):
            if not ended:
                await _terminate(tree, grace_period)
            with trio.move_on_after(KILL_TIMEOUT):
                on_usage(await tree.wait_end())
    killed = returncode < 0
    return CommandExit(
        code=None if killed else returncode,
        signal=-returncode if killed else None,
        leftovers=leftovers,
        out_of_memory=tree.oom_kills > 0,
    )


async def _terminate(tree: ProcessTree, grace_period: GracePeriod) -> None:
    """Send SIGTERM to the tree, and SIGKILL to what is left after the grace period."""
    await tree.send_signal(signal.SIGTERM)
    with trio.move_on_after(grace_period.seconds):
        async with trio.open_nursery() as nursery:

            async def cut_short() -> None:
                await grace_period.cut_short.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(cut_short)
            await tree.wait_end()
            nursery.cancel_scope.cancel()
    await tree.kill()


async def _write_stdin(stream: trio.lowlevel.FdStream, data: bytes) -> None:
    # A command is allowed to close its standard input, or to stop reading it.
    async with stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)


@attrs.define
class _OutputReader:
    """Reader of one stream of a command, until its end or until :meth:`finish`.

    It is shielded from cancellation: a command that is being terminated may still print, and would
    block on a full pipe.
    """

    name: str
    stream: trio.lowlevel.FdStream
    _output: OutputHandler
    _scope: trio.CancelScope = attrs.field(factory=partial(trio.CancelScope, shield=True))
    _started: bool = False
    _finished: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        """Pass on lines until the stream ends or is cancelled."""
        self._started = True
        lines, redactor = LineSplitter(), self._output.redactor.new_stream()
        with self._scope:
            while data := await self.stream.receive_some(READ_SIZE):
                for line in lines.feed(redactor.feed(data)):
                    self._output.handle_line(self.name, line)
        for line in (*lines.feed(redactor.finish()), *lines.finish()):
            self._output.handle_line(self.name, line)
        self._finished.set()

    async def finish(self) -> None:
        """Wait for the end of the stream for a bounded time, then stop reading."""
        if self._started:
            with trio.move_on_after(PIPE_TIMEOUT, shield=True):
                await self._finished.wait()
        self._scope.cancel()
