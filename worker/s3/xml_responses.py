"""XML response bodies, rendered as bytes."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from worker.model import Checksum, Entry, Upload
from worker.s3.error_codes import S3Error
from worker.s3.listing import (
    REGION,
    V1,
    V2,
    BucketsPage,
    BucketsQuery,
    ListQuery,
    Page,
    PartsPage,
    PartsQuery,
    UploadsPage,
    UploadsQuery,
)
from worker.s3.times import last_modified

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# Characters that are escaped in text. A parser would normalize a literal carriage return to a line
# feed, so control characters become character references.
_SPECIAL = re.compile("[&<>\"'\t\n\r\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_UNREPRESENTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_URL_PLAIN = re.compile(r"[A-Za-z0-9_.\-~/]*")


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
    """Percent-encode *value* except slashes, as ``encoding-type=url`` requires."""
    return value if _URL_PLAIN.fullmatch(value) else quote(value, safe="/", errors="replace")


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


def list_buckets(query: BucketsQuery, page: BucketsPage) -> bytes:
    """Return a page of ListBuckets."""
    region = element("BucketRegion", REGION) if query.with_region else ""
    rows = "".join(
        f"<Bucket>{element('Name', name)}<CreationDate>{timestamp(created)}</CreationDate>"
        f"{region}{element('BucketArn', f'arn:aws:s3:::{name}')}</Bucket>"
        for name, created in page.buckets
    )
    return document(
        "ListAllMyBucketsResult",
        f"<Owner>{OWNER}</Owner><Buckets>{rows}</Buckets>"
        f"{optional('ContinuationToken', page.token)}{optional('Prefix', query.prefix)}",
    )


def list_objects(bucket: str, query: ListQuery, page: Page) -> bytes:
    """Return a page of ListObjects, ListObjectsV2 or ListObjectVersions."""
    name = url_text if query.url else text
    truncated = "true" if page.next is not None else "false"
    if page.next is not None and query.kind != V2:
        _check_marker(page.last, url=query.url)
    head = [f"<Name>{text(bucket)}</Name>"]
    # ListObjects does not encode its prefix, even if it encodes keys; clients do not decode it.
    head.append(
        f"<Prefix>{text(query.prefix) if query.kind == V1 else name(query.prefix)}</Prefix>"
    )
    if query.kind == V1:
        head.append(f"<Marker>{name(query.marker)}</Marker>")
        if page.next is not None and query.delimiter:
            head.append(f"<NextMarker>{name(page.last)}</NextMarker>")
    elif query.kind == V2:
        head.append(optional("ContinuationToken", query.token))
        head.append(optional("NextContinuationToken", page.token))
        if query.start_after is not None:
            head.append(f"<StartAfter>{name(query.start_after)}</StartAfter>")
        head.append(f"<KeyCount>{len(page.items) + len(page.prefixes)}</KeyCount>")
    else:
        head.append(f"<KeyMarker>{name(query.marker)}</KeyMarker>")
        head.append(element("VersionIdMarker", query.version_marker))
        if page.next is not None:
            head.append(f"<NextKeyMarker>{name(page.last)}</NextKeyMarker>")
            if page.last_is_key:
                head.append("<NextVersionIdMarker>null</NextVersionIdMarker>")
    head.append(f"<MaxKeys>{query.limit}</MaxKeys>")
    if query.delimiter:
        head.append(f"<Delimiter>{name(query.delimiter)}</Delimiter>")
    if query.url:
        head.append("<EncodingType>url</EncodingType>")
    head.append(f"<IsTruncated>{truncated}</IsTruncated>")
    owner = f"<Owner>{OWNER}</Owner>" if query.kind != V2 or query.fetch_owner else ""
    row = _version_row if query.kind not in (V1, V2) else _object_row
    rows = [row(item, name(item.key), owner) for item in page.items]
    common_prefixes = [
        f"<CommonPrefixes><Prefix>{name(prefix)}</Prefix></CommonPrefixes>"
        for prefix in page.prefixes
    ]
    root = "ListBucketResult" if query.kind in (V1, V2) else "ListVersionsResult"
    return document(root, "".join(head + rows + common_prefixes))


def _check_marker(marker: str, *, url: bool) -> None:
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


def _object_row(item: Entry, key: str, owner: str) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{timestamp(item.modified)}</LastModified>"
        f"<ETag>&quot;{item.etag}&quot;</ETag>{_checksum_kind(item.checksum)}"
        f"<Size>{item.size}</Size>{owner}{STORAGE_CLASS}</Contents>"
    )


def _version_row(item: Entry, key: str, owner: str) -> str:
    return (
        f"<Version><Key>{key}</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>"
        f"<LastModified>{timestamp(item.modified)}</LastModified>"
        f"<ETag>&quot;{item.etag}&quot;</ETag>{_checksum_kind(item.checksum)}"
        f"<Size>{item.size}</Size>{owner}{STORAGE_CLASS}</Version>"
    )


def _checksum_kind(checksum: Checksum | None) -> str:
    if checksum is None:
        return ""
    return (
        f"<ChecksumAlgorithm>{checksum.algorithm}</ChecksumAlgorithm>"
        f"<ChecksumType>{checksum.type}</ChecksumType>"
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
    name = url_text if query.url else text
    rows = "".join(
        f"<Upload><Key>{name(upload.key)}</Key>{element('UploadId', upload.id)}"
        f"<Initiator>{OWNER}</Initiator><Owner>{OWNER}</Owner>{STORAGE_CLASS}"
        f"<Initiated>{timestamp(upload.initiated)}</Initiated>"
        f"{_upload_checksum(upload)}</Upload>"
        for upload in page.uploads
    )
    common_prefixes = "".join(
        f"<CommonPrefixes><Prefix>{name(prefix)}</Prefix></CommonPrefixes>"
        for prefix in page.prefixes
    )
    next_marker = ""
    if page.truncated:
        _check_marker(page.next_key, url=query.url)
        next_marker = (
            f"<NextKeyMarker>{name(page.next_key)}</NextKeyMarker>"
            f"{element('NextUploadIdMarker', page.next_id)}"
        )
    delimiter = f"<Delimiter>{name(query.delimiter)}</Delimiter>" if query.delimiter else ""
    return document(
        "ListMultipartUploadsResult",
        f"{element('Bucket', bucket)}<KeyMarker>{name(query.key_marker)}</KeyMarker>"
        f"{element('UploadIdMarker', query.id_marker)}{next_marker}{delimiter}"
        f"<Prefix>{name(query.prefix)}</Prefix>"
        f"{'<EncodingType>url</EncodingType>' if query.url else ''}"
        f"<MaxUploads>{query.limit}</MaxUploads>"
        f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>"
        f"{rows}{common_prefixes}",
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
