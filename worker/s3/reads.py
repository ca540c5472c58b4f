"""GetObject and HeadObject: ranges, parts, conditions and response headers."""

import re
from collections.abc import Mapping
from functools import lru_cache
from time import gmtime

import attrs

from worker.model import Checksum, Entry
from worker.s3.conditions import Verdict, check_read, etags, moment, read_conditions
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.listing import MAX_PAGE, PartsQuery
from worker.s3.metadata import DEFAULT_CONTENT_TYPE
from worker.s3.multipart import part_number
from worker.s3.request import Request
from worker.s3.xml_responses import STORAGE_CLASS, checksum_elements, document

# Possessive throughout: 64 KiB of spaces would else be tried in every division.
_RANGE = re.compile(
    r"bytes\s*+=\s*+([0-9]{0,20}+)\s*+-\s*+([0-9]{0,20}+)\s*+", re.IGNORECASE | re.ASCII
)
_COPY_RANGE = re.compile(r"bytes=([0-9]{1,20})-([0-9]{1,20})", re.ASCII)


@attrs.frozen
class Span:
    """The bytes from *start* up to *stop*."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes it holds."""
        return self.stop - self.start


def select_range(header: str | None, size: int) -> Span | None:
    """Return the span that a Range header asks for, None for the whole object.

    As in S3, several ranges and what is no range are ignored; a range the object does not reach,
    and any range of an empty object, is InvalidRange (416).
    """
    if header is None:
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last = match.groups()
    if first:
        start = int(first)
        if last and int(last) < start:
            return None
        stop = min(int(last) + 1, size) if last else size
    elif last:
        start = max(0, size - int(last))
        stop = size
    else:
        return None
    if start >= stop:
        raise S3Error(
            "InvalidRange",
            RangeRequested=header,
            ActualObjectSize=size,
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Span(start, stop)


def copy_source_range(header: str | None, size: int) -> Span:
    """Return the span of x-amz-copy-source-range, the whole without one.

    It must be ``bytes=first-last`` (InvalidArgument) and lie within the source (InvalidRange); it
    is never cut to fit.
    """
    if header is None:
        return Span(0, size)
    match = _COPY_RANGE.fullmatch(header)
    if match is None or int(match.group(2)) < int(match.group(1)):
        raise invalid_argument(
            "x-amz-copy-source-range",
            header,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
        )
    first, last = int(match.group(1)), int(match.group(2))
    if last >= size:
        raise S3Error(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size}",
            RangeRequested=header,
            ActualObjectSize=size,
        )
    return Span(first, last + 1)


CONDITIONAL = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"))

# Query parameters that put a header of their own in the place of a stored one.
OVERRIDES: Mapping[str, str] = {
    "response-cache-control": "cache-control",
    "response-content-disposition": "content-disposition",
    "response-content-encoding": "content-encoding",
    "response-content-language": "content-language",
    "response-content-type": "content-type",
    "response-expires": "expires",
}

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@attrs.frozen
class Reading:
    """The answer to a GET or HEAD but for its bytes, its date and its ids."""

    status: int
    """200, 206 or 304."""
    headers: list[tuple[bytes, bytes]]
    start: int
    stop: int
    """The bytes of the object to send; none for 304, and none are sent for HEAD."""


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    """Return ``Wed, 21 Oct 2015 07:28:00 GMT``."""
    year, month, day, hour, minute, second, weekday, _, _ = gmtime(seconds)
    return (
        f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    ).encode()


def read(request: Request, facts: Entry) -> Reading:
    """Return how a GetObject or HeadObject is answered; raises S3Error (304 is no error)."""
    asked = request.headers
    verdict = Verdict.PROCEED
    if not CONDITIONAL.isdisjoint(asked):
        conditions = read_conditions(asked)
        verdict = check_read(conditions, etag=facts.etag, modified=facts.modified)
    headers = [
        (b"etag", b'"%s"' % facts.etag.encode()),
        (b"last-modified", http_date(facts.modified // 1000)),
    ]
    if verdict is Verdict.NOT_MODIFIED:
        for name in ("cache-control", "expires"):
            if name in facts.headers:
                headers.append((name.encode(), facts.headers[name].encode("latin-1")))
        return Reading(304, headers, 0, 0)

    size = facts.size
    span: Span | None = None
    part: int | None = None
    if "partNumber" in request.params:
        part, span = _part(request, facts)
    elif "range" in asked and _range_holds(asked, facts):
        span = select_range(asked["range"], size)

    headers.append((b"accept-ranges", b"bytes"))
    _describe(headers, request, facts)
    if part is not None:
        headers.append((b"x-amz-mp-parts-count", b"%d" % len(facts.parts)))
    if asked.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        _add_checksum(headers, facts, span, part)
    if span is None:
        headers.append((b"content-length", b"%d" % size))
        return Reading(200, headers, 0, size)
    headers.append((b"content-length", b"%d" % span.length))
    if span.length:  # of no bytes there is no way to say which
        headers.append((b"content-range", b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)))
    return Reading(206, headers, span.start, span.stop)


def _describe(headers: list[tuple[bytes, bytes]], request: Request, facts: Entry) -> None:
    described = facts.headers
    if request.params:
        described = _overridden(request, described)
    if "content-type" not in described:
        headers.append((b"content-type", DEFAULT_CONTENT_TYPE.encode()))
    for name, value in described.items():
        headers.append((name.encode(), value.encode("latin-1")))
    for name, value in facts.metadata.items():
        headers.append((b"x-amz-meta-" + name.encode("latin-1"), value.encode("latin-1")))
    if facts.tags:
        headers.append((b"x-amz-tagging-count", b"%d" % len(facts.tags)))


def _overridden(request: Request, stored: Mapping[str, str]) -> Mapping[str, str]:
    found = {
        header: request.params[name] for name, header in OVERRIDES.items() if name in request.params
    }
    for name, value in found.items():
        # A line break would let a URL write headers of its own.
        if _CONTROL.search(value):
            raise invalid_argument(
                f"response-{name}", value, "Header value cannot have control characters."
            )
    if not found:
        return stored
    # Stored values are header text already; these are text, sent as UTF-8.
    sent = {name: value.encode().decode("latin-1") for name, value in found.items()}
    return {**stored, **sent}


def _range_holds(asked: Mapping[str, str], facts: Entry) -> bool:
    """Return whether If-Range, when there is one, lets the range count (RFC 9110, 13.1.5)."""
    held = asked.get("if-range")
    if held is None:
        return True
    when = None if held.lstrip().startswith(('"', "W/")) else moment(held)
    return facts.modified // 1000 == when if when is not None else facts.etag in etags(held)


def _part(request: Request, facts: Entry) -> tuple[int | None, Span | None]:
    """Return the part that partNumber names (None: the object has no parts) and its bytes."""
    number = part_number(request)
    if "range" in request.headers:
        raise S3Error(
            "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
        )
    if not facts.parts:
        if number > 1:
            raise S3Error("InvalidPartNumber", PartNumberRequested=number, ActualPartCount=1)
        return None, Span(0, facts.size) if facts.size else None
    if number > len(facts.parts):
        raise S3Error("InvalidPart", PartNumberRequested=number, ActualPartCount=len(facts.parts))
    # S3 counts the parts that the object has, whatever numbers they were uploaded under.
    start = sum(part.size for part in facts.parts[: number - 1])
    size = facts.parts[number - 1].size
    return number, Span(start, start + size) if facts.size else None


def _add_checksum(
    headers: list[tuple[bytes, bytes]], facts: Entry, span: Span | None, part: int | None
) -> None:
    checksum: Checksum | None = facts.checksum
    kind = None if checksum is None else checksum.type
    if part is not None:
        checksum = facts.parts[part - 1].checksum
    elif span is not None and span.length != facts.size:
        # The checksum of the whole says nothing about a piece of it; SDKs would refuse the bytes.
        return
    if checksum is None or kind is None:
        return
    name = f"x-amz-checksum-{checksum.algorithm.lower()}"
    headers.append((name.encode(), checksum.value.encode()))
    headers.append((b"x-amz-checksum-type", kind.encode()))


# --- GetObjectAttributes ----------------------------------------------------------------------

ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
ATTRIBUTES_HEADER = "x-amz-object-attributes"


def requested_attributes(request: Request) -> frozenset[str]:
    """Return the attributes that the request asks for; raises InvalidArgument, InvalidRequest."""
    value = request.headers.get(ATTRIBUTES_HEADER, "")
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-object-attributes header specifying the attributes to be "
            "retrieved is either missing or empty",
        )
    for name in names:
        if name not in ATTRIBUTES:
            raise invalid_argument(ATTRIBUTES_HEADER, value, "Invalid attribute name specified.")
    return names


def attributes(request: Request, facts: Entry) -> bytes:
    """Return the document with the attributes that the request asks for."""
    names = requested_attributes(request)
    page = _attribute_parts_query(request)
    inside = ""
    if "ETag" in names:
        inside += f"<ETag>{facts.etag}</ETag>"  # without quotes, here alone
    if "Checksum" in names and facts.checksum is not None:
        inside += f"<Checksum>{checksum_elements(facts.checksum, with_type=True)}</Checksum>"
    if "ObjectParts" in names and facts.parts:
        inside += _attribute_parts(facts, page)
    if "StorageClass" in names:
        inside += STORAGE_CLASS
    if "ObjectSize" in names:
        inside += f"<ObjectSize>{facts.size}</ObjectSize>"
    return document("GetObjectAttributesResponse", inside)


def _attribute_parts(facts: Entry, page: PartsQuery) -> str:
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


def _attribute_parts_query(request: Request) -> PartsQuery:
    return PartsQuery(
        marker=_attribute_number(request, "x-amz-part-number-marker", 0),
        limit=min(_attribute_number(request, "x-amz-max-parts", MAX_PAGE), MAX_PAGE),
    )


def _attribute_number(request: Request, name: str, default: int) -> int:
    value = request.headers.get(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise invalid_argument(name, value, f"Argument {name} must be a number")
    return int(value)
