"""Input buckets: a commit, read-only."""

import pytest
from buckets.bucket_contract import FILES, BucketContract
from builders import a_commit

from worker.buckets.bucket import InputBucket
from worker.store.blobs import BlobReader
from worker.store.opening import open_store


class TestInput(BucketContract):
    """The tree of a commit as a bucket."""

    @pytest.fixture(params=["directory", "memory"])
    def store(self, request, tmp_path):
        return open_store(tmp_path if request.param == "directory" else "memory://input")

    @pytest.fixture
    def bucket(self, store, tmp_path):
        commit = a_commit(store, FILES)
        return InputBucket("labresults", BlobReader(store.backend, tmp_path), store.tree(commit))

    async def test_it_is_a_snapshot_of_the_pinned_commit(self, store, bucket) -> None:
        """Moving the branch does not change it."""
        a_commit(store, {"a": b"two"})

        assert b"one" == await _first(bucket, "a")


async def _first(bucket, key: str) -> bytes:
    entry = await bucket.entry(key)
    return b"".join([bytes(piece) async for piece in bucket.payload(entry, 0, entry.size)])
