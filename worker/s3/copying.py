"""Copies: the source of a copy, and the metadata of its target."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import attrs

from worker.model import MAX_KEY, Checksum, Entry
from worker.s3.checksums import ALGORITHMS, COMPOSITE, algorithm_named, combine
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.metadata import ObjectMetadata, stored_headers, user_metadata
from worker.s3.reads import Span
from worker.s3.request import Request, check_climb
from worker.s3.routing import COPY_SOURCE
from worker.s3.tags import parse_tagging_header
from worker.s3.unsupported_headers import check_supported

_RANGE = re.compile(r"bytes=([0-9]{1,20})-([0-9]{1,20})", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9._\-]{1,255}", re.ASCII)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})", re.ASCII)
_REDIRECT = "x-amz-website-redirect-location"
COPY, REPLACE = "COPY", "REPLACE"


@attrs.frozen
class CopySource:
    """The object that a copy reads."""

    bucket: str
    key: str


def copy_source(request: Request) -> CopySource:
    """Parse x-amz-copy-source; raises InvalidArgument, InvalidRequest and KeyTooLongError.

    The value may start with a slash. It is percent-encoded, and ``+`` is a space. The version is
    removed before the rest is decoded.
    """
    value = request.headers.get(COPY_SOURCE, "")
    name, has_version, version = value.partition("?versionId=")
    if has_version and version != "null":
        raise _invalid_version(request, version)
    if _BROKEN_ESCAPE.search(name):
        raise _invalid("encoding")
    try:
        path = unquote_to_bytes(name.replace("+", " ").encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise _invalid("encoding") from None
    bucket, _, key = path.removeprefix("/").partition("/")
    if bucket.startswith("arn:"):
        raise invalid_argument(
            COPY_SOURCE,
            value,
            "The source must be in a bucket of this job; access points are not supported.",
        )
    if not _BUCKET.fullmatch(bucket):
        raise _invalid("bucket name")
    if not key or "\x00" in key:
        raise _invalid("object key")
    check_climb(key, value)
    if len(key.encode()) > MAX_KEY:
        raise S3Error("KeyTooLongError", Size=len(key.encode()), MaxSizeAllowed=MAX_KEY)
    return CopySource(bucket, key)


def _invalid_version(request: Request, version: str) -> S3Error:
    """Return the error for a version other than ``null``, in the words of S3."""
    if not version:
        return invalid_argument(COPY_SOURCE, version, "Version id cannot be the empty string")
    if "uploadId" not in request.params:
        return S3Error("InvalidRequest")
    return invalid_argument(COPY_SOURCE, version, "Invalid version id specified")


def _invalid(part: str) -> S3Error:
    # The value of the argument is its name, as in S3.
    return invalid_argument(COPY_SOURCE, COPY_SOURCE, f"Invalid copy source {part}")


def copied_metadata(
    request: Request, source: CopySource, entry: Entry
) -> tuple[ObjectMetadata, str | None]:
    """Return the metadata of a copy of *entry*, and the checksum algorithm that it requests.

    The metadata is chosen by the two directives. Raises InvalidRequest for a copy onto itself that
    changes nothing.
    """
    check_supported(request)
    metadata_directive = _directive(request, "metadata")
    tagging_directive = _directive(request, "tagging")
    if (
        (source.bucket, source.key) == (request.bucket, request.key)
        and metadata_directive == COPY
        and "x-amz-storage-class" not in request.headers
        and _REDIRECT not in request.headers
        and "x-amz-server-side-encryption" not in request.headers
    ):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )
    if metadata_directive == REPLACE:
        headers = stored_headers(request)
        metadata: Mapping[str, str] = user_metadata(request)
    else:
        # The redirect location is that of one object: it is set by the request, and never copied.
        headers = {name: value for name, value in entry.headers.items() if name != _REDIRECT}
        sent = stored_headers(request) if _REDIRECT in request.headers else {}
        if _REDIRECT in sent:
            headers[_REDIRECT] = sent[_REDIRECT]
        metadata = entry.metadata
    tags = entry.tags
    if tagging_directive == REPLACE:
        tags = parse_tagging_header(request.headers.get("x-amz-tagging", ""))
    algorithm = request.headers.get("x-amz-checksum-algorithm")
    chosen = None if algorithm is None else algorithm_named(algorithm)
    return ObjectMetadata(headers, metadata, tags), chosen


def derived_checksum(entry: Entry, algorithm: str | None) -> Checksum | None:
    """Return the checksum of a copy of *entry*, as far as no payload has to be read for it.

    *algorithm* is the one that the request asks for; the copy then has a checksum of the full
    object, or None is returned and it must be computed. Without one, the copy has the algorithm of
    its source. The CRC of a full object is combined from those of its parts. A composite SHA
    cannot be derived, and stays as it is.
    """
    stored = entry.checksum
    if stored is None or (algorithm is not None and algorithm != stored.algorithm):
        return None
    if stored.type != COMPOSITE:
        return stored
    parts = [(part.checksum.value, part.size) for part in entry.parts if part.checksum is not None]
    if ALGORITHMS[stored.algorithm].combine is not None and len(parts) == len(entry.parts) > 0:
        return combine(stored.algorithm, parts)
    return None if algorithm is not None else stored


def _directive(request: Request, kind: str) -> str:
    name = f"x-amz-{kind}-directive"
    value = request.headers.get(name, COPY)
    if value.upper() not in (COPY, REPLACE):
        raise invalid_argument(name, value, f"Unknown {kind} directive.")
    return value.upper()


def copy_source_range(header: str | None, size: int) -> Span:
    """Return the span of x-amz-copy-source-range; without one, that of the whole source.

    Raises InvalidArgument unless it has the form ``bytes=first-last`` and ends within the source,
    and InvalidRequest if it starts beyond its end.
    """
    if header is None:
        return Span(0, size)
    match = _RANGE.fullmatch(header)
    if match is None or int(match.group(2)) < int(match.group(1)):
        raise invalid_argument(
            "x-amz-copy-source-range",
            header,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
        )
    first, last = int(match.group(1)), int(match.group(2))
    if first >= size:
        raise S3Error(
            "InvalidRequest", "The specified copy range is invalid for the source object size"
        )
    if last >= size:
        raise invalid_argument(
            "x-amz-copy-source-range",
            header,
            f"Range specified is not valid for source object of size: {size}",
        )
    return Span(first, last + 1)
