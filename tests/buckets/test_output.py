"""The output bucket: empty at first, and readable while it is written."""

import hashlib

import pytest
from buckets.bucket_contract import FILES, BucketContract, read
from builders import an_entry

from worker.buckets.index import Index
from worker.buckets.output import OutputBucket
from worker.store.blobs import BlobReader, Stage
from worker.store.opening import open_store


def put(bucket: OutputBucket, key: str, data: bytes) -> None:
    """Put an object: a small one into a pack, a large one into a blob."""
    if len(data) < 1000:
        extents = (bucket.stage.append(data),) if data else ()
    else:
        blob = bucket.stage.open()
        blob.write(data)
        extents = (blob.seal(hashlib.sha256(data).digest()),)
    bucket.index.put(an_entry(key, data, extents), epoch=bucket.index.epoch())


@pytest.fixture(params=["directory", "memory"])
def empty(request, tmp_path):
    """An empty output bucket."""
    store = open_store(tmp_path / "store" if request.param == "directory" else "memory://out")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    index = Index.create(tmp_path / "index")
    stage = Stage(store.backend, "stage", writer="0", scratch=scratch)
    yield OutputBucket(BlobReader(store.backend, scratch), index=index, stage=stage)
    stage.close()
    index.close()


class TestOutput(BucketContract):
    """An index and a stage as a bucket."""

    @pytest.fixture
    def bucket(self, empty):
        for key, data in FILES.items():
            put(empty, key, data)
        return empty


async def test_it_is_empty_at_first(empty) -> None:
    assert [] == list(empty.entries(""))


async def test_a_read_in_flight_is_a_snapshot(empty) -> None:
    put(empty, "a", b"old")
    entry = await empty.entry("a")
    put(empty, "a", b"newer")

    assert b"old" == b"".join([bytes(p) async for p in empty.payload(entry, 0, entry.size)])
    assert b"newer" == await read(empty, "a", 0, 5)


async def test_a_slice_of_extents_has_the_bytes_of_the_slice(empty) -> None:
    """As a part that is copied from a range."""
    put(empty, "source", b"0123456789")
    source = await empty.entry("source")
    (extent,) = source.extents
    entry = an_entry("slice", b"34589", (extent.slice(3, 3), extent.slice(8, 2)))
    empty.index.put(entry, epoch=empty.index.epoch())

    assert b"34589" == await read(empty, "slice", 0, 5)
    assert b"58" == await read(empty, "slice", 2, 4)
