"""The aws-chunked content encoding, decoded incrementally with its signatures."""

import enum
import hashlib
from collections.abc import Callable

from worker.s3.error_codes import S3Error
from worker.s3.payload import Payload
from worker.s3.signing import Signed, same

MAX_LINE = 4096
SIGNATURE_TRAILER = "x-amz-trailer-signature"

_HEX = frozenset(b"0123456789abcdefABCDEF")


class State(enum.Enum):
    """What the next byte belongs to."""

    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    DONE = enum.auto()


class ChunkedDecoder:
    """Takes the framing off a body, holding back no more than one unfinished line.

    *signed* is the request's own signature, which the chunks' go on from; None while
    authentication is off, and then chunk signatures are read and not judged. Content is handed out
    before the signature of its chunk was seen: nothing may become visible before ``finish``.
    """

    def __init__(self, payload: Payload, signed: Signed | None = None) -> None:
        self.trailers: dict[str, str] = {}
        """By lower-case name; whole once ``finish`` has returned."""
        self._payload = payload
        self._previous = signed if payload.signed else None
        self._state = State.SIZE
        self._line = bytearray()
        self._left = 0
        """Bytes of the current chunk that are still to come."""
        self._decoded = 0
        self._chunk_signature = ""
        self._chunk_hash = hashlib.sha256()
        self._trailer_signature: str | None = None
        self._ended = False
        self._take: dict[State, Callable[[bytes], None]] = {
            State.SIZE: self._take_size,
            State.DATA_END: self._take_data_end,
            State.TRAILER: self._take_trailer,
            State.DONE: self._take_rest,
        }

    def feed(self, data: bytes) -> list[memoryview]:
        """Return the content in *data*, as views of it; raises S3Error where the framing breaks."""
        content: list[memoryview] = []
        view = memoryview(data)
        position = 0
        while position < len(data):
            if self._state is State.DATA:
                piece = view[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                if self._previous is not None:
                    self._chunk_hash.update(piece)
                content.append(piece)
                if not self._left:
                    self._state = State.DATA_END
                continue
            position = self._feed_line(data, position)
        return content

    def finish(self) -> None:
        """Refuse a body that ended too early, or is not what its headers announced."""
        if self._state is not State.DONE or self._line:
            raise _broken("it ended before its last chunk was complete")
        if self._decoded != self._payload.length:
            raise _broken(
                f"x-amz-decoded-content-length is {self._payload.length}, and "
                f"{self._decoded} bytes came"
            )
        for name in self._payload.announced:
            if name not in self.trailers:
                raise S3Error(
                    "MalformedTrailerError", f"The trailer {name} was announced and did not come."
                )
        if self._previous is not None and self.trailers:
            expected = self._previous.trailer(self.trailers).signature
            if not same(expected, self._trailer_signature or ""):
                raise S3Error(
                    "SignatureDoesNotMatch",
                    "The signature of the trailers does not match the signature you provided.",
                )

    def _feed_line(self, data: bytes, position: int) -> int:
        """Take a line, or what there is of it; return where to go on."""
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        if len(self._line) + stop - position > MAX_LINE:
            raise _broken(f"a line is longer than {MAX_LINE} bytes")
        self._line += data[position:stop]
        if end >= 0:
            line = bytes(self._line)
            self._line.clear()
            self._take[self._state](line)
        return stop

    def _take_size(self, line: bytes) -> None:
        size, *extensions = _without_crlf(line).split(b";")
        size = size.strip()
        if not size or len(size) > 16 or not _HEX.issuperset(size):
            raise _broken("a chunk begins with its size in hex")
        length = int(size, 16)
        if self._payload.length is not None and self._decoded + length > self._payload.length:
            raise _broken(
                f"x-amz-decoded-content-length is {self._payload.length}, and more bytes came"
            )
        self._chunk_signature = ""
        for extension in extensions:
            name, _, value = extension.partition(b"=")
            if name.strip() == b"chunk-signature":
                self._chunk_signature = value.strip().decode("latin-1")
        self._decoded += length
        self._left = length
        if length:
            self._state = State.DATA
            return
        self._check_chunk()
        self._state = State.TRAILER

    def _take_data_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise _broken("a chunk is followed by CR LF")
        self._check_chunk()
        self._state = State.SIZE

    def _check_chunk(self) -> None:
        if self._previous is None:
            return
        following = self._previous.chunk(self._chunk_hash.hexdigest())
        if not same(following.signature, self._chunk_signature):
            raise S3Error(
                "SignatureDoesNotMatch",
                "The signature of a chunk does not match the signature you provided.",
            )
        self._previous = following
        self._chunk_hash = hashlib.sha256()

    def _take_trailer(self, line: bytes) -> None:
        # The AWS documentation ends trailers with LF, the SDKs with CR LF.
        line = line.rstrip(b"\r\n")
        if not line:
            self._state = State.DONE
            return
        if not self._payload.trailer:
            raise _broken("there are trailers in a mode that has none")
        name, colon, value = line.partition(b":")
        key = name.strip().decode("latin-1").lower()
        text = value.strip().decode("latin-1")
        if not colon or not key:
            raise S3Error("MalformedTrailerError")
        if key == SIGNATURE_TRAILER:
            self._trailer_signature = text
        elif key in self.trailers or key not in self._payload.announced:
            raise S3Error(
                "MalformedTrailerError",
                f"The trailer {key} came twice or was not announced in x-amz-trailer.",
            )
        else:
            self.trailers[key] = text

    def _take_rest(self, line: bytes) -> None:
        """Take what may stand behind the end: the signature of the trailers, an empty line."""
        if line.startswith(SIGNATURE_TRAILER.encode()) and self._trailer_signature is None:
            # As documented, an empty line stands between the trailers and their signature.
            self._state = State.TRAILER
            self._take_trailer(line)
        elif line != b"\r\n" or self._ended:
            raise _broken("there are bytes behind its end")
        self._ended = True


def _without_crlf(line: bytes) -> bytes:
    if not line.endswith(b"\r\n"):
        raise _broken("a line ends with CR LF")
    return line[:-2]


def _broken(what: str) -> S3Error:
    return S3Error("IncompleteBody", f"The aws-chunked body is malformed: {what}.")
