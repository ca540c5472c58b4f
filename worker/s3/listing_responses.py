"""The responses to ListObjects, ListObjectsV2 and ListObjectVersions.

The elements have the order of S3: the keys of a page, then its common prefixes.
"""

from worker.model import Checksum, Entry
from worker.s3.listing import V1, V2, VERSIONS, ListQuery, Page
from worker.s3.xml_responses import (
    OWNER,
    STORAGE_CLASS,
    check_marker,
    common_prefixes,
    document,
    element,
    key_text,
    optional,
    text,
    timestamp,
)


def list_objects(bucket: str, query: ListQuery, page: Page) -> bytes:
    """Return a page of ListObjects, ListObjectsV2 or ListObjectVersions."""
    name = key_text(query.encoding)
    if page.next is not None and query.kind != V2:
        check_marker(page.last, url=query.encoding is not None)
    head = f"<Name>{text(bucket)}</Name><Prefix>{name(query.prefix)}</Prefix>"
    head += _POSITIONS[query.kind](query, page)
    head += f"<MaxKeys>{query.max_keys}</MaxKeys>"
    # An empty delimiter is listed for versions only.
    if query.delimiter or (query.has_delimiter and query.kind == VERSIONS):
        head += f"<Delimiter>{name(query.delimiter)}</Delimiter>"
    head += optional("EncodingType", query.encoding)
    head += f"<IsTruncated>{'false' if page.next is None else 'true'}</IsTruncated>"
    owner = f"<Owner>{OWNER}</Owner>" if query.kind != V2 or query.fetch_owner else ""
    row = _version_row if query.kind == VERSIONS else _object_row
    rows = "".join([row(item, name(item.key), owner) for item in page.items])
    root = "ListVersionsResult" if query.kind == VERSIONS else "ListBucketResult"
    return document(root, head + rows + common_prefixes(page.prefixes, name))


def _markers(query: ListQuery, page: Page) -> str:
    name = key_text(query.encoding)
    found = f"<Marker>{name(query.marker)}</Marker>"
    # Without a delimiter, clients take the last key of the page.
    if page.next is not None and query.delimiter:
        found += f"<NextMarker>{name(page.last)}</NextMarker>"
    return found


def _tokens(query: ListQuery, page: Page) -> str:
    found = ""
    if query.token is not None:
        found = element("ContinuationToken", query.token)
    elif query.start_after is not None:
        # A token supersedes it.
        found = f"<StartAfter>{key_text(query.encoding)(query.start_after)}</StartAfter>"
    found += optional("NextContinuationToken", page.token)
    return f"{found}<KeyCount>{len(page.items) + len(page.prefixes)}</KeyCount>"


def _version_markers(query: ListQuery, page: Page) -> str:
    name = key_text(query.encoding)
    found = f"<KeyMarker>{name(query.marker)}</KeyMarker>"
    found += element("VersionIdMarker", query.version_marker)
    if page.next is not None:
        found += f"<NextKeyMarker>{name(page.last)}</NextKeyMarker>"
        if page.last_is_key:
            found += "<NextVersionIdMarker>null</NextVersionIdMarker>"
    return found


_POSITIONS = {V1: _markers, V2: _tokens, VERSIONS: _version_markers}


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
