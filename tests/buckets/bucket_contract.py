"""The contract of buckets."""

import pytest

from worker.buckets.bucket import PIECE
from worker.errors import KeyMissing

LARGE = bytes(range(256)) * (PIECE // 256) + b"and a little more"
FILES = {
    "a": b"one",
    "a/b": b"below",
    "empty/": b"",
    "large": LARGE,
    "ü": b"after all that is ASCII",
    "\U0001f600": b"after all that has two bytes",
}


async def read(bucket, key: str, start: int, stop: int) -> bytes:
    """Return the bytes of an object, or a range of it."""
    entry = await bucket.entry(key)
    return b"".join([bytes(piece) async for piece in bucket.payload(entry, start, stop)])


class BucketContract:
    """Tests of a fixture *bucket* that contains ``FILES``."""

    async def test_every_object_is_readable(self, bucket) -> None:
        got = {key: await read(bucket, key, 0, len(data)) for key, data in FILES.items()}

        assert FILES == got

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, 1), (1, 2), (PIECE - 1, PIECE + 1), (PIECE, len(LARGE)), (5, 5)],
        ids=["first byte", "second byte", "across pieces", "last piece", "none"],
    )
    async def test_a_range_has_exactly_its_bytes(self, bucket, start: int, stop: int) -> None:
        assert LARGE[start:stop] == await read(bucket, "large", start, stop)

    async def test_payload_is_read_in_bounded_pieces(self, bucket) -> None:
        entry = await bucket.entry("large")
        sizes = [len(piece) async for piece in bucket.payload(entry, 0, len(LARGE))]

        assert max(sizes) <= PIECE

    async def test_a_missing_key_raises_key_missing(self, bucket) -> None:
        """Also a prefix of a key, and a key with a prefix that is one."""
        for key in ("a/", "A", "a/b/c", "larg"):
            with pytest.raises(KeyMissing) as caught:
                await bucket.entry(key)
            assert key == caught.value.key
            assert f"s3://{bucket.name}/{key}" in str(caught.value)

    @pytest.mark.parametrize(
        "start", ["", "a", "a\0", "a/b", "b", "large", "ü", "\U0001f600", "\U0010ffff"]
    )
    async def test_entries_start_at_any_key(self, bucket, start: str) -> None:
        """In the order of UTF-8 bytes."""
        expected = [key for key in sorted(FILES, key=str.encode) if key.encode() >= start.encode()]

        assert expected == [entry.key for entry in bucket.entries(start)]
