"""Input buckets: a pinned commit, read-only."""

import pytest
from buckets.bucket_contract import FILES, BucketContract
from builders import a_commit

from worker.buckets.bucket import InputBucket
from worker.store.blobs import BlobReader
from worker.store.repository import open_store


class TestInput(BucketContract):
    """A commit's tree as a bucket."""

    @pytest.fixture(params=["directory", "memory"])
    def store(self, request, tmp_path):
        return open_store(tmp_path if request.param == "directory" else "memory://input")

    @pytest.fixture
    def bucket(self, store, tmp_path):
        commit = a_commit(store, FILES)
        return InputBucket("labresults", BlobReader(store.backend, tmp_path), store.tree(commit))

    async def test_it_shows_the_pinned_commit_whatever_happens_to_its_branch(
        self, store, bucket
    ) -> None:
        """A commit is immutable, and the bucket is a commit, not a branch."""
        a_commit(store, {"a": b"two"})

        assert b"one" == await _first(bucket, "a")


async def _first(bucket, key: str) -> bytes:
    entry = await bucket.entry(key)
    return b"".join([bytes(piece) async for piece in bucket.payload(entry, 0, entry.size)])
