"""Stages and the reader of blobs."""

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
from worker.store.repository import open_store

READ_ELSEWHERE = """
import sys
from pathlib import Path
from worker.store.blobs import BlobReader
from worker.store.repository import open_store
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


def stored(store) -> list[str]:
    """Return the names of the blobs in the store, whether they are whole or in chunks."""
    listed = store.backend.list_from("blobs/")
    return sorted({"/".join(each.name.split("/")[:3]) for each in listed})


def test_small_objects_share_a_blob(stage, reader):
    """What is appended lies one after the other in one blob, and can be read at once."""
    one, two = stage.append(b"one"), stage.append(b"two!")

    assert (one.blob, 0, 3) == (two.blob, one.offset, two.offset)
    assert (b"one", b"two!") == (read(reader, one), read(reader, two))
    assert hashlib.sha256(b"two!").digest() == two.sha256
    assert two.is_whole_run


def test_large_objects_have_a_blob_of_their_own(stage, reader):
    """Several large objects can be written side by side."""
    first, second = stage.open(), stage.open()
    first.write(b"1" * 1000)
    second.write(b"2")
    first.write(b"3")
    extents = [second.seal(b"\2" * 32), first.seal(b"\1" * 32)]

    assert [b"2", b"1" * 1000 + b"3"] == [read(reader, extent) for extent in extents]
    assert [b"\2" * 32, b"\1" * 32] == [extent.sha256 for extent in extents]


def test_all_is_in_the_store_once_settled(stage, store, tmp_path):
    """After settle, another machine, which has another scratch, reads everything."""
    writer = stage.open()
    writer.write(b"large")
    extents = [stage.append(b"small"), writer.seal(b"\0" * 32)]
    stage.flush()
    elsewhere = BlobReader(store.backend, tmp_path / "another")

    assert [b"small", b"large"] == [read(elsewhere, extent) for extent in extents]
    assert sorted(f"blobs/{extent.blob}" for extent in extents) == stored(store)


def test_a_stage_goes_on_after_it_settled(stage, store, reader):
    """A stage can be settled again and again."""
    stage.flush()
    first = stage.append(b"1")
    stage.flush()
    second = stage.append(b"2")
    stage.flush()
    stage.flush()

    assert (b"1", b"2") == (read(reader, first), read(reader, second))
    assert 2 == len(stored(store))


def test_packs_stay_bounded(stage, store, monkeypatch):
    """A pack that is large enough is left alone, and another is begun."""
    monkeypatch.setattr(blobs, "PACK_LIMIT", 10)
    extents = [stage.append(b"123456") for _ in range(5)]
    stage.flush()

    assert 3 == len({extent.blob for extent in extents}) == len(stored(store))


def test_spooled_packs_leave_the_scratch(stage, scratch):
    """When a stage is settled, nothing of it stays in the scratch directory."""
    stage.append(b"1")
    stage.flush()

    assert [] == [path for path in scratch.rglob("*") if path.is_file()]


def test_other_processes_read_at_once(tmp_path, scratch):
    """What was appended, and not settled, is read by other processes of the machine."""
    from worker.store.repository import open_store

    store = open_store(tmp_path / "store")
    extent = Stage(store.backend, "job-1", writer="w", scratch=scratch).append(b"hello")
    command = [sys.executable, "-c", READ_ELSEWHERE, store.url, scratch, extent.blob, "1", "3"]

    assert b"ell" == subprocess.check_output(command, cwd=Path(__file__).parents[2])


def test_writers_of_one_stage_keep_apart(store, scratch):
    """Each writer has blobs of its own."""
    extents = [
        Stage(store.backend, "job-1", writer=f"w{n}", scratch=scratch).append(b"%d" % n)
        for n in range(2)
    ]

    assert extents[0].blob != extents[1].blob


def test_two_writers_of_one_name_are_told(local, scratch):
    """The second writer of a name is refused before it can write over the first."""
    Stage(local.backend, "job-1", writer="w", scratch=scratch).append(b"1")

    with pytest.raises(Conflict):
        Stage(local.backend, "job-1", writer="w", scratch=scratch).append(b"2")


def test_discarded_is_gone(stage, store):
    """A large object that broke off leaves no blob."""
    writer = stage.open()
    writer.write(b"half")
    writer.discard()
    stage.flush()

    assert [] == stored(store)


def test_a_dropped_stage_is_gone(stage, store, scratch):
    """To drop a stage deletes all its blobs, sealed or not, and no other's."""
    other = Stage(store.backend, "job-10", writer="w", scratch=scratch)
    other.append(b"stays")
    stage.append(b"1")
    writer = stage.open()
    writer.seal(b"\0" * 32)
    for each in (stage, other):
        each.flush()
    drop_stage(store.backend, "job-1")
    drop_stage(store.backend, "never-was")

    assert ["blobs/job-10/w-0"] == stored(store)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 101])
def test_refuses_names_that_are_none(store, scratch, name):
    """Ids of stages and names of writers can't be paths."""
    with pytest.raises(Invalid):
        Stage(store.backend, name, writer="w", scratch=scratch)
    with pytest.raises(Invalid):
        Stage(store.backend, "s", writer=name, scratch=scratch)
    with pytest.raises(Invalid):
        drop_stage(store.backend, name)


def test_reads_without_waiting_what_is_in_memory(stage, reader):
    """What was just written lies in the page cache, and is read without a thread."""
    extent = stage.append(b"0123456789")
    found = reader.read_nowait(extent.blob, 3, 4)

    # Not every file system can tell.
    assert found in (b"3456", None)


def test_does_not_wait_for_a_network(stage, store, tmp_path):
    """What only the store has is not read without waiting, if the store is remote."""
    extent = stage.append(b"0123456789")
    stage.flush()
    if store.backend.path("any") is None:
        assert None is BlobReader(store.backend, tmp_path / "x").read_nowait(extent.blob, 0, 10)


def test_a_blob_that_is_too_short_is_damaged(stage, reader):
    """To read beyond the end of a blob is an error that names it, never fewer bytes."""
    extent = stage.append(b"12345")
    stage.flush()

    for offset in (3, 5, 9):
        with pytest.raises(Unavailable, match=extent.blob):
            reader.read(extent.blob, offset, 4)


def test_a_blob_that_is_not_there_is_named(reader):
    """A blob that is missing is damage: what names it was made when it was there."""
    with pytest.raises(Damaged, match="blobs/job-9/w-0: the object is missing"):
        reader.read("job-9/w-0", 0, 1)


def test_a_preflight_leaves_nothing(store, stage, tmp_path):
    """Nothing is left of the preflight; a store that takes nothing fails it with its own error."""
    stage.preflight()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "blobs").write_bytes(b"in the way")

    assert [] == stored(store)
    with pytest.raises(Unavailable, match="blobs"):
        Stage(
            open_store(tmp_path / "full").backend, "job", writer="w", scratch=tmp_path
        ).preflight()


def test_a_run_that_changed_is_never_whole(stage, reader, store):
    """Damage is told before the last piece of a run that was read whole."""
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


def test_yields_extents_in_pieces(stage, reader):
    """The bytes of several extents come in order, in bounded pieces."""
    extents = [stage.append(b"abcdefgh").slice(1, 6), stage.append(b"123")]

    assert [b"bcde", b"fg", b"123"] == list(reader.pieces(extents, piece=4))


def test_keeps_few_files_open(local, scratch):
    """Of any number of blobs, a bounded number stays open."""
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


def test_threads_read_while_files_are_closed(local, scratch):
    """A file that falls out of the cache while another thread reads it is read to the end."""
    extents = [
        Stage(local.backend, "s", writer=f"w{n}", scratch=scratch).append(b"%02d" % n)
        for n in range(10)
    ]
    reader = BlobReader(local.backend, scratch, files=1)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda extent: read(reader, extent), extents * 100))
    assert [b"%02d" % n for n in range(10)] * 100 == found
