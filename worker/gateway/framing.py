"""HTTP/1.1 framing without I/O: where a head ends, and where a body does.

A parser that accepts more than the grammar sees another end of a message than a stricter one in
front of it, which then forwards a part of a body as a request ("request smuggling"). So lines end
with CRLF only, and nothing is repaired. h11 parses the heads that are accepted here.
"""

import enum
import re

import attrs

MAX_HEAD = 1 << 16
"""Bytes of a request head: a key of 1,024 bytes is 3 KiB of a target, a token may be 4 KiB."""
MAX_LINE = 4096
"""Bytes of a line with the size of a chunk."""
MAX_EXTENSIONS = 1 << 16
"""Bytes of the chunk extensions of a body (RFC 9112, 7.1.1: to be limited)."""
MAX_TRAILERS = 8192
"""Bytes of the trailers, as of the headers."""

_LINE_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
# The target may be raw UTF-8, see `heads`. All other versions than these two have other framings.
_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^\x00-\x20\x7f]+ HTTP/1\.[01]\r\n")
_FOLDED = re.compile(rb"\n[ \t]")
_FRAMING_FIELDS = re.compile(rb"\n(content-length|transfer-encoding):([^\r]*)", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class MalformedFraming(Exception):
    """A message violates the grammar, so that its end is not certain."""

    def __init__(self, status: int = 400) -> None:
        super().__init__(status)
        self.status = status
        """The status of the response."""


@attrs.define(eq=False)
class HeadReader:
    """Collects the bytes of a request head, at most `MAX_HEAD`."""

    _received: bytearray = attrs.field(factory=bytearray, init=False)

    @property
    def started(self) -> bool:
        """Whether a part of a head has been received."""
        return bool(self._received)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the head, empty while it is incomplete, and the bytes after it.

        Raises MalformedFraming, also for a head that can be rejected before it is complete.
        """
        if not self._received:
            # Most heads arrive at once.
            end = data.find(_HEAD_END) + len(_HEAD_END)
            if len(_HEAD_END) <= end <= MAX_HEAD:
                return data[:end], data[end:]
            if data[0] <= 0x20 or data[0] >= 0x7F:
                # Such as TLS, which may never send an empty line.
                raise MalformedFraming
        start = max(0, len(self._received) - len(_HEAD_END) + 1)
        self._received += data
        end = self._received.find(_HEAD_END, start) + len(_HEAD_END)
        found = end >= len(_HEAD_END)
        if (end if found else len(self._received)) > MAX_HEAD:
            raise MalformedFraming(431)
        if not found:
            return b"", b""
        head, rest = bytes(self._received[:end]), bytes(self._received[end:])
        self._received.clear()
        return head, rest


def check_head(head: bytes) -> bool:
    """Reject a head whose framing is not certain; return whether its connection may be kept.

    Rejected are other line ends than CRLF and folded lines (RFC 9112, 2.2 and 5.2), versions other
    than HTTP/1.0 and 1.1, more than one Content-Length (RFC 9110, 8.6), and a Transfer-Encoding in
    HTTP/1.0. After a message that has both, the connection is to be closed (RFC 9112, 6.1 and 6.3).
    Raises MalformedFraming.
    """
    line = _REQUEST_LINE.match(head)
    if line is None or head.count(b"\n") != head.count(_LINE_END) or _FOLDED.search(head):
        raise MalformedFraming
    fields = _FRAMING_FIELDS.findall(head, line.end() - 1)
    if not fields:
        return True
    lengths = [value for name, value in fields if name[:1] in b"Cc"]
    chunked = len(lengths) < len(fields)
    if len(lengths) > 1 or any(b"," in each for each in lengths):
        raise MalformedFraming
    if chunked and line[0].endswith(b"0\r\n"):
        raise MalformedFraming
    return not (chunked and lengths)


@attrs.define(eq=False)
class LengthBody:
    """A body whose length is known."""

    _left: int

    @property
    def complete(self) -> bool:
        """Whether the whole body has been received."""
        return self._left == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in *data*, and the bytes after the body."""
        content, rest = data[: self._left], data[self._left :]
        self._left -= len(content)
        return content, rest


class _State(enum.Enum):
    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    COMPLETE = enum.auto()


@attrs.define(eq=False)
class ChunkedBody:
    """A body in chunks (RFC 9112, 7.1); its extensions and trailers are checked and dropped.

    At most one incomplete line is buffered.
    """

    _state: _State = attrs.field(default=_State.SIZE, init=False)
    _left: int = attrs.field(default=0, init=False)
    """Bytes of the current chunk that have not been received."""
    _line: bytearray = attrs.field(factory=bytearray, init=False)
    _extensions: int = attrs.field(default=0, init=False)
    """Bytes of extensions so far."""
    _trailers: int = attrs.field(default=0, init=False)
    """Bytes of trailers so far."""

    @property
    def complete(self) -> bool:
        """Whether the whole body has been received."""
        return self._state is _State.COMPLETE

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in *data*, and the bytes after the body; raises MalformedFraming."""
        content: list[bytes] = []
        position = 0
        while position < len(data) and self._state is not _State.COMPLETE:
            if self._state is _State.DATA:
                content.append(data[position : position + self._left])
                position += len(content[-1])
                self._left -= len(content[-1])
                if not self._left:
                    self._state = _State.DATA_END
                continue
            stop = data.find(b"\n", position) + 1
            line = data[position : stop or len(data)]
            position += len(line)
            if self._line or not stop:
                self._line += line
                line = bytes(self._line)
            if len(line) > MAX_LINE:
                raise MalformedFraming
            if stop:
                self._line.clear()
                self._handle_line(line)
        return content[0] if len(content) == 1 else b"".join(content), data[position:]

    def _handle_line(self, line: bytes) -> None:
        if self._state is _State.SIZE:
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise MalformedFraming
            self._extensions += len(found[2] or b"")
            if self._extensions > MAX_EXTENSIONS:
                raise MalformedFraming
            self._left = int(found[1], 16)
            self._state = _State.DATA if self._left else _State.TRAILER
        elif self._state is _State.DATA_END:
            if line != _LINE_END:
                raise MalformedFraming
            self._state = _State.SIZE
        elif line == _LINE_END:
            self._state = _State.COMPLETE
        else:
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS or _TRAILER.fullmatch(line) is None:
                raise MalformedFraming
