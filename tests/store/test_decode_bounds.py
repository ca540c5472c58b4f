"""Bounds of what a store can make its reader do: bytes, items and requests."""

import struct
import tracemalloc
from typing import cast

import msgspec
import obstore
import pytest
import zstandard

from worker.model import CommitName, Repo
from worker.store import commits, segments
from worker.store.backends import remote
from worker.store.backends.base import Backend, Damaged, read_whole
from worker.store.backends.remote import OutOfOrder

LIMIT = 10_000


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def frame_that_claims(size: int) -> bytes:
    """Return a zstd frame with one raw block, whose header has another size of the content."""
    data = compressed(b"1" * 300)
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + data[7:]


BOMBS = {
    "expands": compressed(bytes(LIMIT + 1)),
    "claims 2^60": frame_that_claims(1 << 60),
    "claims 2^64 - 1": frame_that_claims((1 << 64) - 1),
    "claims less than it has": frame_that_claims(5),
    "claims nothing": zstandard.ZstdCompressor(write_content_size=False).compress(bytes(LIMIT)),
    "a second frame": compressed(b"1") + compressed(bytes(LIMIT)),
    "no frame": b"1" * 100,
    "empty": b"",
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_a_frame_beyond_the_limit_is_damage(data):
    tracemalloc.start()
    with pytest.raises(Damaged, match="segments/1"):
        segments.decompress("segments/1", data, limit=LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 10 * LIMIT


def test_a_frame_at_the_limit_is_decompressed():
    assert bytes(LIMIT) == segments.decompress("s", compressed(bytes(LIMIT)), limit=LIMIT)


def test_an_array_of_many_items_is_refused_before_an_item_is_made():
    many = b"\xdd" + struct.pack(">I", segments.LIMIT + 1) + b"\xa0" * (segments.LIMIT + 1)
    data = compressed(b"\x94\x02\xc4\x00" + 2 * many)

    with pytest.raises(Damaged, match="length"):
        segments.decode("s", data)


@pytest.mark.parametrize(
    "keys", [["b", "a"], ["a", "a"], []], ids=["unsorted", "duplicate", "none"]
)
def test_a_segment_has_sorted_keys(keys):
    with pytest.raises(Damaged):
        segments.decode("s", segments.encode(b"", keys, [msgspec.msgpack.encode(1)] * len(keys)))


class Endless:
    """A backend whose objects never end; it counts the bytes that were asked for."""

    asked = 0

    def get(self, _name, start=0, stop=None):
        assert stop is not None
        self.asked += stop - start
        return bytes(stop - start)


def test_an_object_of_any_size_is_read_up_to_its_limit():
    backend = Endless()
    with pytest.raises(Damaged, match="larger than 1,000 bytes"):
        read_whole(cast(Backend, backend), "a", 1000)

    assert 1001 == backend.asked


def test_a_response_longer_than_its_range_is_read_up_to_the_first_surplus_piece():
    taken = []

    def pieces():
        while True:
            taken.append(1)
            yield b"12345"

    with pytest.raises(Damaged, match="more than the 12 bytes"):
        remote._at_most(12, pieces(), "a")
    assert 3 == len(taken)


def test_a_listing_that_repeats_itself_ends(monkeypatch):
    backend = remote.open_remote("memory://endless", {})
    backend.put("a/1", b"")
    pages = []
    original = obstore.list

    def endless(*args, **options):
        page = next(iter(original(*args, **options)))
        while True:
            pages.append(1)
            yield page

    monkeypatch.setattr(obstore, "list", endless)

    with pytest.raises(OutOfOrder, match="a/1"):
        list(backend.list_from("a/"))
    assert 2 == len(pages)


def test_a_commit_of_many_values_is_refused_before_one_is_made(monkeypatch):
    monkeypatch.setattr(commits, "MAX_VALUES", 1000)
    name = CommitName(Repo("default", "lab"), "0" * 32)

    with pytest.raises(Damaged, match="more than 1,000 values"):
        commits.decode(b'{"job": {"a": [' + b"[]," * 1000 + b"[]]}}", name, "commits/1")
