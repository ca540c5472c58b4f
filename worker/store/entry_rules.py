"""Rules of stored entries: what a decoded entry, part or upload obeys before it is used.

The bytes of a store, and of an index in the scratch directory, may have been written by anything.
The decoders check types; the functions here check what types cannot express. So code that gets an
`Entry` relies on extents within their runs, on sizes that add up, and on header values that a
response can carry.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from worker.model import (
    CHECKSUM_SIZES,
    MAX_KEY,
    STORED_HEADERS,
    Checksum,
    Entry,
    Extent,
    Part,
    StoredPart,
    Upload,
)

MAX_SIZE = 1 << 48
"""Bytes of a file, a run or an offset, five times the largest object of S3 (50 TB)."""
MAX_TOTAL = (1 << 63) - 1
"""Bytes or files of a tree: what JSON and MessagePack encode."""
MAX_EXTENTS = 100_000
"""Extents of a file: ten times the parts of a multipart upload."""
MAX_PARTS = 10_000
MAX_BLOB_NAME = 251
MAX_HEADERS, MAX_METADATA, MAX_TAGS = 64, 2048, 64
"""Names in an entry, above the limits of S3, which are in bytes."""
MAX_SECONDS = 253_370_764_800
"""The year 9999 in seconds since 1970, as HTTP dates have four digits."""

_BLOB = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9_-]{1,150}")
# The characters of an entity tag (RFC 9110, 8.8.3) in ASCII.
_ETAG = re.compile(r"[\x21\x23-\x7e]{1,100}")
# A field name in lower case (RFC 9110, 5.1).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
# A field value (RFC 9110, 5.5), decoded as Latin-1.
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FULL_OBJECT, _COMPOSITE = "FULL_OBJECT", "COMPOSITE"


def _base64(size: int) -> str:
    """Return a pattern of the values of *size* bytes in Base64."""
    padding = -size % 3
    return f"[A-Za-z0-9+/]{{{(size * 8 + 5) // 6}}}={{{padding}}}"


_CHECKSUMS = {
    (name, kind): re.compile(_base64(size) + end)
    for name, size in CHECKSUM_SIZES.items()
    for kind, end in ((_FULL_OBJECT, ""), (_COMPOSITE, "-[0-9]{1,5}"))
}
"""Patterns of values by algorithm and type; a composite one ends in the number of parts."""


class Inconsistent(ValueError):
    """The values of a stored entry contradict each other, or cannot be served."""


UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Inconsistent)
"""Errors that decoding of any bytes can raise."""


def known_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return those of *headers* that are stored with objects, as S3 does; others are not served."""
    if headers.keys() <= STORED_HEADERS:
        return headers
    return {name: value for name, value in headers.items() if name in STORED_HEADERS}


def check_entry(entry: Entry) -> None:
    """Raise Inconsistent unless *entry* obeys every rule."""
    check_key(entry.key)
    _check_content(entry)
    if entry.headers or entry.metadata:
        _check_headers(entry.headers, entry.metadata)
    if entry.checksum is not None:
        _check_checksum(entry.checksum)
    if entry.parts:
        _check_parts(entry.parts, entry.size, entry.checksum)


def check_key(key: str) -> None:
    """Raise Inconsistent unless an object can have the key *key*."""
    # No character has more than four bytes.
    if not key or (len(key) > MAX_KEY // 4 and len(key.encode()) > MAX_KEY):
        found = f"the key {key[:100]!r}… of {len(key.encode()):,} bytes" if key else "an empty key"
        raise Inconsistent(f"it has {found}, expected 1 to {MAX_KEY:,} bytes")


def check_part(part: StoredPart) -> None:
    """Raise Inconsistent unless *part* obeys every rule."""
    _check_content(part)
    _check_number(part.number)
    if part.checksum is not None:
        _check_checksum(part.checksum)


def check_upload(upload: Upload) -> None:
    """Raise Inconsistent unless *upload* obeys every rule."""
    check_key(upload.key)
    if not 0 <= upload.initiated < MAX_SECONDS * 1000:
        raise _bad_time(upload.initiated)
    _check_headers(upload.headers, upload.metadata)
    if upload.algorithm is not None and upload.algorithm not in CHECKSUM_SIZES:
        raise Inconsistent(f"its checksum algorithm is {upload.algorithm[:100]!r}")
    if upload.checksum_type not in (None, _FULL_OBJECT, _COMPOSITE):
        raise Inconsistent(f"its checksum type is {upload.checksum_type[:100]!r}")


def _check_content(content: Entry | StoredPart) -> None:
    # As a listing decodes thousands of entries, this is in as few steps as possible.
    size = 0
    extents = content.extents
    if len(extents) > MAX_EXTENTS:
        raise Inconsistent(f"it has {len(extents):,} extents, expected at most {MAX_EXTENTS:,}")
    for extent in extents:
        size += extent.length
        if not (
            0 <= extent.start < extent.start + extent.length <= extent.run_length <= MAX_SIZE
            and 0 <= extent.run_offset <= MAX_SIZE
            and len(extent.sha256) == 32
            and len(extent.blob) <= MAX_BLOB_NAME  # what is cached is small
            and _is_blob(extent.blob)
        ):
            raise _bad_extent(extent)
    if size > MAX_SIZE:
        raise Inconsistent(f"it has {size:,} bytes, expected at most {MAX_SIZE:,}")
    if size != content.size:
        raise Inconsistent(f"its extents do not add up to {content.size} bytes but to {size}")
    if not 0 <= content.modified < MAX_SECONDS * 1000:
        raise _bad_time(content.modified)
    if not _ETAG.fullmatch(content.etag):
        raise Inconsistent(f"its ETag is {content.etag[:100]!r}")


def _bad_extent(extent: Extent) -> Inconsistent:
    if not _BLOB.fullmatch(extent.blob):
        return Inconsistent(f"an extent names the blob {extent.blob[:300]!r}")
    if extent.length <= 0:
        return Inconsistent(f"an extent has {extent.length} bytes")
    if len(extent.sha256) != 32:
        return Inconsistent(f"an extent has a digest of {len(extent.sha256)} bytes, expected 32")
    return Inconsistent(f"an extent reaches beyond its run of {extent.run_length} bytes")


def _bad_time(milliseconds: int) -> Inconsistent:
    return Inconsistent(f"its time is {milliseconds} ms, expected 1970 to 9998")


# Thousands of entries share a blob and the values of their headers.
@lru_cache(maxsize=1024)
def _is_blob(name: str) -> bool:
    return _BLOB.fullmatch(name) is not None


def _check_headers(headers: Mapping[str, str], metadata: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if name not in STORED_HEADERS:
            raise Inconsistent(f"it has the header {name[:100]!r}, which S3 does not store")
        if not _HEADER_VALUE.fullmatch(value):
            raise Inconsistent(f"its header {name} has the value {value[:100]!r}")
    for name in metadata:
        if not _HEADER_NAME.fullmatch(name):
            raise Inconsistent(f"it has user metadata with the name {name[:100]!r}")


def _check_checksum(checksum: Checksum) -> None:
    pattern = _CHECKSUMS.get((checksum.algorithm, checksum.type))
    if pattern is None or not pattern.fullmatch(checksum.value):
        shown = f"{checksum.algorithm} {checksum.value} {checksum.type}"
        raise Inconsistent(f"its checksum is {shown[:200]!r}")


def _check_parts(parts: Iterable[Part], size: int, whole: Checksum | None) -> None:
    total = last = 0
    for part in parts:
        _check_number(part.number)
        if part.number <= last or part.size < 0:
            raise Inconsistent("its parts are not sorted by number, or have a negative size")
        last = part.number
        total += part.size
        if part.checksum is not None:
            _check_checksum(part.checksum)
            # The checksum of a copy is combined from those of the parts.
            if (part.checksum.algorithm, part.checksum.type) != (
                whole and whole.algorithm,
                _FULL_OBJECT,
            ):
                raise Inconsistent("its parts have other checksums than the object")
    if total != size:
        raise Inconsistent(f"its parts do not add up to {size} bytes but to {total}")


def _check_number(number: int) -> None:
    if not 1 <= number <= MAX_PARTS:
        raise Inconsistent(f"a part has the number {number}, expected 1 to {MAX_PARTS:,}")
