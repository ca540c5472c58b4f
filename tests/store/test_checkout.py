"""Checkout of a commit into a folder."""

import gc
import os

import pytest
from builders import a_commit

from worker.errors import Unavailable
from worker.store import checkout
from worker.store.checkout import PathMissing, get_directory, path_fault

FILES = {
    "a.txt": b"1",
    "a/b c/ü%+~.csv": b"x,y\n",
    "a/empty": b"",
    "big": b"3" * 3_000_000,
    "folder/": b"",
}
NOT_FILES = {
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


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("../up", "it has the part .."),
        ("a/../../up", "it has the part .."),
        ("..", "it has the part .."),
        ("./a", "it has the part ."),
        ("/etc/passwd", "it starts with /"),
        ("/", "it starts with /"),
        ("a//b", "a part between two slashes is empty"),
        ("a\0b", "it contains a NUL character"),
        ("x" * 256, "a part is longer than 255 bytes"),
        ("y/" * 2500 + "z", "its path is longer than 4,095 bytes"),
        ("a/b c/ü%+~.csv", None),
        ("folder/", None),
        ("..a/...", None),
    ],
    ids=lambda value: str(value)[:12].replace("\0", "NUL"),
)
def test_path_fault_rejects_paths_that_are_not_below_the_folder(path, fault):
    assert fault == path_fault(path)


def test_get_directory_writes_files_and_folders(store, tmp_path):
    """An empty key that ends in a slash is a folder. The directory is created."""
    commit = a_commit(store, FILES)
    directory = tmp_path / "not/there/yet"

    assert () == get_directory(store, commit, directory)
    assert {key: data for key, data in FILES.items() if key != "folder/"} == files_below(directory)
    assert (directory / "folder").is_dir()


def test_get_directory_returns_the_keys_that_cannot_be_files(store, tmp_path):
    """All other files are written, and nothing outside the directory."""
    commit = a_commit(store, {**FILES, **NOT_FILES})
    directory = tmp_path / "parent" / "directory"
    reasons = {each.key: each.reason for each in get_directory(store, commit, directory)}

    assert NOT_FILES.keys() - {"both/file"} == reasons.keys()
    assert "below both/" in reasons["both"]
    assert "255" in reasons["l" * 256]
    assert ".." in reasons["../up"]
    assert FILES.keys() - {"folder/"} | {"both/file"} == files_below(directory).keys()
    assert ["directory"] == os.listdir(tmp_path / "parent")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b", {"c": b"1", "d/e": b"2"}),
        ("a/b/", {"c": b"1", "d/e": b"2"}),
        ("a/bb", {"bb": b"3"}),
        ("a/b/d/e", {"e": b"2"}),
    ],
)
def test_a_path_selects_a_file_or_what_is_below_it(store, tmp_path, path, expected):
    """A file has the last part of its key as its name, others the rest of their keys."""
    commit = a_commit(store, {"a/b/c": b"1", "a/b/d/e": b"2", "a/bb": b"3", "a/b/": b""})

    assert () == get_directory(store, commit, tmp_path / "directory", path=path)
    assert expected == files_below(tmp_path / "directory")


def test_a_missing_path_is_rejected(store, tmp_path):
    """The directory is not created."""
    commit = a_commit(store, {"a/b": b"1"})

    with pytest.raises(PathMissing, match="a/c"):
        get_directory(store, commit, tmp_path / "x", path="a/c")
    assert not (tmp_path / "x").exists()


def test_links_are_not_followed(store, tmp_path):
    """A link to a folder is in the way; a link in the place of a file is replaced."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"mine")
    directory = tmp_path / "directory"
    directory.mkdir()
    (directory / "dir").symlink_to(outside)
    (directory / "link").symlink_to(outside / "file")
    (directory / "marker").symlink_to(outside)
    commit = a_commit(store, {"dir/file": b"1", "link": b"2", "marker/": b"", "ok": b"3"})
    unwritten = get_directory(store, commit, directory)

    assert ["dir/file", "marker/"] == [each.key for each in unwritten]
    assert {"file": b"mine"} == files_below(outside)
    assert not (directory / "link").is_symlink()
    assert (b"2", b"3") == ((directory / "link").read_bytes(), (directory / "ok").read_bytes())


def test_files_and_folders_in_the_way_are_kept(store, tmp_path):
    """The keys that they block are returned."""
    directory = tmp_path / "directory"
    (directory / "b").mkdir(parents=True)
    (directory / "a").write_bytes(b"mine")
    commit = a_commit(store, {"a/x": b"1", "b": b"2", "c": b"3"})
    unwritten = get_directory(store, commit, directory)

    assert ["a/x", "b"] == [each.key for each in unwritten]
    assert {"a": b"mine", "c": b"3"} == files_below(directory)


def test_an_existing_file_is_replaced_atomically(store, tmp_path):
    """A process that has it open continues to read the old content."""
    directory = tmp_path / "directory"
    directory.mkdir()
    (directory / "a").write_bytes(b"old and longer")
    commit = a_commit(store, {"a": b"new"})
    with (directory / "a").open("rb") as file:
        get_directory(store, commit, directory)

        assert b"old and longer" == file.read()
    assert {"a": b"new"} == files_below(directory)


def test_a_damaged_file_is_returned_and_not_written(local, tmp_path):
    commit = a_commit(local, {"a": b"1" * 3_000_000, "empty": b""})
    blob = next(local.backend.list_from("blobs/")).name
    os.truncate(local.backend.path(blob), 2_000_000)

    (unwritten,) = get_directory(local, commit, tmp_path / "directory")

    assert ("a", True) == (unwritten.key, unwritten.damaged)
    assert blob in unwritten.reason
    assert ["empty"] == os.listdir(tmp_path / "directory")


def test_more_files_than_are_written_at_a_time_come_in_order(store, tmp_path, monkeypatch):
    """No file descriptor stays open."""
    monkeypatch.setattr(checkout, "AHEAD", 3)
    files = {f"{n % 7}/{n:03d}": b"%d" % n for n in range(50)}
    commit = a_commit(store, files)
    # What earlier tests have dropped must not be closed in between.
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    seen = []
    get_directory(store, commit, tmp_path / "x", progress=lambda key, _: seen.append(key))

    assert sorted(files) == seen
    assert files == files_below(tmp_path / "x")
    assert before == len(os.listdir("/proc/self/fd"))


def test_a_directory_that_cannot_be_created_is_unavailable(store, tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(Unavailable, match="file/directory"):
        get_directory(store, a_commit(store, {"a": b"1"}), tmp_path / "file" / "directory")


def test_progress_is_called_with_each_file(store, tmp_path):
    seen = {}
    get_directory(store, a_commit(store, FILES), tmp_path, progress=seen.__setitem__)

    assert {key: len(data) for key, data in FILES.items()} == seen
