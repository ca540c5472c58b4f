"""Which bytes of an object a request wants."""

import re

import attrs

from worker.s3.errors import S3Error, invalid_argument

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


def select(header: str | None, size: int) -> Span | None:
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


def copy_span(header: str | None, size: int) -> Span:
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
