"""The output of a command: read from its pipes ahead of the log, redacted, and handled by lines."""

import fcntl
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import partial

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.concurrency import closing, open_plain_nursery
from worker.redaction import Redactor
from worker.supervisor.lines import LineSplitter

TAIL_LINES = 20
TAIL_LINE_LENGTH = 2000
PIPE_SIZE = 1 << 20
"""Bytes of a pipe, where the kernel allows it (``pipe(7)``); it grants 64 KiB otherwise."""
READ_SIZE = 64 * 1024
PAUSE = 0.002
"""Seconds between two reads of a pipe. A command that prints each line with a call of its own would
wake the reader for each line, and both would run at the speed of the slower one."""
READ_AHEAD = 16 << 20
"""Bytes that are read before they are handled: a command that prints faster than its lines can be
logged is held back after these."""
BATCH = 64 * 1024
"""Bytes up to which small reads are handled together."""
PIECE_SIZE = 256
"""Bytes that a piece of output counts besides its data, roughly those of its objects: two streams
that are written in turns, a few bytes at a time, have many pieces."""
KEPT_BY_STOP = 1 << 20
"""Bytes of the read ahead output that are still handled when the run is stopped."""
LOG_TIMEOUT = 3.0
"""Seconds for the log to take the rest of the output when the run is stopped."""
UNFINISHED_INTERVAL = 0.5
"""Seconds between two looks at a line that has no end yet."""
PIPE_TIMEOUT = 1.0
"""Seconds for pipes to close after the tree has ended: another process may hold them open."""

# --- the handler ---------------------------------------------------------------------------------


def _ignore_unfinished(_stream: str, _line: str) -> None:
    """Ignore a line without an end."""


@attrs.frozen
class OutputHandler:
    """Receiver of a command's output: passes lines on and keeps the last ones.

    Streams are named ``stdout`` and ``stderr``; lines are redacted.
    """

    _on_lines: Callable[[str, list[str]], None]
    """Called in a thread, with one or more lines of a stream."""
    redactor: Redactor
    on_unfinished: Callable[[str, str], None] = _ignore_unfinished
    """Called in the event loop, every half second while a stream has a line without an end, such as
    a prompt or a progress bar, and once with ``""`` when it has none any more."""
    errors: deque[str] = attrs.field(init=False, factory=partial(deque, maxlen=TAIL_LINES))
    """The last lines of standard error."""
    _last: deque[str] = attrs.field(init=False, factory=partial(deque, maxlen=TAIL_LINES))

    def handle_lines(self, stream: str, lines: list[str]) -> None:
        """Handle redacted lines of a stream."""
        if not lines:
            return
        self._on_lines(stream, lines)
        last = [line[:TAIL_LINE_LENGTH] for line in lines[-TAIL_LINES:]]
        self._last.extend(last)
        if stream == "stderr":
            self.errors.extend(last)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of standard error, or of both streams if it is empty."""
        return tuple(self.errors or self._last)


# --- streams --------------------------------------------------------------------------------------


@attrs.define(eq=False)
class _Stream:
    """One stream of a command: its pipe, and its current line."""

    name: str
    pipe: trio.lowlevel.FdStream
    _handler: OutputHandler
    _redactor: Redactor
    _lines: LineSplitter = attrs.field(init=False, factory=LineSplitter)
    _shown: str = attrs.field(init=False, default="")
    """What was last reported of a line without an end."""

    def handle(self, data: bytes) -> None:
        """Pass on the lines that *data* completes."""
        self._handler.handle_lines(self.name, self._lines.feed(self._redactor.feed(data)))

    def finish(self) -> None:
        """Pass on what is left of the stream."""
        rest = [*self._lines.feed(self._redactor.finish()), *self._lines.finish()]
        self._handler.handle_lines(self.name, rest)

    def skip(self, count: int) -> None:
        """Pass on the line so far, and that *count* bytes are missing after it."""
        # The redactor withholds the start of a secret whose end is missing.
        count += self._redactor.drop()
        mark = f"… ({count:,} bytes are not in the log)"
        self._handler.handle_lines(self.name, [*self._lines.finish(), mark])

    def show_unfinished(self) -> None:
        """Report the line that has no end yet, or once that there is none any more."""
        before, self._shown = self._shown, self._lines.unfinished
        if before or self._shown:
            self._handler.on_unfinished(self.name, self._shown)


@attrs.define
class _Piece:
    """Output of one stream that is read and not yet handled."""

    stream: _Stream
    data: bytearray
    dropped: int = 0
    """Bytes of the stream before it that were dropped."""

    @property
    def size(self) -> int:
        """The bytes of memory that the piece counts."""
        return PIECE_SIZE + len(self.data)

    def handle(self) -> None:
        """Pass on the lines that the piece completes."""
        if self.dropped:
            self.stream.skip(self.dropped)
        self.stream.handle(bytes(self.data))


@attrs.define
class _Backlog:
    """The output that is read and not yet handled, of all streams in the order of reading."""

    _pieces: deque[_Piece] = attrs.field(init=False, factory=deque)
    _size: int = attrs.field(init=False, default=0)
    _is_ending: bool = attrs.field(init=False, default=False)
    _closed: bool = attrs.field(init=False, default=False)
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)

    def put(self, stream: _Stream, data: bytes) -> None:
        """Add *data*."""
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last.stream is stream and len(last.data) < BATCH:
            last.data += data
            self._size += len(data)
        else:
            piece = _Piece(stream, bytearray(data))
            self._pieces.append(piece)
            self._size += piece.size
        self._notify()

    async def take(self) -> _Piece | None:
        """Wait for a piece and remove it; return None once it is closed and empty."""
        while not self._pieces:
            if self._closed:
                return None
            await self._changed.wait()
        piece = self._pieces.popleft()
        self._size -= piece.size
        self._notify()
        return piece

    async def wait_room(self) -> None:
        """Wait until there is room for more, which no longer matters at the end."""
        while self._size >= READ_AHEAD and not self._is_ending:
            await self._changed.wait()

    def end(self) -> None:
        """Take the rest at once: it is in the pipes, which bounds it."""
        self._is_ending = True
        self._notify()

    def close(self) -> None:
        """Declare that no more than the rest in the pipes will be put."""
        self._closed = True
        self._notify()

    def drop_to(self, size: int) -> None:
        """Drop the oldest output beyond *size* bytes.

        What is kept of a stream begins with a line: half a secret could not be redacted.
        """
        dropped: dict[_Stream, int] = {}
        while self._size > size:
            piece = self._pieces.popleft()
            self._size -= piece.size
            dropped[piece.stream] = dropped.get(piece.stream, 0) + len(piece.data) + piece.dropped
        pieces, self._pieces = self._pieces, deque()
        for piece in pieces:
            if piece.stream in dropped:
                newline = piece.data.find(b"\n")
                start = len(piece.data) if newline < 0 else newline + 1
                del piece.data[:start]
                dropped[piece.stream] += start + piece.dropped
                if newline < 0:
                    continue
                piece.dropped = dropped.pop(piece.stream)
            self._pieces.append(piece)
        self._pieces.extend(_Piece(stream, bytearray(), count) for stream, count in dropped.items())
        self._size = sum(piece.size for piece in self._pieces)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


# --- the pump -------------------------------------------------------------------------------------


@attrs.define
class OutputPump:
    """The pipes of a command's output, from which tasks move it to a handler.

    Reading and handling are separate, so that the log holds the command back only after
    ``READ_AHEAD`` bytes. Lines are handled in a thread, so that a log that is read slowly holds
    nothing else back. Both are shielded from cancellation: a command that is being terminated may
    still print, and would block on a full pipe.
    """

    stdout: int
    """A descriptor for the command, as is the next one."""
    stderr: int
    _streams: tuple[_Stream, ...]
    _write_ends: ExitStack
    _backlog: _Backlog = attrs.field(init=False, factory=_Backlog)
    _reading: trio.CancelScope = attrs.field(
        init=False, factory=partial(trio.CancelScope, shield=True)
    )
    _handling: trio.CancelScope = attrs.field(
        init=False, factory=partial(trio.CancelScope, shield=True)
    )
    _looking: trio.CancelScope = attrs.field(
        init=False, factory=partial(trio.CancelScope, shield=True)
    )
    _is_read: trio.Event = attrs.field(init=False, factory=trio.Event)
    _is_handled: trio.Event = attrs.field(init=False, factory=trio.Event)
    _command_ended: bool = attrs.field(init=False, default=False)

    def close_write_ends(self) -> None:
        """Close the descriptors for the command, once it has its own."""
        self._write_ends.close()

    async def finish(self) -> None:
        """Handle the rest, after the processes of the command have ended.

        A run that is stopped meanwhile does not wait until all of it is logged.
        """
        self.close_write_ends()
        self._command_ended = True
        self._backlog.end()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(PIPE_TIMEOUT):
                await self._is_read.wait()
            self._reading.cancel()
            await self._is_read.wait()
        stopped: float | None = None
        while not self._is_handled.is_set():
            if trio.current_effective_deadline() <= trio.current_time():
                self._backlog.drop_to(KEPT_BY_STOP)
                stopped = stopped or trio.current_time()
                if trio.current_time() - stopped > LOG_TIMEOUT:
                    # The log has no reader.
                    self._handling.cancel()
            with trio.move_on_after(PIPE_TIMEOUT / 10, shield=True):
                await self._is_handled.wait()

    async def read(self) -> None:
        """Read the pipes until they end, or until `finish` ends it."""
        with self._reading:
            async with trio.open_nursery() as nursery:
                for stream in self._streams:
                    nursery.start_soon(self._read, stream)
        self._backlog.close()
        self._is_read.set()

    async def _read(self, stream: _Stream) -> None:
        rest = PIPE_SIZE
        while data := await stream.pipe.receive_some(READ_SIZE):
            self._backlog.put(stream, data)
            if self._command_ended:
                # What the command wrote is in the pipe; the rest is another process's.
                rest -= len(data)
                if rest <= 0:
                    break
                continue
            await self._backlog.wait_room()
            if len(data) < READ_SIZE:
                await trio.sleep(PAUSE)

    async def handle(self) -> None:
        """Handle what is read, until all of it is handled."""
        # Threads of its own: those that are abandoned must not take the place of others.
        handle = partial(in_thread, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
        try:
            with self._handling:
                while (piece := await self._backlog.take()) is not None:
                    await handle(piece.handle)
                for stream in self._streams:
                    await handle(stream.finish)
        finally:
            self._looking.cancel()
            self._is_handled.set()

    async def look(self) -> None:
        """Report lines that have no end yet, until all output is handled."""
        with self._looking:
            while True:
                await trio.sleep(UNFINISHED_INTERVAL)
                for stream in self._streams:
                    stream.show_unfinished()
        for stream in self._streams:
            stream.show_unfinished()


@asynccontextmanager
async def open_pump(handler: OutputHandler) -> AsyncIterator[OutputPump]:
    """Open the pipes for the output of a command, and move it to *handler* until all is handled."""
    async with AsyncExitStack() as stack:
        write_ends = stack.enter_context(ExitStack())

        async def open_stream(name: str) -> tuple[_Stream, int]:
            read_end, write_end = os.pipe()
            write_ends.callback(os.close, write_end)
            pipe = await stack.enter_async_context(closing(trio.lowlevel.FdStream(read_end)))
            with suppress(OSError):  # The user has too many pipes.
                fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            return _Stream(name, pipe, handler, handler.redactor.new_stream()), write_end

        stdout, stdout_end = await open_stream("stdout")
        stderr, stderr_end = await open_stream("stderr")
        pump = OutputPump(stdout_end, stderr_end, (stdout, stderr), write_ends)
        async with open_plain_nursery() as nursery:
            for task in (pump.read, pump.handle, pump.look):
                nursery.start_soon(task)
            try:
                yield pump
            finally:
                await pump.finish()
