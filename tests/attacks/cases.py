"""The cases of ``test_negative``: invalid requests with the expected error."""

import base64
import hashlib
import zlib

import attrs

CONTENT = b"what is there"
ETAG = hashlib.md5(CONTENT).hexdigest()
PART = b"p" * (5 << 20)
PART_ETAG = hashlib.md5(PART).hexdigest()
SMALL_ETAG = hashlib.md5(b"small").hexdigest()
OTHER_ETAG = hashlib.md5(b"something else").hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG_SHA256 = hashlib.sha256(b"something else").hexdigest()
CRC32 = base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"
CHECKSUM_SIZES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
TRAILER_MODE = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def content_md5(body: bytes) -> str:
    """Return the Content-MD5 of a body."""
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def zeros(size: int) -> str:
    """Return *size* zero bytes in Base64, which are no digest of any test data."""
    return base64.b64encode(bytes(size)).decode()


@attrs.frozen
class Case:
    """An invalid request, and the expected error."""

    name: str
    method: str
    target: str
    status: int
    code: str
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    fields: dict[str, str] = attrs.field(factory=dict)


def streamed(name, body, status, code, *, length=len(CONTENT), trailer=None, **more):
    """Return the case of a PutObject with a framed body."""
    headers = {"x-amz-content-sha256": TRAILER_MODE, **more.pop("headers", {})}
    if length is not None:
        headers["x-amz-decoded-content-length"] = str(length)
    if trailer is not None:
        headers["x-amz-trailer"] = trailer
    return Case(f"framed, {name}", "PUT", "/out/new", status, code, headers, body, **more)


def put(name, status, code, headers=None, body=CONTENT, target="/out/new", **fields):
    """Return the case of a PutObject."""
    return Case(f"put, {name}", "PUT", target, status, code, headers or {}, body, fields)


def get(name, status, code, headers=None, target="/out/there", **fields):
    """Return the case of a GetObject."""
    return Case(f"get, {name}", "GET", target, status, code, headers or {}, fields=fields)


def copy(name, status, code, source="/out/there", headers=None, target="/out/new", **fields):
    """Return the case of a CopyObject."""
    sent = {"x-amz-copy-source": source, **(headers or {})}
    return Case(f"copy, {name}", "PUT", target, status, code, sent, fields=fields)


def delete_many(name, status, code, body, headers=None, **fields):
    """Return the case of a DeleteObjects, with the digest of its body if *headers* has none."""
    sent = headers or {}
    if not any(each == "content-md5" or each.startswith("x-amz-checksum-") for each in sent):
        sent = {"content-md5": content_md5(body), **sent}
    return Case(f"delete many, {name}", "POST", "/out?delete", status, code, sent, body, fields)


def complete(name, status, code, parts, headers=None, target="/out/big?uploadId={upload}", **more):
    """Return the case of a CompleteMultipartUpload of (number, ETag) pairs, or of a raw body."""
    body = parts if isinstance(parts, bytes) else completion(*parts)
    return Case(f"complete, {name}", "POST", target, status, code, headers or {}, body, more)


def completion(*parts: tuple[object, str]) -> bytes:
    """Return the body of a CompleteMultipartUpload."""
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


def tag_set(*pairs: tuple[str, str]) -> bytes:
    """Return the body of a PutObjectTagging."""
    rows = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in pairs)
    return f"<Tagging><TagSet>{rows}</TagSet></Tagging>".encode()
