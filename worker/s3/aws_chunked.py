"""The aws-chunked content encoding, decoded incrementally with its signatures."""

import enum
import hashlib
from collections.abc import Callable

from worker.s3.error_codes import CATALOGUE, S3Error
from worker.s3.payload import Payload
from worker.s3.signing import Signed

MAX_LINE = 4096
"""Bytes of a line: the size of a chunk with its signature, or a trailer."""
MIN_CHUNK = 8192
"""Bytes of every chunk but the last, as in S3; so the framing costs little for any body."""
SIGNATURE_TRAILER = "x-amz-trailer-signature"
SIGNATURE_SIZE = 64

_HEX = frozenset(b"0123456789abcdefABCDEF")


class State(enum.Enum):
    """The part of the framing that the next byte belongs to."""

    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILER = enum.auto()
    DONE = enum.auto()


class ChunkedDecoder:
    """An incremental decoder; it buffers at most one incomplete line.

    *signed* is the verified signature of the request, from which those of its chunks are derived.
    None means that authentication is off: chunk signatures are parsed and not verified. Content is
    returned before the signature of its chunk is known, so it must not become visible before
    ``finish`` has returned.
    """

    def __init__(self, payload: Payload, signed: Signed | None = None) -> None:
        self.trailers: dict[str, str] = {}
        """By lower-case name; complete after ``finish``."""
        self._payload = payload
        self._previous = signed if payload.signed else None
        self._state = State.SIZE
        self._line = bytearray()
        self._left = 0
        """Bytes of the current chunk that have not been received."""
        self._decoded = 0
        self._chunks = 0
        self._chunk_size = 0
        self._chunk_signature = ""
        self._chunk_hash = hashlib.sha256()
        self._trailer_signature: str | None = None
        self._ended = False
        self._line_handlers: dict[State, Callable[[bytes], None]] = {
            State.SIZE: self._handle_size,
            State.DATA_END: self._handle_data_end,
            State.TRAILER: self._handle_trailer,
            State.DONE: self._handle_rest,
        }

    def feed(self, data: bytes) -> list[memoryview]:
        """Return the content in *data*, as views of it; raises S3Error for malformed framing."""
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
        """Verify that the body is complete and matches its headers; raises S3Error."""
        if self._state is not State.DONE or self._line:
            raise _malformed("it ends before its last chunk is complete")
        if self._decoded != self._payload.length:
            raise self._other_length(self._decoded)
        for name in self._payload.announced:
            if name not in self.trailers:
                raise malformed_trailer(f"{name} is announced in x-amz-trailer and missing")
        if self._previous is not None and self.trailers:
            if self._trailer_signature is None:
                raise _malformed(f"its trailers must be followed by {SIGNATURE_TRAILER}")
            self._previous.check_trailers(self.trailers, self._trailer_signature)

    def _other_length(self, found: int) -> S3Error:
        """Return the error for a body of another length than its headers declare."""
        return S3Error(
            "IncompleteBody",
            NumberBytesExpected=self._payload.length,
            NumberBytesProvided=found,
        )

    def _feed_line(self, data: bytes, position: int) -> int:
        """Buffer a line, or a part of one; return the position after it."""
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        if len(self._line) + stop - position > MAX_LINE:
            raise _malformed(f"a line is longer than {MAX_LINE} bytes")
        self._line += data[position:stop]
        if end >= 0:
            line = bytes(self._line)
            self._line.clear()
            self._line_handlers[self._state](line)
        return stop

    def _handle_size(self, line: bytes) -> None:
        size, *extensions = _without_crlf(line).split(b";")
        size = size.strip()
        if not size or len(size) > 16 or not _HEX.issuperset(size):
            raise _malformed("a chunk must start with its size in hex")
        length = int(size, 16)
        self._chunks += 1
        if length and self._chunks > 1 and self._chunk_size < MIN_CHUNK:
            raise S3Error(
                "InvalidChunkSizeError", Chunk=self._chunks, BadChunkSize=self._chunk_size
            )
        if self._payload.length is not None and self._decoded + length > self._payload.length:
            raise self._other_length(self._decoded + length)
        self._chunk_size = length
        signatures = [
            value.strip()
            for name, _, value in (each.partition(b"=") for each in extensions)
            if name.strip() == b"chunk-signature"
        ]
        if len(signatures) > 1:
            raise _malformed("a chunk must have one chunk-signature")
        self._chunk_signature = b"".join(signatures).decode("latin-1")
        if self._previous is not None and len(self._chunk_signature) != SIGNATURE_SIZE:
            raise _malformed("a chunk must have a chunk-signature of 64 hex digits")
        self._decoded += length
        self._left = length
        if length:
            self._state = State.DATA
            return
        self._check_chunk()
        self._state = State.TRAILER

    def _handle_data_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise _malformed("a chunk must be followed by CR LF")
        self._check_chunk()
        self._state = State.SIZE

    def _check_chunk(self) -> None:
        if self._previous is None:
            return
        digest = self._chunk_hash.hexdigest()
        self._previous = self._previous.check_chunk(digest, self._chunk_signature)
        self._chunk_hash = hashlib.sha256()

    def _handle_trailer(self, line: bytes) -> None:
        # The AWS documentation ends trailers with LF, the SDKs with CR LF.
        line = line.rstrip(b"\r\n")
        if not line:
            self._state = State.DONE
            return
        if not self._payload.trailer:
            raise _malformed("it has trailers, which its x-amz-content-sha256 does not allow")
        name, colon, value = line.partition(b":")
        key = name.strip().decode("latin-1").lower()
        text = value.strip().decode("latin-1")
        if not colon or not key:
            raise malformed_trailer("a trailer must have the form name:value")
        if key == SIGNATURE_TRAILER and self._trailer_signature is None:
            self._trailer_signature = text
        elif key in self.trailers or key not in self._payload.announced:
            raise malformed_trailer(f"{key} is duplicate, or not announced in x-amz-trailer")
        else:
            self.trailers[key] = text

    def _handle_rest(self, line: bytes) -> None:
        """Handle a line after the end: the signature of the trailers, or one empty line."""
        if line.startswith(SIGNATURE_TRAILER.encode()) and self._trailer_signature is None:
            # The AWS documentation has an empty line between the trailers and their signature.
            self._state = State.TRAILER
            self._handle_trailer(line)
        elif line != b"\r\n" or self._ended:
            raise _malformed("bytes follow its end")
        self._ended = True


def _without_crlf(line: bytes) -> bytes:
    if not line.endswith(b"\r\n"):
        raise _malformed("a line must end with CR LF")
    return line[:-2]


def _malformed(reason: str) -> S3Error:
    return S3Error(
        "IncompleteBody",
        f"The request body terminated unexpectedly: the aws-chunked body is malformed, {reason}.",
    )


def malformed_trailer(reason: str) -> S3Error:
    """Return MalformedTrailerError with the message of S3 and the *reason*."""
    message = CATALOGUE["MalformedTrailerError"][1].removesuffix(".")
    return S3Error("MalformedTrailerError", f"{message}: {reason}.")
