"""GetObjectAttributes: which attributes are asked for, and the document that gives them."""

from worker.s3.documents import STORAGE_CLASS, checksum_elements
from worker.s3.errors import S3Error, invalid_argument
from worker.s3.facts import ObjectFacts
from worker.s3.listing import MAX_PAGE, PartsQuery
from worker.s3.request import Request
from worker.s3.xml import document

ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
HEADER = "x-amz-object-attributes"


def wanted(request: Request) -> frozenset[str]:
    """Return the attributes that the request asks for; raises InvalidArgument, InvalidRequest."""
    value = request.headers.get(HEADER, "")
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-object-attributes header specifying the attributes to be "
            "retrieved is either missing or empty",
        )
    for name in names:
        if name not in ATTRIBUTES:
            raise invalid_argument(HEADER, value, "Invalid attribute name specified.")
    return names


def attributes(request: Request, facts: ObjectFacts) -> bytes:
    """Return the document with the attributes that the request asks for."""
    names = wanted(request)
    page = _parts_query(request)
    inside = ""
    if "ETag" in names:
        inside += f"<ETag>{facts.etag}</ETag>"  # without quotes, here alone
    if "Checksum" in names and facts.checksum is not None:
        inside += f"<Checksum>{checksum_elements(facts.checksum, with_type=True)}</Checksum>"
    if "ObjectParts" in names and facts.parts:
        inside += _parts(facts, page)
    if "StorageClass" in names:
        inside += STORAGE_CLASS
    if "ObjectSize" in names:
        inside += f"<ObjectSize>{facts.size}</ObjectSize>"
    return document("GetObjectAttributesResponse", inside)


def _parts(facts: ObjectFacts, page: PartsQuery) -> str:
    # As on GET, the parts are counted from one whatever numbers they were uploaded under.
    numbered = list(enumerate(facts.parts, start=1))
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
        f"<ObjectParts><PartsCount>{len(facts.parts)}</PartsCount>"
        f"<PartNumberMarker>{page.marker}</PartNumberMarker>"
        f"<NextPartNumberMarker>{last}</NextPartNumberMarker>"
        f"<MaxParts>{page.limit}</MaxParts>"
        f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>{rows}</ObjectParts>"
    )


def _parts_query(request: Request) -> PartsQuery:
    return PartsQuery(
        marker=_number(request, "x-amz-part-number-marker", 0),
        limit=min(_number(request, "x-amz-max-parts", MAX_PAGE), MAX_PAGE),
    )


def _number(request: Request, name: str, default: int) -> int:
    value = request.headers.get(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise invalid_argument(name, value, f"Argument {name} must be a number")
    return int(value)
