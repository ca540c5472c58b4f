"""Segments: sorted runs of entries as bytes, where they end, and what they mean."""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import msgspec
import zstandard

from worker.errors import Unavailable
from worker.model import Checksum, Entry, Extent, Part
from worker.store.backends.base import Damaged

FORMAT = 2
AVERAGE = 4096
# A set of keys without any boundary is possible, if not by chance; no segment grows beyond this.
LIMIT = 4 * AVERAGE
LEVEL = 3

_encode = msgspec.msgpack.Encoder()
_encode_meaning = msgspec.msgpack.Encoder(order="deterministic")
_decode_row = msgspec.msgpack.Decoder()
_decode_segment = msgspec.msgpack.Decoder(tuple[int, bytes, list[str], list[msgspec.Raw]])
_decode_array = msgspec.msgpack.Decoder(list[msgspec.Raw])
_decode_format = msgspec.msgpack.Decoder(int)


class UnknownFormat(Unavailable):
    """Another version of worker wrote this."""

    def __init__(self, name: str, found: int, known: int) -> None:
        super().__init__(
            f"{name}: found format {found}, and this version of worker reads format {known}; "
            "use the version that wrote it"
        )
        self.found = found
        self.known = known


def ends_segment(key: str) -> bool:
    """Return whether a segment ends after *key*: it does for one key in 4,096, by its hash."""
    digest = hashlib.blake2b(key.encode(), digest_size=4).digest()
    return int.from_bytes(digest) % AVERAGE == 0


def row(entry: Entry) -> bytes:
    """Return all of *entry* but its key, as it stands in a segment.

    Arrays rather than maps, as there are millions of them.
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
    """Return the entry that *row* was made from."""
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
        _checksum(checksum),
        tuple([Part(number, size, _checksum(given)) for number, size, given in parts]),
    )


def meaning(key: str, row: bytes | msgspec.Raw) -> tuple[bytes, int]:
    """Return what the entry is as bytes, the same wherever its content lies, and its size.

    Key, size, ETag, headers, metadata, tags, checksums, parts, and each extent as a slice of a
    digest; neither blobs nor times.
    """
    size, etag, _, extents, *rest = _decode_row.decode(row)
    content = [(sha256, start, length) for _, _, _, sha256, start, length in extents]
    return _encode_meaning.encode((key, size, etag, content, rest)), size


class Segment:
    """A decoded segment: its keys, and its entries on demand."""

    __slots__ = ("keys", "rows", "weight")

    def __init__(self, keys: list[str], rows: Sequence[bytes | msgspec.Raw], weight: int) -> None:
        """Take sorted *keys*, a row for each, and about the bytes that they take in memory."""
        self.keys = keys
        self.rows = rows
        self.weight = weight

    def find(self, key: str) -> Entry | None:
        """Return the entry of *key*."""
        index = bisect_left(self.keys, key)
        if index < len(self.keys) and self.keys[index] == key:
            return self.entry(index)
        return None

    def entry(self, index: int) -> Entry:
        """Return the entry at *index*."""
        return entry(self.keys[index], self.rows[index])


def encode(salt: bytes, keys: Sequence[str], rows: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Return the bytes of a segment: msgpack of format, salt, keys and rows, compressed."""
    raw = [row if isinstance(row, msgspec.Raw) else msgspec.Raw(row) for row in rows]
    return compress(_encode.encode((FORMAT, salt, keys, raw)))


def decode(name: str, data: bytes) -> Segment:
    """Return the segment that *data* holds; *name* is for error messages."""
    raw = decompress(name, data)
    keys, rows = _parsed(name, raw)
    # A key and a row are an object each; the rows point into what was decompressed.
    return Segment(keys, rows, weight=len(raw) + sum(map(len, keys)) + 130 * len(keys))


def compress(data: bytes) -> bytes:
    """Return *data* compressed, with its length in front."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def decompress(name: str, data: bytes) -> bytes:
    """Return what was compressed; *name* is for error messages."""
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise Damaged(name, f"it can't be decompressed ({error})") from error


def digest(meanings: Sequence[bytes]) -> bytes:
    """Return the digest of a segment's meaning, from that of its entries in order."""
    return hashlib.sha256(b"".join(meanings)).digest()


def check_format(name: str, raw: bytes, known: int) -> None:
    """Raise UnknownFormat unless the msgpack array *raw* begins with the format *known*."""
    found = _decode_format.decode(_decode_array.decode(raw)[0])
    if found != known:
        raise UnknownFormat(name, found, known)


def _parsed(name: str, raw: bytes) -> tuple[list[str], list[msgspec.Raw]]:
    try:
        check_format(name, raw, FORMAT)
        _, _, keys, rows = _decode_segment.decode(raw)
    except (msgspec.DecodeError, IndexError) as error:
        raise Damaged(name, f"this is not a segment ({error})") from error
    if len(keys) != len(rows):
        raise Damaged(name, f"found {len(keys)} keys and {len(rows)} rows")
    return keys, rows


def _checksum_row(checksum: Checksum | None) -> Any:
    return checksum and (checksum.algorithm, checksum.value, checksum.type)


def _checksum(row: list[str] | None) -> Checksum | None:
    return Checksum(*row) if row else None
