"""Lines of a stream of bytes, as a terminal shows them."""

import attrs

MAX_LINE = 64 * 1024
"""Bytes that are kept of a line; programs exist that print a gigabyte without a newline."""
LOOKED_AT = 2000
"""Bytes that are shown of a line without an end."""


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

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that *data* completes."""
        first, newline, rest = data.partition(b"\n")
        self._append(first)
        if not newline:
            return []
        lines = [self._take()]
        whole, _, last = rest.rpartition(b"\n")
        if len(whole) < len(rest) - len(last):
            lines += self._split(whole)
        self._append(last)
        return lines

    def finish(self) -> list[str]:
        """Return the last line if it has no line end."""
        return [self._take()] if self._line or self._dropped else []

    @property
    def unfinished(self) -> str:
        """The line that has no end yet, as a terminal shows it now."""
        return _decode(bytes(self._line[:LOOKED_AT]))

    def _split(self, whole: bytes) -> list[str]:
        """Return lines of which each is complete; *whole* has no ``\\n`` after the last one."""
        if b"\r" not in whole:
            # Bytes that are not UTF-8 never reach over a newline.
            lines = _decode(whole).split("\n")
            if len(whole) <= self._max_line or max(map(len, lines)) * 4 <= self._max_line:
                return lines
        found = []
        for line in whole.split(b"\n"):
            self._append(line)
            found.append(self._take())
        return found

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
        line = _decode(bytes(self._line)) + suffix
        self._line.clear()
        self._dropped = 0
        self._carriage_return = False
        return line


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")
