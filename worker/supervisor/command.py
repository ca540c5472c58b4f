"""The user's command: started, its streams connected, awaited, and its process tree ended."""

import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from worker.concurrency import open_plain_nursery
from worker.redaction import Redactor
from worker.supervisor.cgroup import own_oom_kills
from worker.supervisor.tree import (
    KILL_TIMEOUT,
    CommandSpec,
    LeftoverProcess,
    ProcessTree,
    Usage,
    start,
)

MAX_LINE = 64 * 1024
"""Bytes of a line that are shown; a program may write a gigabyte without a line feed."""


class LineSplitter:
    """Splits a stream into lines as a terminal would show them.

    A line ends with ``\\n`` or ``\\r\\n``. A lone ``\\r`` returns to the start of the line, as
    progress bars do, so only the text after the last one is shown. Of a long line the start is
    shown, and how many bytes follow. Bytes that are not UTF-8 are shown as ``\\xff``.
    """

    def __init__(self, longest: int = MAX_LINE) -> None:
        self._longest = longest
        self._line = bytearray()
        self._omitted = 0
        """Bytes of the line that are not shown."""
        self._returned = False
        """Whether the next byte, unless it ends the line, starts the line again."""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that *data* completes."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            yield self._take()
            start = end + 1
        self._add(data[start:])

    def finish(self) -> Iterator[str]:
        """Yield the last line if it is incomplete."""
        if self._line or self._omitted:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        body = piece.rstrip(b"\r")
        if not body:
            # A carriage return here may still be part of \r\n.
            self._returned = self._returned or bool(piece)
            return
        last = body.rfind(b"\r")
        if self._returned or last >= 0:
            self._line.clear()
            self._omitted = 0
        self._returned = len(body) < len(piece)
        kept = body[last + 1 : last + 1 + max(0, self._longest - len(self._line))]
        self._line += kept
        self._omitted += len(body) - last - 1 - len(kept)

    def _take(self) -> str:
        omitted = f" … ({self._omitted:,} more bytes)" if self._omitted else ""
        line = self._line.decode("utf-8", "backslashreplace") + omitted
        self._line.clear()
        self._omitted = 0
        self._returned = False
        return line


PIECE = 16 * 1024
"""Bytes read from a pipe at once: few enough lines that other tasks run between two reads."""
LINGER = 1.0
"""Seconds for processes that exit on their own just after the command, as in ``> >(tee log)``."""
PIPE_TIMEOUT = 1.0
"""Seconds for the pipes to close after the tree has ended: an outside process may hold them."""
TAIL = 20
"""Lines of output that are kept to explain a failure."""
TAIL_LINE = 2000


class GracePeriod:
    """Seconds between SIGTERM and SIGKILL; setting *skip* ends it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.skip = trio.Event()


class OutputHandler:
    """Receives the output of a command: passes each redacted line on, and keeps the last ones."""

    def __init__(self, output: Callable[[str, str], None], redactor: Redactor) -> None:
        """Call *output* with the stream (``stdout`` or ``stderr``) and each line."""
        self._output = output
        self.redactor = redactor
        self.last: deque[str] = deque(maxlen=TAIL)
        """The last lines of both streams."""
        self.errors: deque[str] = deque(maxlen=TAIL)
        """The last lines of standard error."""

    def handle(self, stream: str, line: str) -> None:
        """Handle one line."""
        self._output(stream, line)
        self.last.append(line[:TAIL_LINE])
        if stream == "stderr":
            self.errors.append(line[:TAIL_LINE])

    @property
    def tail(self) -> tuple[str, ...]:
        """The lines that explain a failure best: the end of standard error, or of all output."""
        return tuple(self.errors or self.last)


@attrs.frozen
class CommandExit:
    """The exit of a command and of its process tree."""

    code: int | None
    """None if a signal ended the command."""
    signal: int | None
    leftovers: tuple[LeftoverProcess, ...] = ()
    """Processes that outlived the command and were killed."""
    out_of_memory: bool = False
    """Whether the kernel killed a process of the command's cgroup for memory."""

    def is_success(self, accepted: tuple[int, ...]) -> bool:
        """Whether the exit code is 0 or one of *accepted*; a signal is always a failure."""
        return self.code is not None and (self.code == 0 or self.code in accepted)

    def __str__(self) -> str:
        if self.signal is not None:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(self.signal).name}"
            return f"was ended by signal {self.signal}"
        return f"exited with code {self.code}"


async def run_command(
    spec: CommandSpec,
    *,
    stdin: bytes,
    grace_period: GracePeriod,
    handler: OutputHandler,
    record_usage: Callable[[Usage], None],
) -> CommandExit:
    """Run a command to its exit, and end what it leaves running.

    When cancelled, the whole tree receives SIGTERM, and SIGKILL after *grace_period*.
    *record_usage* is called in every case. Raises NotStarted.
    """
    kills = own_oom_kills()
    inputs, outputs, errors = os.pipe(), os.pipe(), os.pipe()
    feeding = trio.lowlevel.FdStream(inputs[1])
    readers = [
        _Reader("stdout", trio.lowlevel.FdStream(outputs[0]), handler),
        _Reader("stderr", trio.lowlevel.FdStream(errors[0]), handler),
    ]
    theirs = [inputs[0], outputs[1], errors[1]]
    async with feeding, readers[0].stream, readers[1].stream, open_plain_nursery() as nursery:
        try:
            async with start(spec, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2]) as tree:
                _close(theirs)
                nursery.start_soon(_feed, feeding, stdin)
                for reader in readers:
                    nursery.start_soon(reader.run)
                ended = await _wait(tree, grace_period, record_usage)
        finally:
            _close(theirs)
            for reader in readers:
                await reader.finish()
            nursery.cancel_scope.cancel()
    return attrs.evolve(ended, out_of_memory=ended.out_of_memory or own_oom_kills() > kills)


async def run_on_terminal(
    spec: CommandSpec, *, grace_period: GracePeriod, record_usage: Callable[[Usage], None]
) -> CommandExit:
    """Run a command on the agent's own terminal, as a shell would."""
    spec = attrs.evolve(spec, session=False)
    async with start(spec, stdin=None, stdout=None, stderr=None) as tree:
        return await _wait(tree, grace_period, record_usage)


async def _wait(
    tree: ProcessTree, grace_period: GracePeriod, record_usage: Callable[[Usage], None]
) -> CommandExit:
    leftovers: tuple[LeftoverProcess, ...] = ()
    try:
        found = await tree.wait_exited()
        if found.leftovers:
            with trio.move_on_after(LINGER):
                await tree.wait_ended()
            # Listed again: at first, a child was still a copy of its shell, and a daemon still had
            # its parents.
            leftovers = await tree.list_leftovers()
    finally:
        with trio.CancelScope(shield=True):
            await _end(tree, grace_period)
            with trio.move_on_after(KILL_TIMEOUT):
                record_usage(await tree.wait_ended())
    return CommandExit(
        None if found.signal else found.code,
        found.signal,
        leftovers,
        out_of_memory=tree.oom_kills > 0,
    )


async def _end(tree: ProcessTree, grace_period: GracePeriod) -> None:
    """End the tree: SIGTERM, the grace period, SIGKILL."""
    await tree.signal(signal.SIGTERM)
    with trio.move_on_after(grace_period.seconds):
        async with trio.open_nursery() as nursery:

            async def wait_skip() -> None:
                await grace_period.skip.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_skip)
            await tree.wait_ended()
            nursery.cancel_scope.cancel()
    await tree.kill()


async def _feed(stream: trio.lowlevel.FdStream, data: bytes) -> None:
    # A command may ignore its standard input, or close it early.
    async with stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)


class _Reader:
    """Reads one stream of a command until its end, and passes the lines to the handler.

    It is shielded from cancellation: a command that is being ended may still write, and would block
    on a full pipe instead of exiting.
    """

    def __init__(self, name: str, stream: trio.lowlevel.FdStream, handler: OutputHandler) -> None:
        self.stream = stream
        self._scope = trio.CancelScope(shield=True)
        self._started = False
        self._finished = trio.Event()
        self._name = name
        self._handler = handler

    async def run(self) -> None:
        self._started = True
        lines, redactor = LineSplitter(), self._handler.redactor.new_stream()
        with self._scope:
            while data := await self.stream.receive_some(PIECE):
                for line in lines.feed(redactor.feed(data)):
                    self._handler.handle(self._name, line)
        for line in (*lines.feed(redactor.finish()), *lines.finish()):
            self._handler.handle(self._name, line)
        self._finished.set()

    async def finish(self) -> None:
        """Wait a moment for the end of the stream; a process outside of the tree may hold it."""
        if self._started:
            with trio.move_on_after(PIPE_TIMEOUT, shield=True):
                await self._finished.wait()
        self._scope.cancel()


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


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
