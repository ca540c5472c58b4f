"""Output of a command: bytes split into lines with bounded memory, redacted and passed on."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import attrs

from worker.redaction import Redactor

MAX_LINE = 64 * 1024
"""Bytes that are kept of a line; programs exist that print a gigabyte without a newline."""
TAIL_LINES = 20
TAIL_LINE_LENGTH = 2000


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
