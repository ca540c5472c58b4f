"""Bytes of a command's output in, lines of text out, with bounded memory whatever it prints."""

from collections.abc import Iterator

LONGEST = 64 * 1024
"""How many bytes of a line are shown; some program prints a gigabyte without a newline."""


class Lines:
    """Cuts a stream into lines as a terminal would show them.

    A line end is ``\\n`` or ``\\r\\n``. A lone ``\\r`` goes back to the start of the line, as
    progress bars do, so only what stands behind the last one is shown. Of a line that is too long
    the beginning is shown, and how much more there was. What is no UTF-8 is shown as ``\\xff``.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._line = bytearray()
        self._more = 0
        """How many bytes of the line were left out."""
        self._back = False
        """Whether the next byte, unless it ends the line, goes back to its start."""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that *data* completes."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            yield self._take()
            start = end + 1
        self._add(data[start:])

    def finish(self) -> Iterator[str]:
        """Yield the last line if it had no end."""
        if self._line or self._more:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        body = piece.rstrip(b"\r")
        if not body:
            # What stands here may still be the end of the line, \r\n.
            self._back = self._back or bool(piece)
            return
        last = body.rfind(b"\r")
        if self._back or last >= 0:
            self._line.clear()
            self._more = 0
        self._back = len(body) < len(piece)
        kept = body[last + 1 : last + 1 + max(0, self._longest - len(self._line))]
        self._line += kept
        self._more += len(body) - last - 1 - len(kept)

    def _take(self) -> str:
        more = f" … ({self._more:,} bytes more)" if self._more else ""
        line = self._line.decode("utf-8", "backslashreplace") + more
        self._line.clear()
        self._more = 0
        self._back = False
        return line
