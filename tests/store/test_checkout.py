"""Files of a commit into folders and tars."""

import io
import os
import tarfile
from typing import BinaryIO, cast

import pytest
from builders import a_commit

from worker.errors import NotFound, Unavailable
from worker.store.checkout import PathMissing, get_directory
from worker.store.tar import write_tar

FILES = {
    "a.txt": b"1",
    "a/b c/ü%+~.csv": b"x,y\n",
    "a/empty": b"",
    "big": b"3" * 3_000_000,
    "folder/": b"",
}
ODD = {
    "/etc/absolute": b"1",
    "../up": b"2",
    "x/../../up": b"3",
    "./here": b"4",
    "x//y": b"5",
    "nul\0nul": b"6",
    "l" * 256: b"7",
    "full/": b"8",
    "both": b"9",
    "both/file": b"10",
    "/": b"",
}


def files_below(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_writes_files_and_folders(store, tmp_path):
    """Every key that can be a file is one, and an empty key that ends in a slash is a folder."""
    commit = a_commit(store, FILES)
    unwritten = get_directory(store, commit, tmp_path / "not/there/yet")

    assert () == unwritten
    found = files_below(tmp_path / "not/there/yet")
    assert {key: data for key, data in FILES.items() if key != "folder/"} == found
    assert (tmp_path / "not/there/yet/folder").is_dir()


def test_names_each_key_that_can_not_be_a_file(store, tmp_path):
    """What can't be a file is returned with a reason, all else is written, and nothing outside."""
    commit = a_commit(store, {**FILES, **ODD})
    target = tmp_path / "around" / "target"
    unwritten = get_directory(store, commit, target)
    reasons = {each.key: each.reason for each in unwritten}

    assert ODD.keys() - {"both/file"} == reasons.keys()
    assert "below both/" in reasons["both"]
    assert "255" in reasons["l" * 256]
    assert ".." in reasons["../up"]
    assert FILES.keys() - {"folder/"} | {"both/file"} == files_below(target).keys()
    assert ["target"] == os.listdir(tmp_path / "around")


def test_writes_part_of_a_commit(store, tmp_path):
    """A path chooses a file by its last part, or what is below it by the rest of the keys."""
    commit = a_commit(store, {"a/b/c": b"1", "a/b/d/e": b"2", "a/bb": b"3", "a/b/": b""})
    for path, expected in {
        "a/b": {"c": b"1", "d/e": b"2"},
        "a/b/": {"c": b"1", "d/e": b"2"},
        "a/bb": {"bb": b"3"},
        "a/b/d/e": {"e": b"2"},
    }.items():
        target = tmp_path / path.replace("/", "_")
        assert () == get_directory(store, commit, target, path=path)
        assert expected == files_below(target)


def test_a_path_that_is_not_there_is_named(store, tmp_path):
    """A path of no file and no folder is an error."""
    commit = a_commit(store, {"a/b": b"1"})

    with pytest.raises(PathMissing, match="a/c"):
        get_directory(store, commit, tmp_path / "x", path="a/c")
    with pytest.raises(NotFound):
        write_tar(store, commit, io.BytesIO(), path="a/b/")


def test_goes_through_no_link(store, tmp_path):
    """Links that lie in the target lead nothing outside: they are in the way, or replaced."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"mine")
    target = tmp_path / "target"
    target.mkdir()
    (target / "dir").symlink_to(outside)
    (target / "link").symlink_to(outside / "file")
    (target / "marker").symlink_to(outside)
    commit = a_commit(store, {"dir/file": b"1", "link": b"2", "marker/": b"", "ok": b"3"})
    unwritten = get_directory(store, commit, target)

    assert ["dir/file", "marker/"] == [each.key for each in unwritten]
    assert {"file": b"mine"} == files_below(outside)
    assert not (target / "link").is_symlink()
    assert (b"2", b"3") == ((target / "link").read_bytes(), (target / "ok").read_bytes())


def test_names_what_is_in_the_way(store, tmp_path):
    """A file where a folder must be, and a folder where a file must be, are named."""
    (tmp_path / "target" / "b").mkdir(parents=True)
    (tmp_path / "target" / "a").write_bytes(b"mine")
    commit = a_commit(store, {"a/x": b"1", "b": b"2", "c": b"3"})
    unwritten = get_directory(store, commit, tmp_path / "target")

    assert ["a/x", "b"] == [each.key for each in unwritten]
    assert ["a", "b", "c"] == sorted(os.listdir(tmp_path / "target"))


def test_replaces_files_whole(store, tmp_path):
    """A file that is there is replaced, not written into: who reads it keeps the old one."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "a").write_bytes(b"old and longer")
    with (target / "a").open("rb") as reading:
        get_directory(store, a_commit(store, {"a": b"new"}), target)

        assert b"old and longer" == reading.read()
    assert {"a": b"new"} == files_below(target)


def test_a_damaged_blob_leaves_no_half_file(local, tmp_path):
    """What the store has lost is named and does not appear; all other files do."""
    commit = a_commit(local, {"a": b"1" * 3_000_000, "empty": b""})
    blob = next(local.backend.list_from("blobs/")).name
    os.truncate(local.backend.path(blob), 2_000_000)

    (unwritten,) = get_directory(local, commit, tmp_path / "target")

    assert ("a", True) == (unwritten.key, unwritten.damaged)
    assert blob in unwritten.reason
    assert ["empty"] == os.listdir(tmp_path / "target")


def test_a_target_that_can_not_be_is_named(store, tmp_path):
    """A target below a file is an error that names it."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(Unavailable, match="file/target"):
        get_directory(store, a_commit(store, {"a": b"1"}), tmp_path / "file" / "target")


def test_tells_what_was_written(store, tmp_path):
    """Whoever watches is told each file."""
    seen = {}
    get_directory(store, a_commit(store, FILES), tmp_path, progress=seen.__setitem__)

    assert {key: len(data) for key, data in FILES.items()} == seen


def test_a_tar_holds_every_key(store):
    """A tar takes also what can't be a file, under its whole key."""
    files = {**FILES, **ODD, "deep/" * 60 + "file": b"11", "new\nline": b"12"}
    tar = io.BytesIO()
    write_tar(store, a_commit(store, files), tar)
    tar.seek(0)
    with tarfile.open(fileobj=tar) as archive:
        members = archive.getmembers()
        found = [
            (member.name, archive.extractfile(member).read() if member.isfile() else b"")
            for member in members
        ]

    # Reading, tarfile takes the slash off the names of folders.
    expected = [(key if data else key.rstrip("/"), data) for key, data in files.items()]
    assert sorted(expected) == sorted(found)
    assert {"folder", ""} == {member.name for member in members if member.isdir()}


def test_a_tar_can_be_written_to_a_pipe(store):
    """Only ``write`` is asked of what the tar goes to."""

    class Pipe:
        data = b""

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    write_tar(store, a_commit(store, FILES), cast(BinaryIO, pipe), path="a")

    with tarfile.open(fileobj=io.BytesIO(pipe.data)) as archive:
        assert ["b c/ü%+~.csv", "empty"] == archive.getnames()
