"""Segments: the format of sorted runs of entries, their boundaries and their digests."""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from operator import lt
from typing import Annotated, Any

import attrs
import msgspec
import zstandard
from msgspec import Meta

from worker.errors import Unavailable
from worker.model import MAX_KEY, Checksum, Entry, Extent, Part
from worker.store.backends.base import Damaged
from worker.store.entry_rules import (
    MAX_EXTENTS,
    MAX_HEADERS,
    MAX_METADATA,
    MAX_PARTS,
    MAX_TAGS,
    UNDECODABLE,
    check_entry,
    known_headers,
)

FORMAT = 2
AVERAGE = 4096
# The most entries of a segment, as an adversary can choose keys without any boundary.
LIMIT = 4 * AVERAGE
WEIGHT_LIMIT = 16 << 20
"""Bytes of meanings after which a segment ends, as an entry can have a hundred thousand extents."""
MAX_STORED = MAX_DECODED = 128 << 20
"""The most bytes of a segment or root, compressed and not: a row has less than six times the size
of its meaning, except for the last one, which has at most some 30 MB."""
LEVEL = 3

_Checksum = tuple[str, str, str] | None
_Row = tuple[
    int,
    str,
    int,
    Annotated[list[tuple[str, int, int, bytes, int, int]], Meta(max_length=MAX_EXTENTS)],
    Annotated[dict[str, str], Meta(max_length=MAX_HEADERS)],
    Annotated[dict[str, str], Meta(max_length=MAX_METADATA)],
    Annotated[dict[str, str], Meta(max_length=MAX_TAGS)],
    _Checksum,
    Annotated[list[tuple[int, int, _Checksum]], Meta(max_length=MAX_PARTS)],
]
"""A row as `row` encodes it. The decoder compares lengths before it makes any item."""

_encode = msgspec.msgpack.Encoder()
_encode_meaning = msgspec.msgpack.Encoder(order="deterministic")
_decode_row = msgspec.msgpack.Decoder(_Row)
_decode_segment = msgspec.msgpack.Decoder(
    tuple[
        int,
        bytes,
        Annotated[list[str], Meta(min_length=1, max_length=LIMIT)],
        Annotated[list[msgspec.Raw], Meta(max_length=LIMIT)],
    ]
)
_decode_array = msgspec.msgpack.Decoder(Annotated[list[msgspec.Raw], Meta(max_length=16)])
_decode_format = msgspec.msgpack.Decoder(int)


class UnknownFormat(Unavailable):
    """An object has a format that this version of worker does not read."""

    def __init__(self, name: str, found: int, known: int) -> None:
        super().__init__(
            f"{name}: found format {found}, expected format {known}; "
            "use the version of worker that wrote it"
        )
        self.found = found
        self.known = known


def ends_segment(key: str) -> bool:
    """Return whether a segment ends after *key*: one key in 4,096 is a boundary, by its hash."""
    digest = hashlib.blake2b(key.encode(), digest_size=4).digest()
    return int.from_bytes(digest) % AVERAGE == 0


def row(entry: Entry) -> bytes:
    """Return all of *entry* but its key in the format of a segment.

    Rows are arrays and not maps, as there are millions of them.
    """
    return _encode.encode(
        (
            entry.size,
            entry.etag,
            entry.modified,
            [
                (e.blob, e.run_offset, e.run_length, e.sha256, e.start, e.length)
                for e in entry.extents
            ],
            entry.headers,
            entry.metadata,
            entry.tags,
            _checksum_row(entry.checksum),
            [(part.number, part.size, _checksum_row(part.checksum)) for part in entry.parts],
        )
    )


def entry(key: str, row: bytes | msgspec.Raw) -> Entry:
    """Return the entry that *row* encodes; raise one of UNDECODABLE.

    Headers that S3 does not store are left out, so that no response has them.
    """
    return _entry(key, _decode_row.decode(row))


def _entry(key: str, fields: _Row) -> Entry:
    size, etag, modified, extents, headers, metadata, tags, checksum, parts = fields
    found = Entry(
        key,
        size,
        etag,
        modified,
        tuple([Extent(*extent) for extent in extents]),
        known_headers(headers),
        metadata,
        tags,
        Checksum(*checksum) if checksum else None,
        tuple([Part(n, size, Checksum(*c) if c else None) for n, size, c in parts]),
    )
    check_entry(found)
    return found


def meaning(key: str, row: bytes | msgspec.Raw) -> tuple[bytes, int]:
    """Return a canonical encoding of the entry without time and location, and its size in bytes.

    It has the key, size, ETag, headers, metadata, tags, checksums, parts, and each extent as a
    slice of a digest. So it is equal for equal files in every store. Raises one of UNDECODABLE.
    """
    return _meaning(key, _decode_row.decode(row))


def _meaning(key: str, fields: _Row) -> tuple[bytes, int]:
    size, etag, _, extents, *rest = fields
    content = [(sha256, start, length) for _, _, _, sha256, start, length in extents]
    return _encode_meaning.encode((key, size, etag, content, rest)), size


@attrs.frozen(eq=False)
class Segment:
    """A decoded segment: its keys, and its entries, which are decoded on demand."""

    name: str
    """The name of its object, for error messages."""
    keys: list[str]
    """At least one, sorted and unique."""
    rows: Sequence[bytes | msgspec.Raw]
    """One for each key."""
    weight: int
    """The approximate size in memory, in bytes."""

    def find(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None; raise Damaged."""
        index = bisect_left(self.keys, key)
        if index < len(self.keys) and self.keys[index] == key:
            return self.entry(index)
        return None

    def entry(self, index: int) -> Entry:
        """Return the entry at *index*; raise Damaged."""
        try:
            return entry(self.keys[index], self.rows[index])
        except UNDECODABLE as error:
            raise self.damaged(index, error) from error

    def meaning(self, index: int) -> tuple[bytes, int]:
        """Return the meaning and the size of the entry at *index*; raise Damaged.

        The entry obeys every rule, so that no new segment contains one that cannot be read.
        """
        key = self.keys[index]
        try:
            fields = _decode_row.decode(self.rows[index])
            _entry(key, fields)
            return _meaning(key, fields)
        except UNDECODABLE as error:
            raise self.damaged(index, error) from error

    def damaged(self, index: int, error: Exception) -> Damaged:
        """Return the error of the entry at *index*, which cannot be decoded."""
        return Damaged(self.name, f"{self.keys[index]!r}: {error}")


def encode(salt: bytes, keys: Sequence[str], rows: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Return the bytes of a segment: compressed msgpack of format, salt, keys and rows."""
    raw = [row if isinstance(row, msgspec.Raw) else msgspec.Raw(row) for row in rows]
    return compress(_encode.encode((FORMAT, salt, keys, raw)))


def decode(name: str, data: bytes) -> Segment:
    """Return the segment with the bytes *data*; *name* is for error messages.

    Raises Damaged and UnknownFormat.
    """
    raw = decompress(name, data)
    try:
        check_format(name, raw, FORMAT)
        _, _, keys, rows = _decode_segment.decode(raw)
    except (*UNDECODABLE, IndexError) as error:
        raise Damaged(name, f"this is not a segment ({error})") from error
    if len(keys) != len(rows):
        raise Damaged(name, f"found {len(keys)} keys and {len(rows)} rows")
    if max(map(len, keys)) > MAX_KEY:
        raise Damaged(name, f"it has a key of more than {MAX_KEY:,} characters")
    # Searches rely on it; in order of code points, which is that of the bytes in UTF-8.
    if not all(map(lt, keys, islice(keys, 1, None))):
        raise Damaged(name, "its keys are not sorted and unique")
    # Each key and each row is an object; rows are views of the decompressed bytes.
    return Segment(name, keys, rows, weight=len(raw) + sum(map(len, keys)) + 130 * len(keys))


def compress(data: bytes) -> bytes:
    """Return *data* as a zstd frame with its content size."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def decompress(name: str, data: bytes, *, limit: int = MAX_DECODED) -> bytes:
    """Return the content of a zstd frame, or raise Damaged; *name* is for error messages.

    The frame claims its size (RFC 8878, 3.1.1.1.4). That of more than *limit* bytes is not
    decompressed, and the decompressor writes no more than was claimed: a few kilobytes can expand
    to gigabytes.
    """
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size > limit:
            raise Damaged(
                name, f"it claims to expand to {size:,} bytes, expected at most {limit:,}"
            )
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(name, f"it cannot be decompressed ({error})") from error


def digest(meanings: Sequence[bytes]) -> bytes:
    """Return the digest of a segment from the meanings of its entries, in order."""
    return hashlib.sha256(b"".join(meanings)).digest()


def check_format(name: str, raw: bytes, known: int) -> None:
    """Raise UnknownFormat unless the first item of the msgpack array *raw* is *known*."""
    found = _decode_format.decode(_decode_array.decode(raw)[0])
    if found != known:
        raise UnknownFormat(name, found, known)


def _checksum_row(checksum: Checksum | None) -> Any:
    return checksum and (checksum.algorithm, checksum.value, checksum.type)
