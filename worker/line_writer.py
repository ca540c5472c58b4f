"""The writer of the log: its lines, and on a terminal a status line below them."""

import os
import shutil
import threading
from contextlib import suppress
from typing import Any, TextIO

import attrs

from worker.log_stream import LogStream
from worker.redaction import redact
from worker.text import cut_to_width, escape_controls

DEFAULT_COLUMNS = 80
"""Columns of a terminal that does not know its size, such as a serial line."""
ERASE_LINE = "\r\x1b[K"


@attrs.define(eq=False)
class LineWriter:
    """Writes lines to a stream, and ignores them once the stream fails: a job outlives its log.

    On a terminal a status line can be kept below the lines. It is erased before each line and drawn
    again after it. An instance is structlog's factory of loggers and its only logger, and can be
    used by several threads.
    """

    _log: LogStream
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _status: str = attrs.field(default="", init=False)

    @property
    def terminal(self) -> bool:
        """Whether the stream is a terminal that has not failed."""
        return self.stream is not None and self.stream.isatty()

    @property
    def stream(self) -> TextIO | None:
        """The stream; None after it has failed."""
        return self._log.stream

    def width(self) -> int:
        """Return the columns for the status; the last one stays empty, so that no terminal wraps.

        Standard output, of which ``shutil.get_terminal_size`` returns the width, may be a file.
        """
        with suppress(OSError, ValueError, AttributeError):
            if self.stream is not None and "COLUMNS" not in os.environ:
                columns = os.get_terminal_size(self.stream.fileno()).columns
                return (columns or DEFAULT_COLUMNS) - 1
        return shutil.get_terminal_size().columns - 1

    def __call__(self, *_args: Any) -> "LineWriter":
        """Return itself, as structlog's factory of loggers."""
        return self

    def msg(self, line: str) -> None:
        """Write one line, or several."""
        with self._lock:
            shown = f"{ERASE_LINE}{line}\n{self._status}" if self._status else f"{line}\n"
            self._log.put(shown)
        self._log.drain()

    def show(self, status: str) -> None:
        """Keep *status* below the lines, cut to the width of the terminal; ``""`` removes it."""
        width = self.width()
        with self._lock:
            status = escape_controls(redact(status).replace("\t", " "))
            before, self._status = self._status, cut_to_width(status, width)
            if before or self._status:
                self._log.put(ERASE_LINE + self._status)
        self._log.drain()

    def flush(self, timeout: float | None) -> bool:
        """Wait up to *timeout* seconds until all lines are written; return whether they are."""
        return self._log.flush(timeout)

    debug = info = warning = error = critical = msg
