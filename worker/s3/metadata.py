"""Object metadata in request headers: system headers, user metadata, tags."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import unquote_to_bytes

import attrs

from worker.s3 import header_text
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.grants import check_grants
from worker.s3.request import Request

MAX_TAGS = 10
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
MAX_PAIRS = 100
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# Letters, digits and spaces of any script, and + - = . _ : / @. Control characters, some of which
# \s matches, are excluded, since XML cannot represent them.
_TAG = re.compile(r"(?:[\w+\-=.:/@]|[^\S\x00-\x1f\x7f-\x9f])*")


def parse_tagging_header(value: str) -> dict[str, str]:
    """Parse the x-amz-tagging header, such as ``a=1&b=2``; raises S3Error."""
    pairs = []
    for pair in value.encode("latin-1").split(b"&", MAX_PAIRS):
        if not pair:
            continue
        key, separator, text = pair.partition(b"=")
        if (not key and separator) or b"=" in text or _BROKEN_ESCAPE.search(pair):
            raise _invalid_header(value)
        try:
            pairs.append((_decoded(key), _decoded(text)))
        except UnicodeDecodeError:
            raise _invalid_header(value) from None
    if len({key for key, _ in pairs}) != len(pairs):
        raise _invalid_header(value)
    return check_tags(pairs)


def _decoded(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode()


def _invalid_header(value: str) -> S3Error:
    return invalid_argument(
        "x-amz-tagging",
        value,
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
        "parameters without tag name duplicates.",
    )


def check_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return valid tags as a mapping; raises InvalidTag or BadRequest.

    At most ten, with distinct keys of at most 128 and values of at most 256 characters.
    """
    tags: dict[str, str] = {}
    for key, value in pairs:
        if key.startswith("aws:"):
            raise S3Error("InvalidTag", "Your TagKey cannot be prefixed with aws:", TagKey=key)
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
        "GLACIER_IR",
        "SNOW",
        "EXPRESS_ONEZONE",
        "FSX_OPENZFS",
        "FSX_ONTAP",
    }
)

_SSE = "x-amz-server-side-encryption"
_NO_ENCRYPTION = (
    "A header you provided implies functionality that is not implemented: this gateway does not "
    "encrypt objects with keys of their own."
)
NOT_ENCRYPTED = "The encryption parameters are not applicable to this object."

# Headers whose effect a client relies on are rejected, not ignored. x-amz-acl, the storage class
# and the encryption "AES256" have no effect that a job could observe.
REJECTED_HEADERS: Mapping[str, tuple[str, str]] = {
    f"{_SSE}-customer-algorithm": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-customer-key": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-customer-key-md5": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-aws-kms-key-id": ("NotImplemented", _NO_ENCRYPTION),
    f"{_SSE}-context": ("NotImplemented", _NO_ENCRYPTION),
    f"x-amz-copy-source-{_SSE[6:]}-customer-algorithm": ("InvalidRequest", NOT_ENCRYPTED),
}

_LOCK = "x-amz-object-lock-"
_LOCK_MODES = ("GOVERNANCE", "COMPLIANCE")
_HOLDS = ("ON", "OFF")


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


def check_supported(request: Request) -> None:
    """Reject headers of a write that require unsupported features; raises S3Error."""
    headers = request.headers
    for name, (code, message) in REJECTED_HEADERS.items():
        if name in headers:
            raise S3Error(code, message, Header=name)
    if any(name.startswith(_LOCK) for name in headers):
        raise _lock_error(request)
    encryption = headers.get(_SSE)
    if encryption is not None and encryption != "AES256":
        if encryption.startswith("aws:"):
            raise S3Error("NotImplemented", _NO_ENCRYPTION, Header=_SSE)
        raise invalid_argument(_SSE, encryption, "The encryption method specified is not supported")
    check_grants(headers)
    storage_class = headers.get("x-amz-storage-class")
    if storage_class is not None and storage_class not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class)


def _lock_error(request: Request) -> S3Error:
    """Return the error for headers of Object Lock, which no bucket has; invalid ones come first."""
    headers = request.headers
    mode, until = headers.get(f"{_LOCK}mode"), headers.get(f"{_LOCK}retain-until-date")
    hold = headers.get(f"{_LOCK}legal-hold")
    if (mode is None) != (until is None):
        missing = f"{_LOCK}mode" if mode is None else f"{_LOCK}retain-until-date"
        return invalid_argument(
            missing,
            None,
            f"{_LOCK}retain-until-date and {_LOCK}mode must both be supplied",
        )
    if mode is not None and mode not in _LOCK_MODES:
        return invalid_argument(f"{_LOCK}mode", mode, "Unknown wormMode directive.")
    if until is not None and not _is_iso(until):
        return invalid_argument(
            f"{_LOCK}retain-until-date",
            until,
            "The retain until date must be provided in ISO 8601 format",
        )
    if hold is not None and hold not in _HOLDS:
        return invalid_argument(
            f"{_LOCK}legal-hold", hold, "Legal Hold must be either of 'ON' or 'OFF'"
        )
    if request.method == "PUT" and not any(
        name in ("content-md5", "x-amz-trailer", "x-amz-copy-source")
        or name.startswith("x-amz-checksum-")
        for name in headers
    ):
        return S3Error(
            "InvalidRequest",
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with "
            "Object Lock parameters",
        )
    return S3Error("InvalidRequest", "Bucket is missing ObjectLockConfiguration")


def _is_iso(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def check_part_supported(request: Request) -> None:
    """Reject customer keys of a part, since no upload has one; raises InvalidRequest."""
    if any(name.startswith(f"{_SSE}-customer-") for name in request.headers):
        raise S3Error(
            "InvalidRequest",
            "The multipart upload initiate requested encryption. Subsequent part requests must "
            "include the appropriate encryption parameters.",
        )
    if any(name.startswith(f"x-amz-copy-source-{_SSE[6:]}-customer-") for name in request.headers):
        raise S3Error("InvalidRequest", NOT_ENCRYPTED)


def check_retention(request: Request) -> None:
    """Reject a delete that would bypass Object Lock, which no bucket has, whatever its value."""
    name = "x-amz-bypass-governance-retention"
    if name in request.headers:
        raise invalid_argument(
            name, None, f"{name} is only applicable to Object Lock enabled buckets."
        )


def stored_headers(request: Request) -> dict[str, str]:
    """Return the headers that are stored with an object, by lower-case name.

    ``aws-chunked`` is removed from Content-Encoding: it describes the request, not the object.
    """
    sent = request.headers
    found = {name: sent[name] for name in STORED_HEADERS if sent.get(name)}
    for name, value in found.items():
        if header_text.has_control(value):
            raise invalid_argument(name, value, "Header value cannot have control characters.")
    redirect = found.get("x-amz-website-redirect-location", "/")
    if not redirect.startswith(("/", "http://", "https://")):
        raise S3Error("InvalidRedirectLocation")
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
    """Reject user metadata of more than 2 KB in UTF-8; raises MetadataTooLarge."""
    size = sum(len(name) + len(value.encode()) for name, value in metadata.items())
    if size > MAX_METADATA:
        raise S3Error("MetadataTooLarge", Size=size, MaxSizeAllowed=MAX_METADATA)
