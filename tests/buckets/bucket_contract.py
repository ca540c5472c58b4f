"""What every bucket promises, whichever commit or index stands behind it."""

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
    """Return bytes of the object at *key*."""
    entry = await bucket.entry(key)
    return b"".join([bytes(piece) async for piece in bucket.payload(entry, start, stop)])


class BucketContract:
    """A fixture named *bucket* holds ``FILES``."""

    async def test_every_object_reads_back(self, bucket) -> None:
        """The bytes of an object are those that were put."""
        got = {key: await read(bucket, key, 0, len(data)) for key, data in FILES.items()}

        assert FILES == got

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, 1), (1, 2), (PIECE - 1, PIECE + 1), (PIECE, len(LARGE)), (5, 5)],
        ids=["first byte", "second byte", "across pieces", "last piece", "none"],
    )
    async def test_a_range_reads_just_that(self, bucket, start: int, stop: int) -> None:
        """A range is cut at its ends, whatever lies between."""
        assert LARGE[start:stop] == await read(bucket, "large", start, stop)

    async def test_payload_comes_in_bounded_pieces(self, bucket) -> None:
        """No reader has to hold more than a piece."""
        entry = await bucket.entry("large")
        sizes = [len(piece) async for piece in bucket.payload(entry, 0, len(LARGE))]

        assert max(sizes) <= PIECE

    async def test_a_key_that_is_not_there_is_missing(self, bucket) -> None:
        """Also one that others begin with, or that begins with another."""
        for key in ("a/", "A", "a/b/c", "larg"):
            with pytest.raises(KeyMissing) as caught:
                await bucket.entry(key)
            assert key == caught.value.key
            assert f"s3://{bucket.name}/{key}" in str(caught.value)

    @pytest.mark.parametrize(
        "start", ["", "a", "a\0", "a/b", "b", "large", "ü", "\U0001f600", "\U0010ffff"]
    )
    async def test_entries_begin_at_a_key(self, bucket, start: str) -> None:
        """A listing goes on from any text, in the order of UTF-8 bytes."""
        expected = [key for key in sorted(FILES, key=str.encode) if key.encode() >= start.encode()]

        assert expected == [entry.key for entry in bucket.entries(start)]
