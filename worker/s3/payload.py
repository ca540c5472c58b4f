"""The body of a request: length, framing, and the digests that verify it."""

import base64
import binascii
import hashlib
from collections.abc import Mapping

import attrs

from worker.model import Checksum, Upload
from worker.s3.checksums import (
    ALGORITHMS,
    BY_HEADER,
    COMPOSITE,
    DEFAULT_ALGORITHM,
    PREFIX,
    Algorithm,
    RunningDigest,
    algorithm_named,
    decode,
    encode,
    only,
    sent_checksum,
)
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import Request

UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_UPLOAD = 5 * 1024**3
"""Bytes of a single upload: of PutObject, a part, or a form. Larger objects are multipart."""


@attrs.frozen
class Framing:
    """The meaning of a ``STREAMING-…`` value of x-amz-content-sha256."""

    signed: bool
    trailer: bool


FRAMINGS: Mapping[str, Framing] = {
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": Framing(signed=False, trailer=True),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": Framing(signed=True, trailer=False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": Framing(signed=True, trailer=True),
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD": Framing(signed=True, trailer=False),
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER": Framing(signed=True, trailer=True),
}

_HEX = frozenset("0123456789abcdefABCDEF")
_OF_NOTHING = hashlib.sha256(b"").digest()


@attrs.frozen
class Payload:
    """The length and encoding of a body, as the headers declare them."""

    length: int | None
    """Bytes of the decoded content; None if no header declares it."""
    framed: bool = False
    """Whether the body is aws-chunked, and must be decoded by a ChunkedDecoder."""
    signed: bool = False
    """Whether each chunk has a signature."""
    trailer: bool = False
    """Whether trailers may follow the last chunk."""
    announced: tuple[str, ...] = ()
    """The names in x-amz-trailer, in lower case."""
    sha256: bytes | None = None
    """The digest in x-amz-content-sha256."""


def parse_payload(request: Request, *, streaming_allowed: bool = True) -> Payload:
    """Parse the headers of a body; raises S3Error if they are invalid or contradictory.

    *streaming_allowed* tells whether the operation accepts ``STREAMING-…``; PutObject and
    UploadPart do. x-amz-content-sha256 selects the framing, since some clients send framed bodies
    without ``Content-Encoding``.
    """
    headers = request.headers
    length = _length("Content-Length", headers.get("content-length"))
    if length is not None and length > MAX_UPLOAD:
        raise too_large(length)
    mode = headers.get("x-amz-content-sha256", "")
    if not mode:
        # The AWS SDK for JavaScript sends it as a query parameter of a presigned URL.
        mode = request.params.get("X-Amz-Content-Sha256", UNSIGNED)
    framing = payload_mode(mode)
    if framing is None and streaming_allowed and _is_framed(request):
        framing = FRAMINGS["STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
    if framing is None:
        return Payload(length)
    if isinstance(framing, bytes):
        return Payload(length, sha256=framing)
    if not streaming_allowed:
        raise _no_streaming(mode)
    decoded = _number(headers.get("x-amz-decoded-content-length", ""))
    if decoded is None:
        raise S3Error(
            "MissingContentLength",
            "You must provide the Content-Length HTTP header, and for this x-amz-content-sha256 "
            "x-amz-decoded-content-length, a number of bytes.",
        )
    if decoded > MAX_UPLOAD:
        raise too_large(decoded)
    return Payload(
        decoded,
        framed=True,
        signed=framing.signed,
        trailer=framing.trailer,
        announced=_announced(headers.get("x-amz-trailer"), framing),
    )


def _is_framed(request: Request) -> bool:
    """Whether a body is aws-chunked although its x-amz-content-sha256 does not say so.

    Versions of the AWS SDK for Java send such bodies. Their framing must not become part of the
    object.
    """
    codings = request.headers.get("content-encoding", "").lower().split(",")
    decoded = "x-amz-decoded-content-length" in request.headers
    return decoded and "aws-chunked" in (each.strip() for each in codings)


def require_digest(request: Request) -> None:
    """Reject a request without a digest of its body; raises InvalidRequest."""
    if sent_checksum(request) is None and "content-md5" not in request.headers:
        raise S3Error(
            "InvalidRequest",
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        )


def require_length(request: Request) -> None:
    """Reject an upload whose end is not declared; raises MissingContentLength.

    Unlike S3, one with ``Transfer-Encoding: chunked`` is accepted.
    """
    if "content-length" not in request.headers and "transfer-encoding" not in request.headers:
        raise S3Error("MissingContentLength")


def reject_body(request: Request) -> None:
    """Reject the body of a request that must not have one; raises InvalidRequest."""
    if has_body(request):
        raise S3Error(
            "InvalidRequest",
            "The request included a body. Requests of this type must not include a non-empty body.",
        )


def _length(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    # Repeated equal lengths are one length (RFC 9110, 8.6).
    first, *others = (each.strip() for each in value.split(","))
    number = _number(first)
    if number is None or any(other != first for other in others):
        raise S3Error(
            "BadRequest",
            f"{name} must be a number of bytes without a sign; found {value[:40]!r}.",
        )
    return number


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 20 else None


def payload_mode(value: str) -> Framing | bytes | None:
    """Return the meaning of a value of x-amz-content-sha256; raises InvalidArgument.

    It is a framing, or the digest of the body, or None for a body that is not signed.
    """
    if value == UNSIGNED:
        return None
    if value in FRAMINGS:
        return FRAMINGS[value]
    if len(value) != 64 or not _HEX.issuperset(value):
        raise invalid_argument(
            "x-amz-content-sha256",
            value,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
            + ", ".join(FRAMINGS)
            + " or a valid sha256 value.",
        )
    return bytes.fromhex(value)


def _no_streaming(mode: str) -> S3Error:
    return S3Error(
        "InvalidRequest",
        f"The value of x-amz-content-sha256 header is invalid: {mode} is valid for PutObject and "
        "UploadPart only; send the digest of the body.",
    )


def check_payload_mode(request: Request, *, streaming_allowed: bool) -> None:
    """Reject an x-amz-content-sha256 that does not fit a request before its body is read.

    Raises InvalidRequest for a framing where there is none, and XAmzContentSHA256Mismatch if the
    request has no body and the digest of something else.
    """
    mode = request.headers.get("x-amz-content-sha256")
    if not mode:
        return
    found = payload_mode(mode)
    if isinstance(found, Framing):
        if not streaming_allowed:
            raise _no_streaming(mode)
    elif found not in (None, _OF_NOTHING) and not has_body(request):
        raise _sha256_mismatch(found or b"", _OF_NOTHING)


def has_body(request: Request) -> bool:
    """Whether the headers declare a body that is not empty."""
    return "transfer-encoding" in request.headers or bool(
        _length("Content-Length", request.headers.get("content-length"))
    )


def _sha256_mismatch(sent: bytes, found: bytes) -> S3Error:
    return S3Error(
        "XAmzContentSHA256Mismatch",
        ClientComputedContentSHA256=sent.hex(),
        S3ComputedContentSHA256=found.hex(),
    )


def _announced(value: str | None, framing: Framing) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in (value or "").split(",") if name.strip())
    if not framing.trailer:
        return ()
    for name in names:
        if name not in BY_HEADER:
            raise S3Error(
                "InvalidRequest",
                "The value specified in the x-amz-trailer header is not supported",
                Trailer=name,
            )
    only([BY_HEADER[name] for name in names])
    return names


def too_large(size: int) -> S3Error:
    """Return EntityTooLarge for an upload of *size* bytes or more."""
    return S3Error("EntityTooLarge", ProposedSize=size, MaxSizeAllowed=MAX_UPLOAD)


class Digests:
    """Running digests of one body: MD5 (the ETag), SHA-256 (for the store), and a checksum.

    ``update`` feeds all of them. ``update_md5`` and ``update_others`` each do half of that work,
    for two threads; each must be called with every piece once and in order. Hashing runs without
    the GIL. Call ``verify`` after the last byte; then the values may be stored.
    """

    def __init__(
        self,
        *,
        content_md5: bytes | None = None,
        content_sha256: bytes | None = None,
        expected: Mapping[str, bytes] | None = None,
        announced: tuple[str, ...] = (),
        algorithm: str = DEFAULT_ALGORITHM,
        upload: Upload | None = None,
    ) -> None:
        self.size = 0
        self._upload = upload
        self._content_md5 = content_md5
        self._content_sha256 = content_sha256
        self._expected = dict(expected or {})
        self._announced = tuple(BY_HEADER[name] for name in announced)
        self._algorithm = ALGORITHMS[algorithm]
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        # The digests besides the MD5, which is computed in any case.
        self._running: dict[str, RunningDigest] = {"SHA256": self._sha256}
        for name in (algorithm, *self._expected, *(each.name for each in self._announced)):
            if name not in self._running and name != "MD5":
                self._running[name] = ALGORITHMS[name].new()

    @classmethod
    def of_request(
        cls, request: Request, payload: Payload, *, upload: Upload | None = None
    ) -> "Digests":
        """Return the digests that a request requires; raises S3Error for invalid headers.

        *upload* is the multipart upload of a part.
        """
        headers = request.headers
        # The checksum of CompleteMultipartUpload is that of the object, not of the request body.
        completes = request.method == "POST" and "uploadId" in request.params
        sent = None if completes else sent_checksum(request)
        announced = [BY_HEADER[name] for name in payload.announced]
        used = only([sent[0], *announced] if sent else announced)
        if not completes:
            _check_algorithm_header(headers.get("x-amz-sdk-checksum-algorithm"), used)
        algorithm = None if upload is None else upload.algorithm
        if upload is not None and algorithm is not None:
            # The value of a part of a composite checksum is listed in the completion, so that its
            # client must have computed it.
            actual = used.name if used else "null" if upload.checksum_type == COMPOSITE else None
            if actual not in (None, algorithm):
                raise _type_mismatch(algorithm, str(actual))
        if algorithm is None:
            # The parts of an upload without an algorithm are stored with the default one, so that
            # the CRC of the object can be combined from theirs.
            algorithm = used.name if used and upload is None else DEFAULT_ALGORITHM
        return cls(
            content_md5=_content_md5(headers.get("content-md5")),
            content_sha256=payload.sha256,
            expected={sent[0].name: decode(*sent)} if sent else None,
            announced=payload.announced,
            algorithm=algorithm,
            upload=upload,
        )

    def update(self, data: bytes | memoryview) -> None:
        """Add the next piece of the body to all digests."""
        self._md5.update(data)
        for running in self._running.values():
            running.update(data)
        self.size += len(data)

    def update_md5(self, data: bytes | memoryview) -> None:
        """Add the next piece to the MD5 only."""
        self._md5.update(data)

    def update_others(self, data: bytes | memoryview) -> None:
        """Add the next piece to all digests except the MD5."""
        for running in self._running.values():
            running.update(data)
        self.size += len(data)

    def verify(self, trailers: Mapping[str, str] | None = None) -> None:
        """Compare the digests with those in the headers and in *trailers*.

        Raises XAmzContentSHA256Mismatch, BadDigest, InvalidRequest or MalformedTrailerError.
        """
        if self._content_sha256 not in (None, self.sha256):
            raise _sha256_mismatch(self._content_sha256 or b"", self.sha256)
        if self._content_md5 is not None and self._content_md5 != self._md5.digest():
            # S3 writes the digest that was sent in hex, but that of a part in Base64.
            sent = self._content_md5
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=sent.hex() if self._upload is None else encode(sent),
                CalculatedDigest=encode(self._md5.digest()),
            )
        for name, digest in self._expected.items():
            self._compare(ALGORITHMS[name], digest)
        for announced in self._announced:
            value = (trailers or {}).get(announced.header)
            if value is None:
                raise S3Error("MalformedTrailerError")
            self._compare(announced, decode(announced, value, place="trailing header"))

    def _compare(self, algorithm: Algorithm, digest: bytes) -> None:
        if digest != self._digest(algorithm.name):
            raise S3Error(
                "BadDigest",
                f"The {algorithm.name} you specified did not match the calculated checksum.",
            )

    @property
    def etag(self) -> str:
        """The MD5, in hex."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> bytes:
        """The SHA-256, 32 bytes."""
        return self._sha256.digest()

    @property
    def checksum(self) -> Checksum:
        """The checksum to store, in the algorithm of the upload or else of the client.

        CRC64NVME if neither has one, and for each part of an upload without an algorithm.
        """
        name = self._algorithm.name
        return Checksum(name, encode(self._digest(name)))

    @property
    def response_checksum(self) -> Checksum | None:
        """The checksum of the response: in the client's algorithm, or else the stored one.

        As in S3, the part of an upload without an algorithm has only the one that its client sent.
        """
        used = [*self._expected, *(each.name for each in self._announced)]
        if not used and self._upload is not None and self._upload.algorithm is None:
            return None
        name = used[0] if used else self._algorithm.name
        return Checksum(name, encode(self._digest(name)))

    def _digest(self, algorithm: str) -> bytes:
        return (self._md5 if algorithm == "MD5" else self._running[algorithm]).digest()


def _type_mismatch(expected: str, actual: str) -> S3Error:
    return S3Error(
        "InvalidRequest",
        f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, "
        f"actual checksum Type: {actual.lower()}",
    )


def _check_algorithm_header(value: str | None, used: Algorithm | None) -> None:
    if not value:
        return
    algorithm = algorithm_named(value)
    if used is None:
        raise S3Error(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding "
            f"{PREFIX}* or x-amz-trailer headers were found.",
        )
    if used.name != algorithm:
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _content_md5(value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest", fields={"Content-MD5": value})
    return digest
