"""Headers of a request by name, each bounded by its meaning before anything else reads it."""

from collections.abc import Iterable, Mapping

from worker.s3.error_codes import S3Error

MAX_HEADERS = 8192
"""Bytes of the names and values of all headers, as in S3."""
MAX_HOST = 255 + len(":65535")
"""Bytes of a host with its port (RFC 1035, 2.3.4)."""
_MAX_DATE = 128
_MAX_DIGEST = 128

# Bytes of a value. All others are bounded by the sum: keys, ETags, lists of names, and the metadata
# of an object, which has a limit of its own (`metadata`).
MAX_VALUE: Mapping[str, int] = {
    "host": MAX_HOST,
    "origin": len("https://") + MAX_HOST,
    "sec-fetch-site": 32,
    "authorization": 4096,
    "content-length": 32,
    "x-amz-decoded-content-length": 32,
    "content-md5": _MAX_DIGEST,
    "x-amz-content-sha256": _MAX_DIGEST,
    "date": _MAX_DATE,
    "x-amz-date": _MAX_DATE,
    "if-modified-since": _MAX_DATE,
    "if-unmodified-since": _MAX_DATE,
    "x-amz-copy-source-if-modified-since": _MAX_DATE,
    "x-amz-copy-source-if-unmodified-since": _MAX_DATE,
}
ONCE = frozenset(
    (
        "authorization",
        "content-md5",
        "content-type",
        "date",
        "host",
        "origin",
        "range",
        "sec-fetch-site",
        "x-amz-content-sha256",
        "x-amz-copy-source",
        "x-amz-copy-source-range",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-security-token",
    )
)
"""Headers that have one value; if there were two, another reader could use the other one."""


def headers_by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by lower-case name; those of the same name are joined with commas.

    Values are decoded as Latin-1. Raises RequestHeaderSectionTooLarge, and InvalidRequest for a
    header of `ONCE` that is sent twice.
    """
    sent = list(headers)
    if sum(len(name) + len(value) for name, value in sent) > MAX_HEADERS:
        raise headers_too_large()
    by_name: dict[str, str] = {}
    for raw_name, raw_value in sent:
        name = raw_name.decode("latin-1").lower()
        # Not all white space of Latin-1: characters of UTF-8 may end in such a byte.
        value = raw_value.strip(b" \t").decode("latin-1")
        if len(value) > MAX_VALUE.get(name, MAX_HEADERS):
            raise too_long(name, len(value))
        if name in by_name:
            if name in ONCE:
                raise S3Error(
                    "InvalidRequest", f"The request has several headers {name}; send one."
                )
            value = f"{by_name[name]},{value}"
        by_name[name] = value
    return by_name


def headers_too_large() -> S3Error:
    """Return the error for a request with more than 8 KiB of headers."""
    return S3Error("RequestHeaderSectionTooLarge", MaxSizeAllowed=MAX_HEADERS)


def too_long(name: str, size: int) -> S3Error:
    """Return the error for the header *name* with a value of *size* bytes."""
    limit = MAX_VALUE[name]
    return S3Error(
        "RequestHeaderSectionTooLarge",
        f"The header {name} has {size:,} bytes; it may have {limit}.",
        MaxSizeAllowed=limit,
    )
