"""The backend in a directory."""

import contextlib
import errno
import os
import resource
import sys
from contextlib import contextmanager

import pytest
from store.backend_contract import BackendContract, names

from worker.directories import open_directory, remove_tree
from worker.errors import Unavailable
from worker.store.backends.base import AlreadyThere, StoreUnavailable, UnexpectedFile
from worker.store.backends.local import TEMPORARY, FileSink, LocalBackend


@contextmanager
def files_limited_to(size):
    """Limit the size of files that this process writes, as on a full disk."""
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


def test_reading_does_not_create_the_directory(tmp_path):
    assert [] == names(LocalBackend(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_temporary_files_are_not_listed_and_old_ones_are_swept(backend):
    backend.put("a/b", b"1")
    leftover = backend.root / "a" / f"{TEMPORARY}1234"
    leftover.write_bytes(b"half")
    os.utime(leftover, (1000, 1000))
    (backend.root / "a" / f"{TEMPORARY}5678").write_bytes(b"in progress")

    assert ["a/b"] == names(backend)
    assert 1 == backend.sweep(2000)
    assert not leftover.exists()


def test_a_blob_has_its_final_path_while_it_is_written(backend):
    sink = backend.create("blobs/s/1")
    sink.write(b"first")

    assert b"first" == backend.path("blobs/s/1").read_bytes()


def test_creating_an_existing_blob_raises_a_conflict(backend):
    backend.create("blobs/s/1")

    with pytest.raises(AlreadyThere):
        backend.create("blobs/s/1")


def test_the_error_of_a_full_disk_has_its_cause():
    sink = FileSink("blobs/s/1", "/dev/full", os.open("/dev/full", os.O_RDWR))

    with pytest.raises(StoreUnavailable, match=r"blobs/s/1.*ENOSPC") as caught:
        sink.write(b"1")
    assert errno.ENOSPC == caught.value.errno


def test_a_failed_put_keeps_the_old_object_and_leaves_no_file(backend):
    backend.put("a/b", b"old")
    with files_limited_to(100), pytest.raises(Unavailable, match="EFBIG"):
        backend.put("a/b", b"n" * 200)

    assert b"old" == backend.get("a/b")
    assert ["b"] == os.listdir(backend.root / "a")


def test_a_blob_continues_at_its_previous_length_after_a_failed_write(backend):
    sink = backend.create("blobs/s/1")
    sink.write(b"1" * 60)
    with files_limited_to(100), pytest.raises(Unavailable, match="EFBIG"):
        sink.write(b"x" * 60)
    sink.write(b"2" * 10)
    sink.close()

    assert b"1" * 60 + b"2" * 10 == backend.get("blobs/s/1")


def test_the_error_of_an_impossible_location_has_its_cause(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    backend = LocalBackend(tmp_path / "file" / "store")

    with pytest.raises(Unavailable, match="ENOTDIR"):
        backend.put("a", b"1")


def test_delete_removes_empty_folders(backend):
    backend.put("blobs/stage/1", b"1")
    backend.delete("blobs/stage/1")

    assert [] == os.listdir(backend.root)


@pytest.mark.parametrize("vanishes_before", ["lstat", "unlink"])
def test_sweep_ignores_temporary_files_that_vanish(tmp_path, monkeypatch, vanishes_before):
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


LINKED = {
    "get": lambda backend, name: backend.get(name),
    "put": lambda backend, name: backend.put(name, b"new"),
    "put_new": lambda backend, name: backend.put_new(name, b"new"),
    "delete": lambda backend, name: backend.delete(name),
    "create": lambda backend, name: backend.create(name),
    "exists": lambda backend, name: backend.exists(name),
    "list": lambda backend, name: list(backend.list_from(f"{name.rpartition('/')[0]}/")),
    "folders": lambda backend, name: backend.folders(f"{name.rpartition('/')[0]}/"),
}


@pytest.mark.parametrize("call", LINKED.values(), ids=LINKED.keys())
@pytest.mark.parametrize("linked", ["a", "a/b"])
def test_a_folder_that_is_a_link_leads_nowhere(tmp_path, call, linked):
    """Another user could put it there, and a worker of root would use what it leads to."""
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    for folder in (outside, outside / "b"):
        (folder / "file").write_bytes(b"secret")
    root = tmp_path / "store"
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(outside)
    name = "a/b/file"

    with pytest.raises(UnexpectedFile, match=linked):
        call(LocalBackend(root), name)
    assert b"secret" == (outside / "b/file").read_bytes()
    assert {"b", "file"} == set(os.listdir(outside))


@pytest.mark.parametrize("call", ["get", "put", "put_new", "create"])
def test_a_file_that_is_a_link_is_neither_read_nor_written(tmp_path, call):
    """Writing replaces the link, or fails."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    root = tmp_path / "store"
    (root / "a").mkdir(parents=True)
    (root / "a/file").symlink_to(outside)
    with contextlib.suppress(Unavailable, AlreadyThere):
        assert b"secret" != LINKED[call](LocalBackend(root), "a/file")

    assert b"secret" == outside.read_bytes()


def _link_to_a_file(path, outside):
    path.symlink_to(outside)


OTHER_FILES = {
    "a link": _link_to_a_file,
    "a link to itself": lambda path, _: path.symlink_to(path.name),
    "a pipe": lambda path, _: os.mkfifo(path),
}


@pytest.mark.parametrize("make", OTHER_FILES.values(), ids=OTHER_FILES.keys())
def test_another_file_in_the_place_of_an_object_is_not_a_missing_object(tmp_path, make):
    (tmp_path / "outside").write_bytes(b"1")
    backend = LocalBackend(tmp_path / "store")
    backend.put("a/sound", b"1")
    make(tmp_path / "store" / "a" / "file", tmp_path / "outside")

    with pytest.raises(UnexpectedFile, match="a/file"):
        backend.exists("a/file")


@pytest.mark.parametrize("make", OTHER_FILES.values(), ids=OTHER_FILES.keys())
@pytest.mark.parametrize("call", LINKED)
def test_another_file_in_the_place_of_a_folder_is_not_an_empty_folder(tmp_path, make, call):
    (tmp_path / "outside").mkdir()
    backend = LocalBackend(tmp_path / "store")
    backend.put("a/sound", b"1")
    make(tmp_path / "store" / "a" / "b", tmp_path / "outside")

    with pytest.raises(UnexpectedFile, match="a/b"):
        LINKED[call](backend, "a/b/file")
    assert ["b"] == backend.folders("a/")


@pytest.mark.parametrize("make", OTHER_FILES.values(), ids=OTHER_FILES.keys())
def test_sweep_removes_what_has_the_name_of_a_temporary_file(tmp_path, make):
    (tmp_path / "outside").write_bytes(b"1")
    backend = LocalBackend(tmp_path / "store")
    backend.put("a/sound", b"1")
    make(tmp_path / "store" / "a" / f"{TEMPORARY}x", tmp_path / "outside")

    assert 1 == backend.sweep(2e10)
    assert ["sound"] == os.listdir(tmp_path / "store" / "a")
    assert b"1" == (tmp_path / "outside").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_sweep_passes_over_a_folder_of_another_user(public_path):
    """A file system has a folder lost+found of root, which no other user can read."""
    root = public_path / "store"
    (root / "lost+found").mkdir(parents=True, mode=0o700)
    (root / f"{TEMPORARY}x").touch()
    os.chown(root, 4001, 4001)
    os.seteuid(4001)
    try:
        assert 1 == LocalBackend(root).sweep(2e10)
    finally:
        os.seteuid(0)


def test_sweep_ends_in_folders_one_in_another(tmp_path):
    """As many as the stack of Python has no room for."""
    backend = LocalBackend(tmp_path / "store")
    backend.put("a", b"1")
    folder = open_directory(tmp_path / "store")
    try:
        for _ in range(sys.getrecursionlimit() + 100):
            folder = folder.make("d")

        assert 0 == backend.sweep(2e10)
    finally:
        # pytest cannot remove it.
        remove_tree(tmp_path / "store" / "d")
