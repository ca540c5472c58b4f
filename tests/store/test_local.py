"""The backend in a directory."""

import errno
import os
import resource
from contextlib import contextmanager

import pytest
from store.backend_contract import BackendContract, names

from worker.errors import Unavailable
from worker.store.backends.base import AlreadyThere, StoreUnavailable
from worker.store.backends.local import TEMPORARY, FileSink, LocalBackend


@contextmanager
def files_limited_to(size):
    """Let no file of this process grow beyond *size*: a disk that is full at that point."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def backend(tmp_path):
    return LocalBackend(tmp_path / "not" / "there" / "yet")


class TestLocal(BackendContract):
    pass


def test_reads_make_nothing(tmp_path):
    """A store that was never written to is empty, and stays unmade."""
    assert [] == names(LocalBackend(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_an_interrupted_write_is_not_listed(backend):
    """What a write that never ended left behind is no object, and is swept when it is old."""
    backend.put("a/b", b"1")
    left = backend.root / "a" / f"{TEMPORARY}1234"
    left.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    (backend.root / "a" / f"{TEMPORARY}5678").write_bytes(b"somebody is at it")

    assert ["a/b"] == names(backend)
    assert 1 == backend.sweep(2000)
    assert not left.exists()


def test_a_new_blob_lies_where_it_will_stay(backend):
    """A blob can be read by others while it is being written."""
    sink = backend.create("blobs/s/1")
    sink.write(b"first")

    assert b"first" == backend.path("blobs/s/1").read_bytes()


def test_a_blob_is_created_once(backend):
    """Two writers of one name are kept apart."""
    backend.create("blobs/s/1")

    with pytest.raises(AlreadyThere):
        backend.create("blobs/s/1")


def test_a_full_disk_is_named():
    """The error of a full disk says so."""
    sink = FileSink("blobs/s/1", "/dev/full", os.open("/dev/full", os.O_RDWR))

    with pytest.raises(StoreUnavailable, match=r"blobs/s/1.*ENOSPC") as caught:
        sink.write(b"1")
    assert errno.ENOSPC == caught.value.errno


def test_a_put_that_fails_leaves_nothing(backend):
    """Where the disk takes only half of an object, the old one stays, and no other file."""
    backend.put("a/b", b"old")
    with files_limited_to(100), pytest.raises(Unavailable, match="EFBIG"):
        backend.put("a/b", b"n" * 200)

    assert b"old" == backend.get("a/b")
    assert ["b"] == os.listdir(backend.root / "a")


def test_a_write_that_fails_half_way_is_taken_back(backend):
    """After a write that failed, a blob goes on from where it was."""
    sink = backend.create("blobs/s/1")
    sink.write(b"1" * 60)
    with files_limited_to(100), pytest.raises(Unavailable, match="EFBIG"):
        sink.write(b"x" * 60)
    sink.write(b"2" * 10)
    sink.close()

    assert b"1" * 60 + b"2" * 10 == backend.get("blobs/s/1")


def test_a_refusing_disk_is_named(tmp_path):
    """Where the store can't be, the error says why."""
    (tmp_path / "file").write_bytes(b"")
    backend = LocalBackend(tmp_path / "file" / "store")

    with pytest.raises(Unavailable, match="ENOTDIR"):
        backend.put("a", b"1")


def test_folders_go_with_their_last_object(backend):
    """The folders of a stage do not stay behind when its blobs are deleted."""
    backend.put("blobs/stage/1", b"1")
    backend.delete("blobs/stage/1")

    assert [] == os.listdir(backend.root)


@pytest.mark.parametrize("vanishes_before", ["stat", "unlink"])
def test_sweeps_beside_writers(tmp_path, monkeypatch, vanishes_before):
    """A temporary file that its writer finishes while it is looked at is no error."""
    backend = LocalBackend(tmp_path / "store")
    backend.put("a/b", b"1")
    for number in range(3):
        (tmp_path / "store" / "a" / f"{TEMPORARY}{number}").write_bytes(b"half")
    real = getattr(os, vanishes_before)
    unlink = os.unlink

    def vanishing(path, *arguments, **named):
        if str(path).endswith(f"{TEMPORARY}1"):
            unlink(path)
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, vanishes_before, vanishing)

    assert 2 == backend.sweep(2e10)
    assert ["b"] == os.listdir(tmp_path / "store" / "a")
