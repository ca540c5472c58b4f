"""Multipart uploads of the out bucket."""

import pytest
from buckets.out_scene import Refused, assemble, entry, part, refuse

from worker.buckets.index import Index
from worker.buckets.uploads import Upload, UploadMissing, new_upload_id


@pytest.fixture
def upload(index: Index) -> Upload:
    upload = Upload(new_upload_id(), "k", 1, {"content-type": "a/b"}, {"m": "1"}, {"t": "2"})
    index.uploads.begin(upload, epoch=0)
    return upload


def test_parts_come_in_order_and_the_last_of_a_number_counts(index, upload) -> None:
    """Parts arrive in any order, and may be sent again."""
    for number, etag in ((2, "b"), (10, "c"), (1, "x"), (1, "a")):
        index.uploads.put_part("k", upload.id, part(number, etag), epoch=0)

    assert [part(1, "a"), part(2, "b"), part(10, "c")] == index.uploads.parts("k", upload.id)


def test_complete_is_idempotent(index, upload) -> None:
    """A client that lost the answer asks again, and gets the same one."""
    index.uploads.put_part("k", upload.id, part(1, "a"), epoch=0)
    first = index.uploads.complete("k", upload.id, assemble=assemble, epoch=0)
    index.put(entry("k", "later"), epoch=0)

    assert first == index.uploads.complete("k", upload.id, assemble=assemble, epoch=0)
    assert entry("k", "later") == index.get("k")


def test_a_refused_completion_leaves_the_upload(index, upload) -> None:
    """A client may send the part that was wrong again."""
    index.uploads.put_part("k", upload.id, part(1), epoch=0)

    with pytest.raises(Refused):
        index.uploads.complete("k", upload.id, assemble=lambda _u, _p: refuse(None), epoch=0)

    assert [upload] == list(index.uploads.listed())
    assert index.get("k") is None


@pytest.mark.parametrize("key", ["k", "other"])
def test_an_upload_that_is_not_there_is_missing(index, upload, key: str) -> None:
    """An upload is known by key and id together."""
    unknown = upload.id if key == "other" else "unknown"

    for call in (
        lambda: index.uploads.find(key, unknown),
        lambda: index.uploads.parts(key, unknown),
        lambda: index.uploads.put_part(key, unknown, part(1), epoch=0),
        lambda: index.uploads.abort(key, unknown, epoch=0),
        lambda: index.uploads.complete(key, unknown, assemble=assemble, epoch=0),
    ):
        with pytest.raises(UploadMissing):
            call()


def test_aborted_is_gone_with_its_parts(index, upload) -> None:
    """Nothing of an aborted upload stays."""
    index.uploads.put_part("k", upload.id, part(1), epoch=0)
    index.uploads.abort("k", upload.id, epoch=0)

    assert [] == list(index.uploads.listed())
    with pytest.raises(UploadMissing):
        index.uploads.parts("k", upload.id)


def test_uploads_are_listed_by_key_and_id(index) -> None:
    """Many uploads of one key are told apart by their ids, and a listing goes on after one."""
    for key, upload_id in (("b", "2"), ("a", "9"), ("b", "1"), ("c", "0")):
        index.uploads.begin(Upload(upload_id, key, 1), epoch=0)

    assert ["9", "1", "2", "0"] == [upload.id for upload in index.uploads.listed()]
    assert ["2", "0"] == [upload.id for upload in index.uploads.listed("b", "1")]


def test_rolling_back_drops_the_uploads_of_the_try(index: Index) -> None:
    """An upload that a failed try began is gone; one from before is not."""
    index.uploads.begin(Upload("old", "k", 1), epoch=0)
    epoch = index.new_epoch()
    index.uploads.begin(Upload("new", "k", 1), epoch=epoch)
    index.uploads.put_part("k", "new", part(1), epoch=epoch)
    index.roll_back()

    assert ["old"] == [upload.id for upload in index.uploads.listed()]
