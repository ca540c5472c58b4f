"""Lines of a command's output, split from bytes with bounded memory."""

from collections.abc import Iterator

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
