"""The headers that describe the body of a request: its length, framing and digests."""

import hashlib
from collections.abc import Mapping

import attrs

from worker.s3.checksums import BY_HEADER, only, sent_checksum
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import Request
from worker.text import parse_integer

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
    # The AWS SDK for JavaScript sends it as a query parameter of a presigned URL.
    mode = headers.get("x-amz-content-sha256") or UNSIGNED
    framing = payload_mode(mode)
    if framing is None and streaming_allowed and _is_framed(request):
        framing = FRAMINGS["STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
    if framing is None:
        return Payload(length)
    if isinstance(framing, bytes):
        return Payload(length, sha256=framing)
    if not streaming_allowed:
        raise _no_streaming(mode)
    decoded = parse_integer(headers.get("x-amz-decoded-content-length", ""))
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
    number = parse_integer(first)
    if number is None or any(other != first for other in others):
        raise S3Error(
            "BadRequest",
            f"{name} must be a number of bytes without a sign; found {value[:40]!r}.",
        )
    return number


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
        raise sha256_mismatch(found or b"", _OF_NOTHING)


def has_body(request: Request) -> bool:
    """Whether the headers declare a body that is not empty."""
    return "transfer-encoding" in request.headers or bool(
        _length("Content-Length", request.headers.get("content-length"))
    )


def sha256_mismatch(sent: bytes, found: bytes) -> S3Error:
    """Return the error of a body with the digest *found* instead of the one *sent*."""
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
