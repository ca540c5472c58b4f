"""GetObjectAttributes."""

import re

import attrs

from worker.model import Entry
from worker.s3.checksums import COMPOSITE
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.list_parameters import MAX_PAGE
from worker.s3.request import Request
from worker.s3.unsupported_headers import check_customer_key
from worker.s3.upload_listing import PartsQuery
from worker.s3.xml_responses import STORAGE_CLASS, checksum_elements, document

ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
ATTRIBUTES_HEADER = "x-amz-object-attributes"
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


def requested_attributes(request: Request) -> frozenset[str]:
    """Parse x-amz-object-attributes; raises InvalidArgument and InvalidRequest.

    As in S3, empty names at the end are ignored, except in an empty header.
    """
    value = request.headers.get(ATTRIBUTES_HEADER)
    names = [] if value is None else value.split(",")
    while len(names) > 1 and not names[-1]:
        names.pop()
    if not names or (names == [""] and value):
        raise S3Error(
            "InvalidRequest",
            "The x-amz-object-attributes header specifying the attributes to be "
            "retrieved is either missing or empty",
        )
    found = [name.strip() for name in names]
    for name in found:
        if name not in ATTRIBUTES:
            raise invalid_argument(ATTRIBUTES_HEADER, name, "Invalid attribute name specified.")
    return frozenset(found)


def attributes(request: Request, entry: Entry) -> bytes:
    """Return the document with the requested attributes of the object *entry*."""
    check_customer_key(request.headers)
    names = requested_attributes(request)
    page = _attribute_parts_query(request)
    content = ""
    if "ETag" in names:
        content += f"<ETag>{entry.etag}</ETag>"  # Without quotes, in this document only.
    if "Checksum" in names and entry.checksum is not None:
        # Without the number of parts, in this document only.
        value = entry.checksum.value.partition("-")[0]
        checksum = attrs.evolve(entry.checksum, value=value)
        content += f"<Checksum>{checksum_elements(checksum, with_type=True)}</Checksum>"
    if "ObjectParts" in names and entry.parts:
        content += _attribute_parts(entry, page)
    if "StorageClass" in names:
        content += STORAGE_CLASS
    if "ObjectSize" in names:
        content += f"<ObjectSize>{entry.size}</ObjectSize>"
    return document("GetObjectAttributesResponse", content)


def _attribute_parts(entry: Entry, page: PartsQuery) -> str:
    """Return the number of parts, and the parts themselves if the checksum is made of theirs."""
    if entry.checksum is None or entry.checksum.type != COMPOSITE:
        return f"<ObjectParts><PartsCount>{len(entry.parts)}</PartsCount></ObjectParts>"
    # As for GetObject, the parts are counted from 1, regardless of their numbers in the upload.
    numbered = list(enumerate(entry.parts, start=1))
    following = numbered[page.marker :]
    shown = following[: page.limit]
    truncated = len(following) > len(shown) and page.limit > 0
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><Size>{part.size}</Size>"
        f"{checksum_elements(part.checksum, with_type=False)}</Part>"
        for number, part in shown
    )
    last = shown[-1][0] if shown else 0
    return (
        f"<ObjectParts><PartsCount>{len(entry.parts)}</PartsCount>"
        f"<PartNumberMarker>{page.marker}</PartNumberMarker>"
        f"<NextPartNumberMarker>{last}</NextPartNumberMarker>"
        f"<MaxParts>{page.limit}</MaxParts>"
        f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>{rows}</ObjectParts>"
    )


def _attribute_parts_query(request: Request) -> PartsQuery:
    name = "x-amz-part-number-marker"
    marker = request.headers.get(name, "")
    if marker and not _NUMBER.fullmatch(marker):
        raise invalid_argument(name, marker, f"Argument {name} must be a number")
    # S3 ignores an invalid maximum.
    limit = request.headers.get("x-amz-max-parts", "")
    return PartsQuery(
        marker=int(marker or 0),
        limit=min(int(limit), MAX_PAGE) if _NUMBER.fullmatch(limit) else MAX_PAGE,
    )
