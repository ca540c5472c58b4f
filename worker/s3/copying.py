"""Copies: the source of a copy, and the metadata of its target."""

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import attrs

from worker.model import Entry
from worker.s3.checksums import algorithm_named
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.metadata import (
    ObjectMetadata,
    check_supported,
    parse_tagging_header,
    stored_headers,
    user_metadata,
)
from worker.s3.request import MAX_KEY, Request

HEADER = "x-amz-copy-source"
COPY, REPLACE = "COPY", "REPLACE"


@attrs.frozen
class CopySource:
    """The object that a copy reads."""

    bucket: str
    key: str


def copy_source(request: Request) -> CopySource:
    """Parse x-amz-copy-source; raises InvalidArgument and KeyTooLongError.

    The value may start with a slash. It is percent-encoded, and ``+`` is a space. The version is
    removed before the rest is decoded.
    """
    value = request.headers.get(HEADER, "")
    name, _, version = value.partition("?versionId=")
    if version not in ("", "null"):
        raise invalid_argument("versionId", version, "Invalid version id specified")
    try:
        path = unquote_to_bytes(name.replace("+", " ").encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise invalid_argument(HEADER, value, "Invalid copy source encoding") from None
    bucket, _, key = path.removeprefix("/").partition("/")
    if bucket.startswith("arn:"):
        raise invalid_argument(
            HEADER,
            value,
            "The source must be in a bucket of this job; access points are not supported.",
        )
    if not bucket or not key or "\x00" in key:
        raise invalid_argument(
            HEADER,
            value,
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )
    if len(key.encode()) > MAX_KEY:
        raise S3Error("KeyTooLongError", Size=len(key.encode()), MaxSizeAllowed=MAX_KEY)
    return CopySource(bucket, key)


def copied_metadata(
    request: Request, source: CopySource, entry: Entry
) -> tuple[ObjectMetadata, str | None]:
    """Return the metadata of a copy of *entry*, and the checksum algorithm that it requires.

    The metadata is chosen by the two directives; without an algorithm, the copy has the checksum of
    its source. Raises InvalidRequest for a copy onto itself that changes nothing.
    """
    check_supported(request)
    metadata_directive = _directive(request, "metadata")
    tagging_directive = _directive(request, "tagging")
    if (
        (source.bucket, source.key) == (request.bucket, request.key)
        and metadata_directive == COPY
        and "x-amz-storage-class" not in request.headers
        and "x-amz-website-redirect-location" not in request.headers
        and "x-amz-server-side-encryption" not in request.headers
    ):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )
    if metadata_directive == REPLACE:
        headers: Mapping[str, str] = stored_headers(request)
        metadata: Mapping[str, str] = user_metadata(request)
    else:
        headers, metadata = entry.headers, entry.metadata
    tags = entry.tags
    if tagging_directive == REPLACE:
        tags = parse_tagging_header(request.headers.get("x-amz-tagging", ""))
    algorithm = request.headers.get("x-amz-checksum-algorithm")
    chosen = None if algorithm is None else algorithm_named(algorithm)
    return ObjectMetadata(headers, metadata, tags), chosen


def _directive(request: Request, kind: str) -> str:
    name = f"x-amz-{kind}-directive"
    value = request.headers.get(name, COPY)
    if value.upper() not in (COPY, REPLACE):
        raise invalid_argument(name, value, f"Unknown {kind} directive.")
    return value.upper()
