"""Object metadata in request headers: system headers, user metadata, tags."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

import attrs

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import Request

MAX_TAGS = 10
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256

# Letters, digits and spaces of any script, and + - = . _ : / @; but no control characters, of
# which some count as spaces here, and none could be given back in XML.
_TAG = re.compile(r"(?:[\w+\-=.:/@]|[^\S\x00-\x1f\x7f-\x9f])*")


def parse_tagging_header(value: str) -> dict[str, str]:
    """Return the tags of an x-amz-tagging header: ``a=1&b=2``, percent-encoded."""
    try:
        pairs = parse_qsl(
            value.encode("latin-1").decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=100,
        )
    except ValueError:
        pairs = None
    if pairs is None or len({key for key, _ in pairs}) != len(pairs):
        raise invalid_argument(
            "x-amz-tagging",
            value,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates.",
        )
    return check_tags(pairs)


def check_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tags, at most ten and each once; raises InvalidTag or BadRequest."""
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not key or len(key) > MAX_TAG_KEY or not _TAG.fullmatch(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > MAX_TAG_VALUE or not _TAG.fullmatch(value):
            raise S3Error(
                "InvalidTag",
                "The TagValue you have provided is invalid",
                TagKey=key,
                TagValue=value,
            )
        if key in tags:
            raise S3Error(
                "InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key
            )
        tags[key] = value
    if len(tags) > MAX_TAGS:
        raise S3Error("BadRequest", "Object tags cannot be greater than 10")
    return tags


DEFAULT_CONTENT_TYPE = "binary/octet-stream"
MAX_METADATA = 2048
META = "x-amz-meta-"

STORED_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
)

STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "OUTPOSTS",
        "GLACIER_IR",
        "SNOW",
        "EXPRESS_ONEZONE",
        "FSX_OPENZFS",
        "FSX_ONTAP",
    }
)

_SSE = "x-amz-server-side-encryption"
_NO_ENCRYPTION = (
    "A header you provided implies functionality that is not implemented: objects are not "
    "encrypted with keys of their own here."
)
_NO_LOCK = "Bucket is missing Object Lock Configuration"

# Headers that would change what an object is. To let them pass unheeded would be a lie, so they
# are refused; x-amz-acl, the storage class and encryption "AES256" change nothing a job can see.
REFUSED_HEADERS: Mapping[str, tuple[str, str]] = {
    f"{_SSE}-customer-algorithm": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-customer-key": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-aws-kms-key-id": ("NotImplemented", _NO_ENCRYPTION),
    f"x-amz-copy-source-{_SSE[6:]}-customer-algorithm": ("NotImplemented", _NO_ENCRYPTION),
    "x-amz-object-lock-mode": ("InvalidRequest", _NO_LOCK),
    "x-amz-object-lock-retain-until-date": ("InvalidRequest", _NO_LOCK),
    "x-amz-object-lock-legal-hold": ("InvalidRequest", _NO_LOCK),
}


@attrs.frozen
class ObjectMetadata:
    """What is stored with an object besides its bytes.

    Values are header text, one character a byte (Latin-1), so that they are given back exactly as
    they came, be they UTF-8, RFC 2047 or anything else. Tags are plain text.
    """

    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]


def object_metadata(request: Request) -> ObjectMetadata:
    """Return what PutObject, CreateMultipartUpload or a copy with REPLACE says of the object."""
    refuse_unsupported(request)
    tags = request.headers.get("x-amz-tagging")
    return ObjectMetadata(
        stored_headers(request),
        user_metadata(request),
        {} if not tags else parse_tagging_header(tags),
    )


def refuse_unsupported(request: Request) -> None:
    """Refuse headers of a write that ask for what is not done here."""
    headers = request.headers
    for name, (code, message) in REFUSED_HEADERS.items():
        if name in headers:
            raise S3Error(code, message, Header=name)
    encryption = headers.get(_SSE)
    if encryption is not None and encryption != "AES256":
        if encryption.startswith("aws:"):
            raise S3Error("NotImplemented", _NO_ENCRYPTION, Header=_SSE)
        raise invalid_argument(_SSE, encryption, "The encryption method specified is not supported")
    storage_class = headers.get("x-amz-storage-class")
    if storage_class is not None and storage_class not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class)


def stored_headers(request: Request) -> dict[str, str]:
    """Return the headers that come back with the object, by lower-case name.

    ``aws-chunked`` is the framing of the request and no encoding of the object.
    """
    sent = request.headers
    found = {name: sent[name] for name in STORED_HEADERS if sent.get(name)}
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
    """Return the x-amz-meta-… headers without that prefix; raises MetadataTooLarge."""
    found = {
        name[len(META) :]: value
        for name, value in request.headers.items()
        if name.startswith(META) and len(name) > len(META)
    }
    size = sum(len(name) + len(value) for name, value in found.items())
    if size > MAX_METADATA:
        raise S3Error("MetadataTooLarge", Size=size, MaxSizeAllowed=MAX_METADATA)
    return found
