"""Object metadata in request headers: system headers and user metadata."""

from collections.abc import Mapping

import attrs

from worker.model import STORED_HEADERS
from worker.s3 import header_text
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import Request
from worker.s3.tags import parse_tagging_header
from worker.s3.unsupported_headers import check_supported

DEFAULT_CONTENT_TYPE = "binary/octet-stream"
MAX_METADATA = 2048
META = "x-amz-meta-"

_REDIRECT = "x-amz-website-redirect-location"


@attrs.frozen
class ObjectMetadata:
    """The stored headers, user metadata and tags of an object.

    Header values are decoded as Latin-1, so that they are returned exactly as they were sent, in
    any encoding, as S3 does. User metadata and tags are Unicode text.
    """

    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]


def object_metadata(request: Request) -> ObjectMetadata:
    """Return the metadata in the headers of PutObject, CreateMultipartUpload or CopyObject."""
    check_supported(request)
    tags = request.headers.get("x-amz-tagging")
    return ObjectMetadata(
        stored_headers(request),
        user_metadata(request),
        {} if not tags else parse_tagging_header(tags),
    )


def stored_headers(request: Request) -> dict[str, str]:
    """Return the headers that are stored with an object, by lower-case name.

    Raises InvalidArgument, InvalidRedirectLocation, and MetadataTooLarge for more than 2 KB of
    names and values, apart from the redirect location (S3 User Guide, "Working with object
    metadata").

    ``aws-chunked`` is removed from Content-Encoding: it describes the request, not the object.
    """
    sent = request.headers
    found = {name: sent[name] for name in sorted(STORED_HEADERS) if sent.get(name)}
    for name, value in found.items():
        if header_text.has_control(value):
            raise invalid_argument(name, value, "Header value cannot have control characters.")
    redirect = found.get(_REDIRECT, "/")
    if not redirect.startswith(("/", "http://", "https://")):
        raise S3Error("InvalidRedirectLocation")
    check_metadata({name: value for name, value in found.items() if name != _REDIRECT})
    encoding = found.get("content-encoding")
    if encoding is not None and "aws-chunked" in encoding.lower():
        others = [
            each.strip()
            for each in encoding.split(",")
            if each.strip().lower() not in ("aws-chunked", "")
        ]
        if others:
            found["content-encoding"] = ",".join(others)
        else:
            del found["content-encoding"]
    found.setdefault("content-type", DEFAULT_CONTENT_TYPE)
    return found


def user_metadata(request: Request) -> dict[str, str]:
    """Return the text of the ``x-amz-meta-`` headers without this prefix.

    Raises MetadataTooLarge for more than 2 KB of names and values in UTF-8.
    """
    sent = {
        name[len(META) :]: value
        for name, value in request.headers.items()
        if name.startswith(META) and len(name) > len(META)
    }
    # An encoded word has at most three times the size of its text, and RFC 2047 some overhead.
    if sum(len(name) + len(value) for name, value in sent.items()) <= 4 * MAX_METADATA:
        sent = {name: header_text.decode(value) for name, value in sent.items()}
    check_metadata(sent)
    return sent


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Reject user or system metadata of more than 2 KB in UTF-8; raises MetadataTooLarge."""
    size = sum(len(name) + len(value.encode()) for name, value in metadata.items())
    if size > MAX_METADATA:
        raise S3Error("MetadataTooLarge", Size=size, MaxSizeAllowed=MAX_METADATA)
