"""Check-in of folders, files and streams."""

import hashlib
import io
import os
import shutil
import socket
import time
from pathlib import Path

import attrs
import pytest
from builders import a_commit

from worker.errors import Cause, Invalid, NotFound, cause_of
from worker.model import BranchName, Repo
from worker.store import ingest
from worker.store.blobs import BlobReader, Stage
from worker.store.checkin import put_directory, put_file, put_stream
from worker.store.ingest import Found, Ingester, NotAFile, ProblemKind
from worker.store.opening import open_store
from worker.store.source import CannotImport, SourceChanged, SourceInvalid, SourceMissing
from worker.store.trees import apply

LAB = BranchName(Repo("default", "lab"))

FILES = {
    "a.txt": b"1",
    "a/b c/ü.csv": b"x,y\n1,2\n",
    "a/empty.bin": b"",
    "a-b": b"2",
    "Z": b"3" * 70_000,
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    write(folder, FILES)
    return folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def contents(store, commit) -> dict[str, bytes]:
    reader = BlobReader(store.backend)
    return {e.key: b"".join(reader.pieces(e.extents)) for e in store.tree(commit).entries()}


def everything(store) -> set[str]:
    return {listed.name for listed in store.backend.list_from("")}


def test_put_directory_commits_every_file_under_its_path(store, folder):
    commit = put_directory(store, LAB, folder, message="first")

    assert FILES == contents(store, commit)
    assert (len(FILES), sum(map(len, FILES.values()))) == (commit.files, commit.size)
    assert ("first", "master", None) == (commit.message, commit.branch, commit.parent)
    assert commit == store.resolve("lab")


def test_keys_are_sorted_by_their_bytes(store, folder):
    """Not folder by folder."""
    commit = put_directory(store, LAB, folder)

    assert sorted(FILES, key=str.encode) == [e.key for e in store.tree(commit).entries()]


def test_an_entry_has_the_md5_the_type_and_the_time_of_the_check_in(store, folder):
    os.utime(folder / "a.txt", (1000, 1000))
    before = int(time.time() * 1000)
    entry = store.tree(put_directory(store, LAB, folder)).entry("a.txt")

    assert hashlib.md5(b"1").hexdigest() == entry.etag
    assert {"content-type": "text/plain"} == entry.headers
    assert before <= entry.modified <= int(time.time() * 1000)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a/b.csv", "text/csv"),
        ("a.JSON", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("a.csv.bz2", "application/x-bzip2"),
        ("a.unheard-of", None),
        ("csv", None),
        ("dir.csv/x", None),
    ],
)
def test_the_content_type_depends_on_the_extension_only(key, expected):
    """A compressed file has the type of its compression."""
    assert expected == ingest.content_type(key).get("content-type")


def test_put_directory_without_changes_returns_the_head(store, folder):
    """It leaves no objects in the store."""
    commit = put_directory(store, LAB, folder)
    before = everything(store)
    os.utime(folder / "a.txt", (5, 5))

    assert commit == put_directory(store, LAB, folder)
    assert before == everything(store)


def test_unchanged_files_keep_their_entries(store, folder):
    first = store.tree(put_directory(store, LAB, folder))
    write(folder, {"a.txt": b"!"})
    commit = put_directory(store, LAB, folder)
    second = store.tree(commit)

    assert FILES | {"a.txt": b"!"} == contents(store, commit)
    for key in FILES.keys() - {"a.txt"}:
        assert first.entry(key) == second.entry(key)


def test_an_unchanged_file_of_several_extents_and_slices_is_recognized(store, folder):
    (folder / "parts.bin").write_bytes(b"cdefgh" + b"234")
    commit = put_directory(store, LAB, folder)
    entry = store.tree(commit).entry("parts.bin")
    whole = entry.extents[0]
    pieces = (whole.slice(0, 2), whole.slice(2, 7))
    in_parts = attrs.evolve(entry, etag="parts-2", extents=pieces)
    tree = apply(store.tree(commit), [("parts.bin", in_parts)])
    changed = store.add_commit(
        attrs.evolve(
            commit,
            name=attrs.evolve(commit.name, id="ab" * 16),
            root=tree.root,
            digest=tree.digest,
            finished=commit.finished + 1,
        )
    )
    store.advance(LAB, changed)

    assert changed == put_directory(store, LAB, folder)
    (folder / "parts.bin").write_bytes(b"cdefgh" + b"235")
    assert b"cdefgh235" == contents(store, put_directory(store, LAB, folder))["parts.bin"]


def test_put_directory_removes_files_that_the_folder_lacks(store, folder):
    put_directory(store, LAB, folder)
    (folder / "a-b").unlink()
    write(folder, {"new": b"new"})
    commit = put_directory(store, LAB, folder)

    assert FILES.keys() - {"a-b"} | {"new"} == contents(store, commit).keys()


def test_put_directory_with_keep_keeps_files_that_the_folder_lacks(store, folder):
    put_directory(store, LAB, folder)
    (folder / "a-b").unlink()
    write(folder, {"Z": b"new", "zz": b"1"})
    commit = put_directory(store, LAB, folder, keep=True)

    assert FILES | {"Z": b"new", "zz": b"1"} == contents(store, commit)


@pytest.mark.parametrize("at", ["in/here", "in/here/"])
def test_put_directory_at_a_path_changes_only_files_below_it(store, folder, at):
    a_commit(store, {"in/her": b"1", "in/here": b"2", "in/here/old": b"3", "x": b"4"}, repo="lab")
    commit = put_directory(store, LAB, folder, at=at)

    assert {
        "in/her": b"1",
        "in/here": b"2",
        "x": b"4",
        **{f"in/here/{key}": data for key, data in FILES.items()},
    } == contents(store, commit)


def test_an_empty_folder_becomes_an_empty_file_whose_key_ends_in_a_slash(store, folder):
    (folder / "a" / "nothing" / "inside").mkdir(parents=True)
    commit = put_directory(store, LAB, folder)

    assert FILES | {"a/nothing/inside/": b""} == contents(store, commit)
    assert commit == put_directory(store, LAB, folder)


def test_the_first_commit_of_a_branch_can_be_empty(store, tmp_path):
    (tmp_path / "empty").mkdir()
    commit = put_directory(store, LAB, tmp_path / "empty")

    assert 0 == commit.files
    assert commit == put_directory(store, LAB, tmp_path / "empty")


def test_links_to_files_inside_the_folder_are_followed(store, folder):
    """The folder itself can be a link."""
    (folder / "link").symlink_to("a/b c/ü.csv")
    (folder.parent / "way").symlink_to(folder)
    commit = put_directory(store, LAB, folder.parent / "way")

    assert FILES["a/b c/ü.csv"] == contents(store, commit)["link"]


def test_cannot_import_lists_all_links_pipes_sockets_and_names_that_are_rejected(local, folder):
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "out").symlink_to("../secret")
    (folder / "broken").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "dir").symlink_to("a")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "sock"))
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff")).write_bytes(b"")
    before = everything(local)

    with pytest.raises(CannotImport) as caught:
        put_directory(local, LAB, folder)
    names = {os.path.basename(problem.path) for problem in caught.value.problems}
    assert {"out", "broken", "loop", "dir", "pipe", "sock", "bad\udcff"} == names
    assert "outside of the folder" in str(caught.value)
    assert "it is a pipe" in str(caught.value)
    assert not [name for name in everything(local) - before if name.startswith(("blobs", "repos"))]


def test_keys_of_more_than_1024_bytes_are_rejected(store, folder):
    with pytest.raises(CannotImport, match=r"1,024"):
        put_directory(store, LAB, folder, at="x" * 1020)
    with pytest.raises(Invalid, match=r"1,024"):
        put_stream(store, LAB, io.BytesIO(b""), at="x" * 1025)


def test_a_missing_folder_is_rejected_before_any_write(store, tmp_path):
    with pytest.raises(NotFound, match="nowhere"):
        put_directory(store, LAB, tmp_path / "nowhere")
    assert set() == everything(store)


def test_a_large_file_is_written_to_separate_blobs_of_bounded_size(store, folder, monkeypatch):
    monkeypatch.setattr(ingest, "SMALL", 1000)
    monkeypatch.setattr(ingest, "PIECE", 999)
    monkeypatch.setattr(ingest, "RUN_LIMIT", 5000)
    data = os.urandom(12_345)
    write(folder, {"large": data})
    commit = put_directory(store, LAB, folder)
    entry = store.tree(commit).entry("large")

    assert data == contents(store, commit)["large"]
    assert (12_345, hashlib.md5(data).hexdigest()) == (entry.size, entry.etag)
    assert 3 == len({extent.blob for extent in entry.extents})
    assert commit == put_directory(store, LAB, folder)


@pytest.mark.parametrize(
    ("at", "expected"), [("", "a.txt"), ("x/", "x/a.txt"), ("x/y", "x/y")], ids=str
)
def test_put_file_commits_the_file_at_or_below_the_path(store, folder, at, expected):
    """The other files stay."""
    a_commit(store, {"other": b"0"}, repo="lab")
    commit = put_file(store, LAB, folder / "a.txt", at=at)

    assert {"other": b"0", expected: b"1"} == contents(store, commit)
    assert commit == put_file(store, LAB, folder / "a.txt", at=at)


def test_put_file_rejects_folders_and_missing_files(store, folder):
    with pytest.raises(SourceInvalid, match="it is a folder"):
        put_file(store, LAB, folder / "a")
    with pytest.raises(SourceMissing, match="nothing: No such file"):
        put_file(store, LAB, folder / "nothing")


@pytest.mark.parametrize(
    ("after", "vanishes"), [("a.txt", "b.txt"), ("a.txt", "c"), ("c/d", "c/e")], ids=str
)
def test_a_path_that_vanishes_is_a_conflict_that_names_it(local, folder, after, vanishes):
    """A file, a file of a folder or a folder, after it was found; a repetition succeeds."""
    write(folder.parent / "moving", {"a.txt": b"1", "b.txt": b"2", "c/d": b"3", "c/e": b""})
    source, before = folder.parent / "moving", everything(local)

    def remove(key, _size):
        path = source / vanishes
        if key == after:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(SourceChanged, match="vanished while the files were read") as caught:
        put_directory(local, LAB, source, progress=remove)

    assert [vanishes] == [os.path.relpath(p.path, source) for p in caught.value.problems]
    assert (Cause.NOT_PUBLISHED, True) == (cause_of(caught.value), cause_of(caught.value).retryable)
    assert "repeat the command" in str(caught.value)
    assert not [name for name in everything(local) - before if name.startswith("repos")]
    assert vanishes not in contents(local, put_directory(local, LAB, source))


def test_a_problem_that_remains_is_more_serious_than_a_change(local, folder):
    """A repetition would fail again, so none is advised."""
    os.mkfifo(folder / "z")

    def remove(_key, _size):
        (folder / "b").unlink(missing_ok=True)

    (folder / "b").write_bytes(b"")
    with pytest.raises(SourceInvalid, match="it is a pipe") as caught:
        put_directory(local, LAB, folder, progress=remove)
    assert "repeat" not in str(caught.value)


class ChangingStage(Stage):
    """A stage that changes a file whenever something is written to it."""

    change = staticmethod(lambda: None)

    def append(self, data, *, sha256=None):
        self.change()
        return super().append(data, sha256=sha256)

    def open(self):
        self.change()
        return super().open()


@pytest.fixture(params=[10, 3 << 20], ids=["small", "large"])
def changing(request, local, tmp_path):
    """An ingester, a file, and the function to set what changes the file while it is stored."""
    file = tmp_path / "changing"
    file.write_bytes(b"x" * request.param)
    stage = ChangingStage(local.backend, "changing", writer="test", scratch=tmp_path)

    def changes(change):
        stage.change = change

    with Ingester(stage, BlobReader(local.backend)) as ingester:
        yield ingester, file, changes


def test_a_file_that_changes_while_it_is_read_is_read_again(changing):
    """Its entry is a state that the file had, not a mixture."""
    ingester, file, changes = changing
    size = file.stat().st_size

    def shrink_once():
        os.truncate(file, size // 2)
        changes(lambda: None)

    changes(shrink_once)

    entry = ingester.add_file(Found.at("k", str(file)), None)
    data = file.read_bytes()
    assert (size // 2, hashlib.md5(data).hexdigest()) == (entry.size, entry.etag)


def test_a_file_that_changes_each_time_is_a_conflict(changing):
    ingester, file, changes = changing

    def grow():
        with file.open("ab") as writer:
            writer.write(b"x")

    changes(grow)

    with pytest.raises(NotAFile, match="it changed each of the 3 times") as caught:
        ingester.add_file(Found.at("k", str(file)), None)
    assert ProblemKind.CHANGED is caught.value.problem.kind


@pytest.mark.parametrize(
    "data", [b"", b"small", b"large" * 500_000], ids=["empty", "small", "large"]
)
def test_put_stream_commits_the_content_of_the_stream(store, data):
    """The same content makes no second commit."""
    commit = put_stream(store, LAB, io.BytesIO(data), at="a/stream.csv")

    assert {"a/stream.csv": data} == contents(store, commit)
    before = everything(store)
    assert commit == put_stream(store, LAB, io.BytesIO(data), at="a/stream.csv")
    assert before == everything(store)


@pytest.mark.parametrize("at", ["", "a/", "\ud800"], ids=["empty", "folder", "not UTF-8"])
def test_put_stream_rejects_a_path_that_is_not_a_key(store, at):
    with pytest.raises(Invalid):
        put_stream(store, LAB, io.BytesIO(b"1"), at=at)


def test_progress_is_called_with_each_file(store, folder):
    seen = {}
    put_directory(store, LAB, folder, progress=seen.__setitem__)

    assert {key: len(data) for key, data in FILES.items()} == seen


def test_a_check_in_is_repeated_when_the_branch_has_moved(store):
    """Both commits are in the result."""

    def commit_other(*_: object) -> None:
        if not list(store.repos()):
            a_commit(store, {"other": b"2"}, repo="lab")

    commit = put_stream(store, LAB, io.BytesIO(b"1"), at="own", progress=commit_other)

    assert {"own": b"1", "other": b"2"} == contents(store, commit)
    assert [1, 0] == [head.slot for head in store.heads(LAB)]


def test_a_check_in_succeeds_if_the_head_has_a_later_time(store):
    """The clock of its machine may be ahead."""
    head = a_commit(store, {"a": b"1"}, repo="lab")
    ahead = attrs.evolve(
        head, name=attrs.evolve(head.name, id="ab" * 16), finished=time.time() + 1000
    )
    store.advance(LAB, store.add_commit(ahead))
    commit = put_stream(store, LAB, io.BytesIO(b"2"), at="b")

    assert commit == store.resolve("lab")


def test_a_check_in_leaves_no_file_in_scratch(store, folder, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    put_directory(store, LAB, folder, scratch=scratch)

    assert [] == list(scratch.iterdir())


def test_a_folder_with_the_store_or_in_it_is_not_committed(tmp_path):
    """The commit would contain itself; also by other paths."""
    data = tmp_path / "data"
    store = open_store(data / "store")
    (data / "store" / "blobs").mkdir(parents=True)
    (data / "store" / "blobs" / "x").write_bytes(b"1")
    (data / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(data)

    for folder in (
        tmp_path,
        data,
        data / "store",
        data / "store" / "blobs",
        tmp_path / "link",
        tmp_path / "link" / "store" / "blobs",
    ):
        with pytest.raises(Invalid, match=r"the store .* is in this folder, or contains it"):
            put_directory(store, LAB, folder)
    assert ["blobs", "x"] == [path.name for path in (data / "store").rglob("*")]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("below", "the folder .*/below; only links to files are followed"),
        (".", "the folder itself; only links to files are followed"),
        ("../folder-2", "/folder-2, outside of the folder"),
        ("nothing", "/nothing, which does not exist"),
        ("link", "/link, which is a link in a circle"),
        ("pipe", "/pipe, which is not a file"),
    ],
)
def test_a_link_that_cannot_be_followed_is_named_with_its_target(local, folder, target, says):
    """Only links to files of the folder are followed. The remedy is named."""
    (folder / "below").mkdir()
    (folder.parent / "folder-2").mkdir()
    if target == "pipe":
        os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(target)

    with pytest.raises(
        SourceInvalid, match=f"link: it is a link to .*{says}.*: replace it by a copy"
    ):
        put_directory(local, LAB, folder)
