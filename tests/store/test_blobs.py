"""Stages, and the reader of blobs."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worker.errors import Conflict, Invalid, Unavailable
from worker.model import Extent
from worker.store import blobs
from worker.store.backends.base import Damaged
from worker.store.blobs import BlobReader, Stage, check, drop_stage
from worker.store.opening import open_store

READ_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from worker.store.blobs import BlobReader
from worker.store.opening import open_store
where, scratch, blob, offset, length = sys.argv[1:]
reader = BlobReader(open_store(where).backend, Path(scratch))
sys.stdout.buffer.write(reader.read(blob, int(offset), int(length)))
"""


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


@pytest.fixture
def stage(store, scratch):
    return Stage(store.backend, "job-1", writer="w", scratch=scratch)


@pytest.fixture
def reader(store, scratch):
    return BlobReader(store.backend, scratch)


def read(reader: BlobReader, extent: Extent) -> bytes:
    return reader.read(extent.blob, extent.offset, extent.length)


def stored_blobs(store) -> list[str]:
    """Return the names of the blobs in the store, without those of chunks."""
    listed = store.backend.list_from("blobs/")
    return sorted({"/".join(each.name.split("/")[:3]) for each in listed})


def test_appended_objects_share_a_pack_and_can_be_read_at_once(stage, reader):
    one, two = stage.append(b"one"), stage.append(b"two!")

    assert (one.blob, 0, 3) == (two.blob, one.offset, two.offset)
    assert (b"one", b"two!") == (read(reader, one), read(reader, two))
    assert hashlib.sha256(b"two!").digest() == two.sha256
    assert two.is_whole_run


def test_large_objects_have_separate_blobs(stage, reader):
    """Several can be written at the same time."""
    first, second = stage.open(), stage.open()
    first.write(b"1" * 1000)
    second.write(b"2")
    first.write(b"3")
    extents = [second.seal(b"\2" * 32), first.seal(b"\1" * 32)]

    assert [b"2", b"1" * 1000 + b"3"] == [read(reader, extent) for extent in extents]
    assert [b"\2" * 32, b"\1" * 32] == [extent.sha256 for extent in extents]


def test_a_flushed_stage_is_readable_on_other_machines(stage, store, tmp_path):
    """They have another scratch directory."""
    writer = stage.open()
    writer.write(b"large")
    extents = [stage.append(b"small"), writer.seal(b"\0" * 32)]
    stage.flush()
    elsewhere = BlobReader(store.backend, tmp_path / "another")

    assert [b"small", b"large"] == [read(elsewhere, extent) for extent in extents]
    assert sorted(f"blobs/{extent.blob}" for extent in extents) == stored_blobs(store)


def test_a_stage_can_be_written_and_flushed_repeatedly(stage, store, reader):
    stage.flush()
    first = stage.append(b"1")
    stage.flush()
    second = stage.append(b"2")
    stage.flush()
    stage.flush()

    assert (b"1", b"2") == (read(reader, first), read(reader, second))
    assert 2 == len(stored_blobs(store))


def test_a_full_pack_is_followed_by_another(stage, store, monkeypatch):
    monkeypatch.setattr(blobs, "PACK_LIMIT", 10)
    extents = [stage.append(b"123456") for _ in range(5)]
    stage.flush()

    assert 3 == len({extent.blob for extent in extents}) == len(stored_blobs(store))


def test_flush_removes_spooled_packs_from_the_scratch_directory(stage, scratch):
    stage.append(b"1")
    stage.flush()

    assert [] == [path for path in scratch.rglob("*") if path.is_file()]


def test_other_processes_of_the_machine_read_unflushed_objects(tmp_path, scratch):
    store = open_store(tmp_path / "store")
    extent = Stage(store.backend, "job-1", writer="w", scratch=scratch).append(b"hello")
    command = [
        sys.executable,
        "-c",
        READ_IN_ANOTHER_PROCESS,
        store.url,
        scratch,
        extent.blob,
        "1",
        "3",
    ]

    assert b"ell" == subprocess.check_output(command, cwd=Path(__file__).parents[2])


def test_each_writer_of_a_stage_has_its_own_blobs(store, scratch):
    extents = [
        Stage(store.backend, "job-1", writer=f"w{n}", scratch=scratch).append(b"%d" % n)
        for n in range(2)
    ]

    assert extents[0].blob != extents[1].blob


def test_a_second_writer_of_the_same_name_is_rejected(local, scratch):
    Stage(local.backend, "job-1", writer="w", scratch=scratch).append(b"1")

    with pytest.raises(Conflict):
        Stage(local.backend, "job-1", writer="w", scratch=scratch).append(b"2")


def test_a_discarded_blob_is_deleted(stage, store):
    writer = stage.open()
    writer.write(b"half")
    writer.discard()
    stage.flush()

    assert [] == stored_blobs(store)


def test_drop_deletes_all_blobs_of_the_stage_and_no_others(stage, store, scratch):
    """Blobs that are not sealed are deleted too."""
    other = Stage(store.backend, "job-10", writer="w", scratch=scratch)
    other.append(b"stays")
    stage.append(b"1")
    writer = stage.open()
    writer.seal(b"\0" * 32)
    for each in (stage, other):
        each.flush()
    drop_stage(store.backend, "job-1")
    drop_stage(store.backend, "no-such-stage")

    assert ["blobs/job-10/w-0"] == stored_blobs(store)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 101])
def test_illegal_names_of_stages_and_writers_are_rejected(store, scratch, name):
    with pytest.raises(Invalid):
        Stage(store.backend, name, writer="w", scratch=scratch)
    with pytest.raises(Invalid):
        Stage(store.backend, "s", writer=name, scratch=scratch)
    with pytest.raises(Invalid):
        drop_stage(store.backend, name)


def test_read_nowait_returns_bytes_in_the_page_cache(stage, reader):
    extent = stage.append(b"0123456789")
    found = reader.read_nowait(extent.blob, 3, 4)

    # Some file systems do not support RWF_NOWAIT.
    assert found in (b"3456", None)


def test_read_nowait_returns_none_for_a_remote_blob(stage, store, tmp_path):
    extent = stage.append(b"0123456789")
    stage.flush()
    if store.backend.path("any") is None:
        assert None is BlobReader(store.backend, tmp_path / "x").read_nowait(extent.blob, 0, 10)


def test_reading_beyond_the_end_of_a_blob_raises_damaged(stage, reader):
    extent = stage.append(b"12345")
    stage.flush()

    for offset in (3, 5, 9):
        with pytest.raises(Unavailable, match=extent.blob):
            reader.read(extent.blob, offset, 4)


def test_reading_a_missing_blob_raises_damaged(reader):
    """Entries name only blobs that existed."""
    with pytest.raises(Damaged, match="blobs/job-9/w-0: the object is missing"):
        reader.read("job-9/w-0", 0, 1)


def test_preflight_deletes_what_it_wrote_and_raises_the_error_of_the_store(store, stage, tmp_path):
    stage.preflight()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "blobs").write_bytes(b"in the way")

    assert [] == stored_blobs(store)
    with pytest.raises(Unavailable, match="blobs"):
        Stage(
            open_store(tmp_path / "full").backend, "job", writer="w", scratch=tmp_path
        ).preflight()


def test_verified_raises_damaged_instead_of_the_last_piece_of_a_run(stage, reader, store):
    """A slice of a run cannot be verified."""
    extent = stage.append(b"12345")
    stage.flush()
    store.backend.put(next(store.backend.list_from("blobs/")).name, b"12045")
    pieces = reader.verified((extent,))

    with pytest.raises(Damaged, match=extent.blob):
        next(pieces)
    with pytest.raises(Damaged, match=extent.blob):
        check((extent,), b"12045")
    assert [b"45"] == list(reader.verified((extent.slice(3, 2),)))
    check((extent,), b"12345")


def test_pieces_yields_extents_in_order_in_bounded_pieces(stage, reader):
    extents = [stage.append(b"abcdefgh").slice(1, 6), stage.append(b"123")]

    assert [b"bcde", b"fg", b"123"] == list(reader.pieces(extents, piece=4))


def test_a_reader_keeps_a_bounded_number_of_files_open(local, scratch):
    extents = []
    for n in range(20):
        extents.append(
            Stage(local.backend, "s", writer=f"w{n}", scratch=scratch).append(b"%02d" % n)
        )
    reader = BlobReader(local.backend, scratch, files=4)
    before = len(os.listdir("/proc/self/fd"))
    found = [read(reader, extent) for extent in extents * 2]

    assert [b"%02d" % n for n in range(20)] * 2 == found
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    reader.close()
    assert before == len(os.listdir("/proc/self/fd"))


def test_a_file_evicted_from_the_cache_is_read_to_the_end_by_another_thread(local, scratch):
    extents = [
        Stage(local.backend, "s", writer=f"w{n}", scratch=scratch).append(b"%02d" % n)
        for n in range(10)
    ]
    reader = BlobReader(local.backend, scratch, files=1)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda extent: read(reader, extent), extents * 100))
    assert [b"%02d" % n for n in range(10)] * 100 == found
