"""XML response bodies, rendered as bytes."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote_plus

from worker.model import Checksum, Upload
from worker.s3.error_codes import S3Error
from worker.s3.times import last_modified
from worker.s3.upload_listing import PartsPage, PartsQuery, UploadsPage, UploadsQuery

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# Characters that are escaped in text. A parser would normalize a literal carriage return to a line
# feed, so control characters become character references.
_SPECIAL = re.compile("[&<>\"'\t\n\r\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_UNREPRESENTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_URL_PLAIN = re.compile(r"[A-Za-z0-9_.\-*/]*")


def _reference(match: re.Match[str]) -> str:
    character = match.group()
    named = _NAMED.get(character)
    if named is not None:
        return named
    # XML 1.0 cannot represent these, even as references. A client that needs such keys requests
    # encoding-type=url. A document that is not well-formed would hide all other keys.
    if character < " " or character > "\x9f":
        return "\ufffd"
    return f"&#{ord(character)};"


_NAMED = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


def text(value: str) -> str:
    """Escape *value* as text; characters that XML 1.0 cannot represent become U+FFFD."""
    return _SPECIAL.sub(_reference, value)


def is_representable(value: str) -> bool:
    """Whether XML 1.0 can represent every character of *value*."""
    return _UNREPRESENTABLE.search(value) is None


def url_text(value: str) -> str:
    """Encode *value* as S3 does for ``encoding-type=url``.

    A space becomes ``+``; letters, digits and ``-_.*/`` remain, as with Java's URLEncoder.
    """
    if _URL_PLAIN.fullmatch(value):
        return value
    # The library never encodes a tilde.
    return quote_plus(value, safe="*/", errors="replace").replace("~", "%7E")


def key_text(encoding: str | None) -> Callable[[str], str]:
    """Return the function that renders keys: with an encoding-type, it percent-encodes them."""
    return text if encoding is None else url_text


def element(name: str, value: str) -> str:
    """Return ``<name>value</name>``, the value escaped."""
    return f"<{name}>{text(value)}</{name}>"


def optional(name: str, value: str | None) -> str:
    """Return the element; an empty string without a value."""
    return "" if value is None else element(name, value)


def document(name: str, content: str) -> bytes:
    """Return a document in the namespace of S3."""
    return f'{HEAD}<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode()


OWNER_ID = "worker"
OWNER = f"<ID>{OWNER_ID}</ID><DisplayName>worker</DisplayName>"
STORAGE_CLASS = "<StorageClass>STANDARD</StorageClass>"


def timestamp(milliseconds: int) -> str:
    """Return the time of a change in ISO 8601, such as ``2009-10-12T17:50:30.000Z``."""
    return _iso(last_modified(milliseconds))


@lru_cache(maxsize=4096)
def _iso(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def error(fault: S3Error, *, resource: str, request_id: str, host_id: str) -> bytes:
    """Return the document of an error, with the ids of the response's headers."""
    fields = {
        "Code": fault.code,
        "Message": fault.message,
        **fault.fields,
        "Resource": resource,
        "RequestId": request_id,
        "HostId": host_id,
    }
    # Error documents have no namespace.
    content = "".join(element(name, value) for name, value in fields.items())
    return f"{HEAD}<Error>{content}</Error>".encode()


def check_marker(marker: str, *, url: bool) -> None:
    """Reject a marker of the next page that XML cannot represent.

    The client would send back the replaced name, and silently miss all keys between the two.
    """
    if not url and not is_representable(marker):
        raise S3Error(
            "InvalidRequest",
            "The page ends with a key that XML 1.0 cannot represent; repeat the request with "
            "encoding-type=url, or use ListObjectsV2.",
            Key=marker,
        )


def common_prefixes(prefixes: Iterable[str], name: Callable[[str], str]) -> str:
    """Return the CommonPrefixes of a listing, rendered by *name*."""
    return "".join(
        f"<CommonPrefixes><Prefix>{name(prefix)}</Prefix></CommonPrefixes>" for prefix in prefixes
    )


def checksum_elements(checksum: Checksum | None, *, with_type: bool) -> str:
    """Return an element such as ChecksumCRC32, followed by ChecksumType if *with_type* is set."""
    if checksum is None:
        return ""
    kind = f"<ChecksumType>{checksum.type}</ChecksumType>" if with_type else ""
    name = f"Checksum{checksum.algorithm}"
    return f"<{name}>{checksum.value}</{name}>{kind}"


def list_multipart_uploads(bucket: str, query: UploadsQuery, page: UploadsPage) -> bytes:
    """Return a page of ListMultipartUploads."""
    name = key_text(query.encoding)
    rows = "".join(
        f"<Upload><Key>{name(upload.key)}</Key>{element('UploadId', upload.id)}"
        f"<Initiator>{OWNER}</Initiator><Owner>{OWNER}</Owner>{STORAGE_CLASS}"
        f"<Initiated>{timestamp(upload.initiated)}</Initiated>"
        f"{_upload_checksum(upload)}</Upload>"
        for upload in page.uploads
    )
    if page.truncated:
        check_marker(page.next_key, url=query.encoding is not None)
    # Unlike in the other listings, S3 has no Prefix without a value.
    prefix = f"<Prefix>{name(query.prefix)}</Prefix>" if query.prefix else ""
    delimiter = f"<Delimiter>{name(query.delimiter)}</Delimiter>" if query.delimiter else ""
    return document(
        "ListMultipartUploadsResult",
        f"{element('Bucket', bucket)}<KeyMarker>{name(query.key_marker)}</KeyMarker>"
        f"{element('UploadIdMarker', query.id_marker)}"
        f"<NextKeyMarker>{name(page.next_key)}</NextKeyMarker>"
        f"{element('NextUploadIdMarker', page.next_id)}{delimiter}"
        f"{prefix}{optional('EncodingType', query.encoding)}"
        f"<MaxUploads>{query.limit}</MaxUploads>"
        f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>"
        f"{rows}{common_prefixes(page.prefixes, name)}",
    )


def _upload_checksum(upload: Upload) -> str:
    return optional("ChecksumAlgorithm", upload.algorithm) + optional(
        "ChecksumType", upload.checksum_type
    )


def list_parts(bucket: str, upload: Upload, query: PartsQuery, page: PartsPage) -> bytes:
    """Return a page of ListParts."""
    rows = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber>"
        f"<LastModified>{timestamp(part.modified)}</LastModified>"
        f"<ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size>"
        f"{checksum_elements(part.checksum if upload.algorithm else None, with_type=False)}</Part>"
        for part in page.parts
    )
    last = page.parts[-1].number if page.parts else 0
    next_marker = f"<NextPartNumberMarker>{last}</NextPartNumberMarker>"
    return document(
        "ListPartsResult",
        f"{element('Bucket', bucket)}{element('Key', upload.key)}{element('UploadId', upload.id)}"
        f"<PartNumberMarker>{query.marker}</PartNumberMarker>{next_marker}"
        f"<MaxParts>{query.limit}</MaxParts>"
        f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>"
        f"<Initiator>{OWNER}</Initiator><Owner>{OWNER}</Owner>{STORAGE_CLASS}"
        f"{_upload_checksum(upload)}{rows}",
    )


def create_multipart_upload(bucket: str, key: str, upload_id: str) -> bytes:
    """Return the response to CreateMultipartUpload."""
    return document(
        "InitiateMultipartUploadResult",
        element("Bucket", bucket) + element("Key", key) + element("UploadId", upload_id),
    )


def complete_multipart_upload(
    bucket: str, key: str, *, etag: str, checksum: Checksum | None, location: str
) -> bytes:
    """Return the response to CompleteMultipartUpload; *location* is the URL of the object."""
    return document(
        "CompleteMultipartUploadResult",
        f"{element('Location', location)}{element('Bucket', bucket)}{element('Key', key)}"
        f"<ETag>&quot;{etag}&quot;</ETag>{checksum_elements(checksum, with_type=True)}",
    )


def post_object(bucket: str, key: str, *, etag: str, location: str) -> bytes:
    """Return the response to PostObject with the status 201; *location* is the URL of the object.

    It has no namespace (recorded from S3).
    """
    content = (
        f"{element('Location', location)}{element('Bucket', bucket)}{element('Key', key)}"
        f"<ETag>&quot;{etag}&quot;</ETag>"
    )
    return f"{HEAD}<PostResponse>{content}</PostResponse>".encode()


def copy_object(*, etag: str, modified: int, checksum: Checksum | None) -> bytes:
    """Return the response to CopyObject."""
    return document(
        "CopyObjectResult",
        f"<LastModified>{timestamp(modified)}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"{checksum_elements(checksum, with_type=True)}",
    )


def upload_part_copy(*, etag: str, modified: int, checksum: Checksum | None) -> bytes:
    """Return the response to UploadPartCopy."""
    return document(
        "CopyPartResult",
        f"<LastModified>{timestamp(modified)}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"{checksum_elements(checksum, with_type=False)}",
    )


def delete_objects(
    results: Iterable[tuple[str, str | None, S3Error | None]], *, quiet: bool
) -> bytes:
    """Return the response to DeleteObjects.

    Each result is a key, the version that the request names or None, and the error or None if the
    object was deleted.
    """
    rows = []
    for key, version, fault in results:
        name = element("Key", key) + optional("VersionId", version or None)
        if fault is not None:
            rows.append(
                f"<Error>{name}{element('Code', fault.code)}"
                f"{element('Message', fault.message)}</Error>"
            )
        elif not quiet:
            rows.append(f"<Deleted>{name}</Deleted>")
    return document("DeleteResult", "".join(rows))


def get_object_tagging(tags: Mapping[str, str]) -> bytes:
    """Return the response to GetObjectTagging."""
    rows = "".join(
        f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in tags.items()
    )
    return document("Tagging", f"<TagSet>{rows}</TagSet>")
