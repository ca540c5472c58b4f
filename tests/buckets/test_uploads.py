"""Multipart uploads of the output bucket."""

import pytest
from buckets.output_builders import Refused, assemble, entry, part, refuse

from worker.buckets.index import Index
from worker.errors import UploadMissing
from worker.model import Upload


@pytest.fixture
def upload(index: Index) -> Upload:
    upload = Upload("an-id", "k", 1, {"content-type": "a/b"}, {"m": "1"}, {"t": "2"})
    index.create_upload(upload, epoch=0)
    return upload


def test_parts_are_sorted_and_the_last_one_of_a_number_is_kept(index, upload) -> None:
    for number, etag in ((2, "b"), (10, "c"), (1, "x"), (1, "a")):
        index.put_part("k", upload.id, part(number, etag), epoch=0)

    assert [part(1, "a"), part(2, "b"), part(10, "c")] == index.parts("k", upload.id)


def test_completion_is_idempotent(index, upload) -> None:
    index.put_part("k", upload.id, part(1, "a"), epoch=0)
    first = index.complete_upload("k", upload.id, make_entry=assemble, epoch=0)

    assert first == index.complete_upload("k", upload.id, make_entry=assemble, epoch=0)


@pytest.mark.parametrize("deleted", [False, True], ids=["overwritten", "deleted"])
def test_a_completed_upload_is_missing_once_its_object_is_gone(index, upload, deleted) -> None:
    """As in S3."""
    index.put_part("k", upload.id, part(1, "a"), epoch=0)
    index.complete_upload("k", upload.id, make_entry=assemble, epoch=0)
    if deleted:
        index.remove("k", epoch=0)
    else:
        index.put(entry("k", "later"), epoch=0)

    with pytest.raises(UploadMissing):
        index.complete_upload("k", upload.id, make_entry=assemble, epoch=0)


def test_a_rejected_completion_keeps_the_upload(index, upload) -> None:
    index.put_part("k", upload.id, part(1), epoch=0)

    with pytest.raises(Refused):
        index.complete_upload("k", upload.id, make_entry=lambda _u, _p: refuse(None), epoch=0)

    assert [upload] == list(index.uploads())
    assert index.get("k") is None


@pytest.mark.parametrize("key", ["k", "other"])
def test_an_unknown_upload_is_missing(index, upload, key: str) -> None:
    """It is identified by key and id."""
    unknown = upload.id if key == "other" else "unknown"

    for call in (
        lambda: index.upload(key, unknown),
        lambda: index.parts(key, unknown),
        lambda: index.put_part(key, unknown, part(1), epoch=0),
        lambda: index.abort_upload(key, unknown, epoch=0),
        lambda: index.complete_upload(key, unknown, make_entry=assemble, epoch=0),
    ):
        with pytest.raises(UploadMissing):
            call()


def test_aborting_an_upload_deletes_its_parts(index, upload) -> None:
    index.put_part("k", upload.id, part(1), epoch=0)
    index.abort_upload("k", upload.id, epoch=0)

    assert [] == list(index.uploads())
    with pytest.raises(UploadMissing):
        index.parts("k", upload.id)


@pytest.mark.parametrize("completed", [False, True], ids=["aborted", "completed"])
def test_an_upload_that_has_ended_can_be_aborted(index, upload, completed) -> None:
    """Without an effect: a client may have lost the response."""
    index.put_part("k", upload.id, part(1, "a"), epoch=0)
    if completed:
        index.complete_upload("k", upload.id, make_entry=assemble, epoch=0)
    else:
        index.abort_upload("k", upload.id, epoch=0)
    found = index.get("k")

    index.abort_upload("k", upload.id, epoch=0)

    assert found == index.get("k")
    with pytest.raises(UploadMissing):
        index.abort_upload("other", upload.id, epoch=0)


def test_uploads_are_sorted_by_key_and_id(index) -> None:
    """A listing can continue after each."""
    for key, upload_id in (("b", "2"), ("a", "9"), ("b", "1"), ("c", "0")):
        index.create_upload(Upload(upload_id, key, 1), epoch=0)

    assert ["9", "1", "2", "0"] == [upload.id for upload in index.uploads()]
    assert ["2", "0"] == [upload.id for upload in index.uploads("b", "1")]


def test_rolling_back_deletes_the_uploads_of_the_epoch(index: Index) -> None:
    """Those of earlier epochs are kept."""
    index.create_upload(Upload("old", "k", 1), epoch=0)
    index.start_epoch()
    epoch = index.epoch()
    index.create_upload(Upload("new", "k", 1), epoch=epoch)
    index.put_part("k", "new", part(1), epoch=epoch)
    index.roll_back()

    assert ["old"] == [upload.id for upload in index.uploads()]
