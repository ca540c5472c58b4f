"""GetObject and HeadObject: ranges, parts, conditions and response headers."""

import re
from collections.abc import Mapping
from functools import lru_cache
from time import gmtime

import attrs

from worker.model import Checksum, Entry
from worker.s3 import header_text
from worker.s3.checksums import ALGORITHMS, COMPOSITE
from worker.s3.conditions import Verdict, check_read, etags, parse_date, read_conditions
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.metadata import DEFAULT_CONTENT_TYPE
from worker.s3.multipart import part_number
from worker.s3.request import CONDITIONS, Request
from worker.s3.times import last_modified
from worker.s3.unsupported_headers import check_customer_key

# Possessive quantifiers: with backtracking, 64 KiB of spaces would cost quadratic time.
_RANGE = re.compile(
    r"bytes\s*+=\s*+([0-9]{0,20}+)\s*+-\s*+([0-9]{0,20}+)\s*+", re.IGNORECASE | re.ASCII
)


@attrs.frozen
class Span:
    """A range of bytes from *start* up to *stop*."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.stop - self.start


def select_range(header: str | None, size: int) -> Span | None:
    """Return the span of a Range header; None for the whole object.

    As in S3, a header with several ranges and an invalid one are ignored. Raises InvalidRange (416)
    for a range beyond the end, and for every range of an empty object.
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


_CHECKSUM_MODE = "x-amz-checksum-mode"

# Query parameters that override stored headers.
OVERRIDES: Mapping[str, str] = {
    "response-cache-control": "cache-control",
    "response-content-disposition": "content-disposition",
    "response-content-encoding": "content-encoding",
    "response-content-language": "content-language",
    "response-content-type": "content-type",
    "response-expires": "expires",
}

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@attrs.frozen
class ReadResponse:
    """Status, headers and range of the response to GetObject or HeadObject."""

    status: int
    """200, 206 or 304."""
    headers: list[tuple[bytes, bytes]]
    start: int
    stop: int
    """The bytes of the object to send, from *start* up to *stop*; HEAD sends none."""


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    """Return an HTTP date, such as ``Wed, 21 Oct 2015 07:28:00 GMT``."""
    year, month, day, hour, minute, second, weekday, _, _ = gmtime(seconds)
    return (
        f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{second:02} GMT"
    ).encode()


def read(request: Request, entry: Entry, *, now: float) -> ReadResponse:
    """Evaluate GetObject or HeadObject for the object *entry*; raises S3Error.

    *now* is in seconds since 1970.
    """
    sent = request.headers
    check_customer_key(sent)
    verdict = Verdict.PROCEED
    if not CONDITIONS.isdisjoint(sent):
        conditions = read_conditions(sent, now=now)
        verdict = check_read(conditions, etag=entry.etag, modified=entry.modified)
    headers = [
        (b"etag", b'"%s"' % entry.etag.encode()),
        (b"last-modified", http_date(last_modified(entry.modified))),
    ]
    if verdict is Verdict.NOT_MODIFIED:
        for name in ("cache-control", "expires"):
            if name in entry.headers:
                headers.append((name.encode(), entry.headers[name].encode("latin-1")))
        return ReadResponse(304, headers, 0, 0)

    size = entry.size
    span: Span | None = None
    part: int | None = None
    if "partNumber" in request.params:
        part, span = _requested_part(request, entry)
    elif "range" in sent and _range_applies(sent, entry):
        span = select_range(sent["range"], size)

    headers.append((b"accept-ranges", b"bytes"))
    _add_stored_headers(headers, request, entry)
    if part is not None:
        headers.append((b"x-amz-mp-parts-count", b"%d" % len(entry.parts)))
    if _CHECKSUM_MODE in sent:
        if sent[_CHECKSUM_MODE].upper() != "ENABLED":
            raise S3Error("InvalidRequest", "Value for x-amz-checksum-mode header is invalid.")
        _add_checksum(headers, entry, span, part)
    if span is None:
        headers.append((b"content-length", b"%d" % size))
        return ReadResponse(200, headers, 0, size)
    headers.append((b"content-length", b"%d" % span.length))
    if span.length:  # A Content-Range cannot describe zero bytes.
        headers.append((b"content-range", b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)))
    return ReadResponse(206, headers, span.start, span.stop)


def check_part(request: Request) -> None:
    """Reject an invalid partNumber, which S3 does before it looks for the object.

    Raises InvalidRequest and InvalidArgument.
    """
    if "partNumber" not in request.params:
        return
    if "range" in request.headers:
        raise S3Error(
            "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
        )
    part_number(request)


def _add_stored_headers(headers: list[tuple[bytes, bytes]], request: Request, entry: Entry) -> None:
    stored = entry.headers
    if request.params:
        stored = _overridden(request, stored)
    if "content-type" not in stored:
        headers.append((b"content-type", DEFAULT_CONTENT_TYPE.encode()))
    for name, value in stored.items():
        headers.append((name.encode(), value.encode("latin-1")))
    for name, value in entry.metadata.items():
        headers.append((b"x-amz-meta-" + name.encode("latin-1"), header_text.encode(value)))
    if entry.tags:
        headers.append((b"x-amz-tagging-count", b"%d" % len(entry.tags)))


def _overridden(request: Request, stored: Mapping[str, str]) -> Mapping[str, str]:
    found = {}
    for name, value in request.params.items():
        if not name.startswith("response-"):
            continue
        if name not in OVERRIDES:
            raise invalid_argument(
                name,
                value,
                f"{name} is not in the set of overridable response headers. Please refer to the "
                "S3 API documentation for a complete list of overridable response headers.",
            )
        # A line break would allow a URL to add headers.
        if header_text.has_control(value):
            raise invalid_argument(name, value, "Header value cannot have control characters.")
        if any(character > "\xff" for character in value):
            raise invalid_argument(
                name, value, "Header value cannot be represented using ISO-8859-1."
            )
        # White space at the ends is no part of a field value (RFC 9110, 5.5).
        found[OVERRIDES[name]] = value.strip(" \t")
    if not found:
        return stored
    if not request.is_signed:
        raise S3Error(
            "InvalidRequest",
            "Request specific response headers cannot be used for anonymous GET requests.",
        )
    return {**stored, **found}


def _range_applies(sent: Mapping[str, str], entry: Entry) -> bool:
    """Evaluate If-Range (RFC 9110, 13.1.5)."""
    condition = sent.get("if-range")
    if condition is None:
        return True
    is_etag = condition.lstrip().startswith(('"', "W/"))
    date = None if is_etag else parse_date(condition)
    if date is not None:
        return last_modified(entry.modified) == date
    return entry.etag in etags(condition)


def _requested_part(request: Request, entry: Entry) -> tuple[int | None, Span | None]:
    """Return the number and span of the part in partNumber; no number without multipart upload."""
    check_part(request)
    number = part_number(request)
    if not entry.parts:
        if number > 1:
            raise S3Error("InvalidPartNumber", PartNumberRequested=number, ActualPartCount=1)
        return None, Span(0, entry.size) if entry.size else None
    if number > len(entry.parts):
        raise S3Error(
            "InvalidPartNumber", PartNumberRequested=number, ActualPartCount=len(entry.parts)
        )
    # S3 counts the parts of the object, regardless of the numbers that they were uploaded with.
    start = sum(part.size for part in entry.parts[: number - 1])
    size = entry.parts[number - 1].size
    return number, Span(start, start + size) if entry.size else None


def _add_checksum(
    headers: list[tuple[bytes, bytes]], entry: Entry, span: Span | None, part: int | None
) -> None:
    checksum: Checksum | None = entry.checksum
    kind = None if checksum is None else checksum.type
    if part is not None and kind == COMPOSITE:
        checksum = entry.parts[part - 1].checksum
    elif span is not None and span.length != entry.size:
        # SDKs would compare the checksum of the object with that of the range.
        return
    if checksum is None or kind is None:
        return
    header = ALGORITHMS[checksum.algorithm].header
    headers.append((header.encode(), checksum.value.encode()))
    headers.append((b"x-amz-checksum-type", kind.encode()))
