"""A stream of the log: while it has no reader, the events of the run wait in memory."""

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TextIO

import attrs

MAX_PENDING = 16 << 20
"""Characters that wait for the reader of the stream. Beyond these, texts are dropped."""
PIPE_BUF = 4096
"""Bytes that a writable pipe takes at once (``pipe(7)``)."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
LONGEST_CHARACTER = 6
"""Bytes of the longest character of a text, escaped as ``\\udfff``."""


class _Thread(threading.local):
    """The state of each thread."""

    waits = False


_thread = _Thread()


@contextmanager
def waiting_for_reader() -> Iterator[None]:
    """Wait in this block until each text is written, so that its producer is held back."""
    _thread.waits = True
    try:
        yield
    finally:
        _thread.waits = False


def mark_in_text(lines: int) -> str:
    """Return the line of a text that tells how many *lines* are missing before it."""
    return f"… ({lines:,} lines were not logged: the log was not read, or its disk was full)"


@attrs.define(eq=False)
class LogStream:
    """Writes texts in the order of `put`, and ignores them once the stream fails.

    On a full disk, texts are dropped until there is room again.

    Nothing waits for the reader but what runs in `waiting_for_reader`: signals and timeouts have an
    effect also while the log has no reader.
    """

    _stream: TextIO | None
    _mark: Callable[[int], str] = mark_in_text
    """Returns a line for a number of lines that were dropped."""
    _pending: deque[str] = attrs.field(factory=deque, init=False)
    _size: int = attrs.field(default=0, init=False)
    _dropped: int = attrs.field(default=0, init=False)
    """Number of lines that did not wait, since too many did."""
    _missing: int = attrs.field(default=0, init=False)
    """Number of lines that were dropped because of a full disk."""
    _in_line: bool = attrs.field(default=False, init=False)
    """Whether what is written ends in the middle of a line."""
    _state: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    """Held for moments only, never while writing."""
    _turn: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    """Held by the thread that writes."""
    _helped: bool = attrs.field(default=False, init=False)
    """Whether a thread writes the rest of what did not wait."""

    @property
    def stream(self) -> TextIO | None:
        """The stream; None after it has failed."""
        return self._stream

    def put(self, text: str) -> None:
        """Add *text* to what `drain` writes."""
        with self._state:
            if self._size > MAX_PENDING:
                self._dropped += text.count("\n")
                return
            if self._dropped:
                text = f"{self._mark(self._dropped)}\n{text}"
                self._dropped = 0
            self._pending.append(text)
            self._size += len(text)

    def drain(self) -> None:
        """Write what the stream takes at once, or all in `waiting_for_reader`."""
        if _thread.waits:
            self._write_all()
        elif not self._write_some():
            self._start_helper()

    def flush(self, timeout: float | None) -> bool:
        """Wait up to *timeout* seconds until all is written; return whether it is."""
        if not self._pending and self._turn.acquire(blocking=False):
            self._turn.release()
            return True
        helper = threading.Thread(target=self._write_all, daemon=True)
        helper.start()
        helper.join(timeout)
        return not helper.is_alive()

    def _write_all(self) -> None:
        while True:
            with self._turn:
                while text := self._take():
                    self._write(text)
            # What was put before the turn ended, by a thread that does not wait for its turn.
            if not self._pending:
                return

    def _write_some(self) -> bool:
        """Write what the stream takes at once; return whether another thread writes the rest."""
        while self._pending and self._turn.acquire(blocking=False):
            try:
                while self._pending:
                    if not self._is_writable():
                        return False
                    self._write(self._take(PIPE_BUF))
            finally:
                self._turn.release()
        return True

    def _start_helper(self) -> None:
        with self._state:
            if self._helped:
                return
            self._helped = True
        threading.Thread(target=self._help, daemon=True).start()

    def _help(self) -> None:
        while True:
            self._write_all()
            with self._state:
                if not self._pending:
                    self._helped = False
                    return

    def _take(self, limit: int | None = None) -> str:
        """Remove and return the first text, at most *limit* bytes of it; ``""`` if none waits."""
        with self._state:
            if not self._pending:
                return ""
            text = self._pending.popleft()
            if limit is not None:
                length = limit if text.isascii() else limit // LONGEST_CHARACTER
                if text[length:]:
                    self._pending.appendleft(text[length:])
                    text = text[:length]
            self._size -= len(text)
            return text

    def _is_writable(self) -> bool:
        try:
            poll = select.poll()
            poll.register(self._stream.fileno() if self._stream else -1, select.POLLOUT)
            return bool(poll.poll(0))
        except (OSError, ValueError, AttributeError):
            return True  # No file, or a closed one.

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._write_to(self._stream, text)
        except (OSError, ValueError):
            # The terminal is closed, or nothing reads the pipe. There is no place to report it.
            self._stream = None

    def _write_to(self, stream: TextIO, text: str) -> None:
        """Write *text* completely, also if another process has made the stream non-blocking.

        A buffered stream would lose what a non-blocking pipe does not take. The mode is that of the
        open file, which the processes that share it rely on, so it is not changed.
        """
        try:
            descriptor = stream.fileno()
        except (OSError, AttributeError):  # No file.
            stream.write(text)
            stream.flush()
            return
        stream.flush()
        encode = partial(str.encode, encoding=stream.encoding, errors=stream.errors or "strict")
        if self._missing:
            start = "\n" if self._in_line else ""
            if self._write_bytes(descriptor, encode(f"{start}{self._mark(self._missing)}\n")):
                self._drop(text.count("\n"))
                return
            self._missing = 0
        if rest := self._write_bytes(descriptor, encode(text)):
            self._drop(rest.count(b"\n"))

    def _write_bytes(self, descriptor: int, data: bytes) -> bytes:
        """Write *data*; return the rest if the disk is full."""
        while data:
            try:
                count = os.write(descriptor, data)
            except BlockingIOError:
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                poll.poll()
            except OSError as error:
                if error.errno in DISK_FULL:
                    return data
                raise
            else:
                self._in_line = not data[:count].endswith(b"\n")
                data = data[count:]
        return b""

    def _drop(self, lines: int) -> None:
        """Drop so many *lines* and all that waits, since it may be the rest of the last one."""
        with self._state:
            self._missing += lines + sum(text.count("\n") for text in self._pending)
            self._pending.clear()
            self._size = 0
