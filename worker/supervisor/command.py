"""Running a command: its output, its exit, the signals that stop it, and its whole process tree."""

import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from worker.concurrency import open_plain_nursery
from worker.redaction import Redactor
from worker.signals import FORWARDED_SIGNALS, STOP_SIGNALS, not_ignored
from worker.supervisor.cgroup import own_oom_kills
from worker.supervisor.tree import (
    KILL_TIMEOUT,
    CommandSpec,
    LeftoverProcess,
    ProcessTree,
    Usage,
    start_tree,
)

MAX_LINE = 64 * 1024
"""Bytes that are kept of a line; programs exist that print a gigabyte without a newline."""
TAIL_LINES = 20
TAIL_LINE_LENGTH = 2000

# --- output ---------------------------------------------------------------------------------------


@attrs.define
class LineSplitter:
    """Incremental splitter of a stream of bytes into lines as a terminal shows them.

    A line ends with ``\\n`` or ``\\r\\n``. A lone ``\\r`` returns to the start of the line, as
    progress bars do, so only the text after the last one is kept. A line longer than *max_line*
    bytes is truncated, and ends with the number of dropped bytes. Bytes that are not UTF-8 are
    escaped as ``\\xff``.
    """

    _max_line: int = MAX_LINE
    _line: bytearray = attrs.field(init=False, factory=bytearray)
    _dropped: int = attrs.field(init=False, default=0)
    """How many bytes of the line were dropped."""
    _carriage_return: bool = attrs.field(init=False, default=False)
    """Whether the line ends, so far, with ``\\r``: the next byte may overwrite the line."""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that *data* completes."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._append(data[start:end])
            yield self._take()
            start = end + 1
        self._append(data[start:])

    def finish(self) -> Iterator[str]:
        """Yield the last line if it has no line end."""
        if self._line or self._dropped:
            yield self._take()

    def _append(self, piece: bytes) -> None:
        body = piece.rstrip(b"\r")
        if not body:
            # This may still be the first half of \r\n.
            self._carriage_return = self._carriage_return or bool(piece)
            return
        last = body.rfind(b"\r")
        if self._carriage_return or last >= 0:
            self._line.clear()
            self._dropped = 0
        self._carriage_return = len(body) < len(piece)
        kept = body[last + 1 : last + 1 + max(0, self._max_line - len(self._line))]
        self._line += kept
        self._dropped += len(body) - last - 1 - len(kept)

    def _take(self) -> str:
        suffix = f" … ({self._dropped:,} bytes more)" if self._dropped else ""
        line = self._line.decode("utf-8", "backslashreplace") + suffix
        self._line.clear()
        self._dropped = 0
        self._carriage_return = False
        return line


@attrs.frozen
class OutputHandler:
    """Receiver of a command's output: calls *on_line* for each line and keeps the last ones.

    *on_line* receives the name of the stream (``stdout`` or ``stderr``) and the redacted line.
    """

    _on_line: Callable[[str, str], None]
    redactor: Redactor
    errors: deque[str] = attrs.field(init=False, factory=partial(deque, maxlen=TAIL_LINES))
    """The last lines of standard error."""
    _last: deque[str] = attrs.field(init=False, factory=partial(deque, maxlen=TAIL_LINES))

    def handle_line(self, stream: str, line: str) -> None:
        """Handle one redacted line of a stream."""
        self._on_line(stream, line)
        self._last.append(line[:TAIL_LINE_LENGTH])
        if stream == "stderr":
            self.errors.append(line[:TAIL_LINE_LENGTH])

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of standard error, or of both streams if it is empty."""
        return tuple(self.errors or self._last)


# A small read completes a bounded number of lines, so a command that prints as fast as it can
# leaves the event loop time for other tasks.
READ_SIZE = 16 * 1024
LINGER = 1.0
"""Seconds for descendants to exit by themselves after the command, such as ``> >(tee log)``."""
PIPE_TIMEOUT = 1.0
"""Seconds for pipes to close after the tree has ended: another process may hold them open."""


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
                result = await _supervise(tree, command_signals, on_usage)
        finally:
            ends_of_command.close()
            for reader in readers:
                await reader.finish()
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
            await tree.wait_end()
            ended = True
        if not ended:
            leftovers = await tree.list_processes()
    finally:
        with trio.CancelScope(shield=True):
            if not ended:
                await _terminate(tree, command_signals)
            with trio.move_on_after(KILL_TIMEOUT):
                on_usage(await tree.wait_end())
    killed = returncode < 0
    return CommandExit(
        code=None if killed else returncode,
        signal=-returncode if killed else None,
        leftovers=leftovers,
        out_of_memory=tree.oom_kills > 0,
    )


async def _terminate(tree: ProcessTree, command_signals: CommandSignals) -> None:
    """Send SIGTERM to the tree, and SIGKILL to what is left after the grace period."""
    await tree.send_signal(signal.SIGTERM)
    with trio.move_on_after(command_signals.grace):
        async with trio.open_nursery() as nursery:

            async def cut_short() -> None:
                await command_signals.cut_short.wait()
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
