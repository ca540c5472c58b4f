"""How the body of a request is sent: its length, its framing and what is promised of it."""

from collections.abc import Mapping

import attrs

from worker.s3.errors import S3Error, invalid_argument
from worker.s3.request import Request

UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_OBJECT = 5 * 1024**4
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@attrs.frozen
class Framing:
    """What a STREAMING-… mode of x-amz-content-sha256 means."""

    signed: bool
    trailer: bool


FRAMINGS: Mapping[str, Framing] = {
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": Framing(signed=False, trailer=True),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": Framing(signed=True, trailer=False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": Framing(signed=True, trailer=True),
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD": Framing(signed=True, trailer=False),
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER": Framing(signed=True, trailer=True),
}

TRAILERS = frozenset(
    f"x-amz-checksum-{name}" for name in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
)

_HEX = frozenset("0123456789abcdefABCDEF")


@attrs.frozen
class Payload:
    """What the headers say of a body before a byte of it is read."""

    mode: str
    """x-amz-content-sha256 as sent; UNSIGNED-PAYLOAD when it was not."""
    length: int | None
    """Bytes of the content, decoded when framed; None when the request does not say."""
    framed: bool = False
    """Whether the body is aws-chunked, and so must go through a ChunkedDecoder."""
    signed: bool = False
    """Whether each chunk carries a signature."""
    trailer: bool = False
    """Whether trailers may stand behind the last chunk."""
    announced: tuple[str, ...] = ()
    """The trailers of x-amz-trailer, in lower case."""
    sha256: bytes | None = None
    """The digest that x-amz-content-sha256 promises."""


def payload(request: Request, *, streaming_allowed: bool = True) -> Payload:
    """Return how the body comes; raises S3Error for headers that cannot be or contradict.

    *streaming_allowed* is whether the operation takes STREAMING-…; PutObject and UploadPart do.
    What counts is x-amz-content-sha256; some clients frame without ``Content-Encoding``.
    """
    headers = request.headers
    length = _length("Content-Length", headers.get("content-length"))
    if length is not None and length > MAX_OBJECT:
        raise _too_large(length)
    mode = headers.get("x-amz-content-sha256", "")
    if not mode:
        # A presigned request may carry it in its query (AWS SDK for JavaScript).
        mode = request.params.get("X-Amz-Content-Sha256", UNSIGNED)
    if mode == UNSIGNED:
        return Payload(UNSIGNED, length)
    framing = FRAMINGS.get(mode)
    if framing is None:
        return Payload(mode, length, sha256=_digest(mode))
    if not streaming_allowed:
        raise S3Error(
            "InvalidRequest",
            f"{mode} is for PutObject and UploadPart; send the digest of the body here.",
        )
    decoded = _length("x-amz-decoded-content-length", headers.get("x-amz-decoded-content-length"))
    if decoded is None:
        raise S3Error(
            "MissingContentLength",
            "You must provide the x-amz-decoded-content-length HTTP header.",
        )
    if decoded > MAX_OBJECT:
        raise _too_large(decoded)
    return Payload(
        mode,
        decoded,
        framed=True,
        signed=framing.signed,
        trailer=framing.trailer,
        announced=_announced(headers.get("x-amz-trailer"), framing),
    )


def _length(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    # A length that was sent twice and agrees is one length (RFC 9110, 8.6).
    first, *others = (each.strip() for each in value.split(","))
    if any(other != first for other in others) or not (
        first.isascii() and first.isdigit() and len(first) <= 20
    ):
        raise S3Error(
            "BadRequest",
            f"{name} must be a number of bytes, without sign; found {value[:40]!r}.",
        )
    return int(first)


def _digest(mode: str) -> bytes:
    if len(mode) != 64 or not _HEX.issuperset(mode):
        raise invalid_argument(
            "x-amz-content-sha256",
            mode,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
            + ", ".join(FRAMINGS)
            + " or a valid sha256 value.",
        )
    return bytes.fromhex(mode)


def _announced(value: str | None, framing: Framing) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in (value or "").split(",") if name.strip())
    if not framing.trailer:
        return ()
    for name in names:
        if name not in TRAILERS:
            raise S3Error(
                "InvalidRequest",
                "The value specified in the x-amz-trailer header is not supported",
                Trailer=name,
            )
    if len(names) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return names


def _too_large(length: int) -> S3Error:
    return S3Error("EntityTooLarge", ProposedSize=length, MaxSizeAllowed=MAX_OBJECT)
