"""Segments: the format of sorted runs of entries, their boundaries and their digests."""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
import zstandard

from worker.errors import Unavailable
from worker.model import Checksum, Entry, Extent, Part
from worker.store.backends.base import Damaged

FORMAT = 2
AVERAGE = 4096
# The most entries of a segment, as an adversary can choose keys without any boundary.
LIMIT = 4 * AVERAGE
LEVEL = 3

_encode = msgspec.msgpack.Encoder()
_encode_meaning = msgspec.msgpack.Encoder(order="deterministic")
_decode_row = msgspec.msgpack.Decoder()
_decode_segment = msgspec.msgpack.Decoder(tuple[int, bytes, list[str], list[msgspec.Raw]])
_decode_array = msgspec.msgpack.Decoder(list[msgspec.Raw])
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
    """Return the entry that *row* encodes."""
    size, etag, modified, extents, headers, metadata, tags, checksum, parts = _decode_row.decode(
        row
    )
    return Entry(
        key,
        size,
        etag,
        modified,
        tuple([Extent(*extent) for extent in extents]),
        headers,
        metadata,
        tags,
        Checksum(*checksum) if checksum else None,
        tuple([Part(n, size, Checksum(*c) if c else None) for n, size, c in parts]),
    )


def meaning(key: str, row: bytes | msgspec.Raw) -> tuple[bytes, int]:
    """Return a canonical encoding of the entry without time and location, and its size in bytes.

    It has the key, size, ETag, headers, metadata, tags, checksums, parts, and each extent as a
    slice of a digest. So it is equal for equal files in every store.
    """
    size, etag, _, extents, *rest = _decode_row.decode(row)
    content = [(sha256, start, length) for _, _, _, sha256, start, length in extents]
    return _encode_meaning.encode((key, size, etag, content, rest)), size


@attrs.frozen(eq=False)
class Segment:
    """A decoded segment: its keys, and its entries, which are decoded on demand."""

    keys: list[str]
    """Sorted."""
    rows: Sequence[bytes | msgspec.Raw]
    """One for each key."""
    weight: int
    """The approximate size in memory, in bytes."""

    def find(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None."""
        index = bisect_left(self.keys, key)
        if index < len(self.keys) and self.keys[index] == key:
            return entry(key, self.rows[index])
        return None

    def entry(self, index: int) -> Entry:
        """Return the entry at *index*."""
        return entry(self.keys[index], self.rows[index])


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
    except (msgspec.DecodeError, IndexError) as error:
        raise Damaged(name, f"this is not a segment ({error})") from error
    if len(keys) != len(rows):
        raise Damaged(name, f"found {len(keys)} keys and {len(rows)} rows")
    # Each key and each row is an object; rows are views of the decompressed bytes.
    return Segment(keys, rows, weight=len(raw) + sum(map(len, keys)) + 130 * len(keys))


def compress(data: bytes) -> bytes:
    """Return *data* as a zstd frame with its content size."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def decompress(name: str, data: bytes) -> bytes:
    """Return the content of a zstd frame, or raise Damaged; *name* is for error messages."""
    try:
        return zstandard.ZstdDecompressor().decompress(data)
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
