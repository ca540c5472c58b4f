"""Putting folders, files and streams on a branch."""

import hashlib
import io
import os
import socket
import time
from pathlib import Path

import attrs
import pytest
from builders import a_commit

from worker.errors import Invalid, NotFound
from worker.model import BranchName, Repo
from worker.store import checkin, ingest
from worker.store.blobs import BlobReader
from worker.store.checkin import CannotImport, put_directory, put_file, put_stream
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


def test_a_folder_becomes_a_commit(store, folder):
    """The commit holds every file of the folder under its path, byte for byte."""
    commit = put_directory(store, LAB, folder, message="first")

    assert FILES == contents(store, commit)
    assert (len(FILES), sum(map(len, FILES.values()))) == (commit.files, commit.size)
    assert ("first", "master", None) == (commit.message, commit.branch, commit.parent)
    assert commit == store.resolve("lab")


def test_keys_are_in_order(store, folder):
    """Keys are sorted by their bytes, not folder by folder."""
    commit = put_directory(store, LAB, folder)

    assert sorted(FILES, key=str.encode) == [e.key for e in store.tree(commit).entries()]


def test_entries_are_what_s3_would_say(store, folder):
    """ETag is the MD5, the time is that of the import, the type goes by the name."""
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
def test_guesses_types_by_the_name_alone(key, expected):
    """The type of a file is guessed from its last part; what is compressed is served as it is."""
    assert expected == ingest.content_type(key).get("content-type")


def test_unchanged_content_makes_no_commit(store, folder):
    """To put the same content again gives the head, and leaves nothing new in the store."""
    commit = put_directory(store, LAB, folder)
    before = everything(store)
    os.utime(folder / "a.txt", (5, 5))

    assert commit == put_directory(store, LAB, folder)
    assert before == everything(store)


def test_unchanged_files_keep_their_entries(store, folder):
    """Where one file changed, the others keep entry, time and place."""
    first = store.tree(put_directory(store, LAB, folder))
    write(folder, {"a.txt": b"!"})
    commit = put_directory(store, LAB, folder)
    second = store.tree(commit)

    assert FILES | {"a.txt": b"!"} == contents(store, commit)
    for key in FILES.keys() - {"a.txt"}:
        assert first.entry(key) == second.entry(key)


def test_a_file_that_was_put_in_parts_is_recognised(store, folder):
    """Content is compared with slices of runs and with several extents, too."""
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


def test_a_folder_is_mirrored(store, folder):
    """What is no longer in the folder is no longer in the commit."""
    put_directory(store, LAB, folder)
    (folder / "a-b").unlink()
    write(folder, {"new": b"new"})
    commit = put_directory(store, LAB, folder)

    assert FILES.keys() - {"a-b"} | {"new"} == contents(store, commit).keys()


def test_a_folder_can_be_added(store, folder):
    """With *keep*, what the folder does not have stays."""
    put_directory(store, LAB, folder)
    (folder / "a-b").unlink()
    write(folder, {"Z": b"new", "zz": b"1"})
    commit = put_directory(store, LAB, folder, keep=True)

    assert FILES | {"Z": b"new", "zz": b"1"} == contents(store, commit)


@pytest.mark.parametrize("at", ["in/here", "in/here/"])
def test_a_folder_can_be_put_below_a_path(store, folder, at):
    """At a path, what lies there becomes the folder; everything else stays."""
    a_commit(store, {"in/her": b"1", "in/here": b"2", "in/here/old": b"3", "x": b"4"}, repo="lab")
    commit = put_directory(store, LAB, folder, at=at)

    assert {
        "in/her": b"1",
        "in/here": b"2",
        "x": b"4",
        **{f"in/here/{key}": data for key, data in FILES.items()},
    } == contents(store, commit)


def test_empty_folders_are_kept(store, folder):
    """A folder with nothing in it becomes an empty file whose key ends in a slash."""
    (folder / "a" / "nothing" / "inside").mkdir(parents=True)
    commit = put_directory(store, LAB, folder)

    assert FILES | {"a/nothing/inside/": b""} == contents(store, commit)
    assert commit == put_directory(store, LAB, folder)


def test_an_empty_folder_makes_an_empty_commit(store, tmp_path):
    """The first commit of a branch may have no files; the second is not made."""
    (tmp_path / "empty").mkdir()
    commit = put_directory(store, LAB, tmp_path / "empty")

    assert 0 == commit.files
    assert commit == put_directory(store, LAB, tmp_path / "empty")


def test_links_inside_are_followed(store, folder):
    """A link to a file of the folder is the file; the folder itself may be a link."""
    (folder / "link").symlink_to("a/b c/ü.csv")
    (folder.parent / "way").symlink_to(folder)
    commit = put_directory(store, LAB, folder.parent / "way")

    assert FILES["a/b c/ü.csv"] == contents(store, commit)["link"]


def test_names_everything_that_can_not_be_put(local, folder):
    """Links to elsewhere, pipes, sockets and names that are no text are all named at once."""
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


def test_refuses_keys_that_are_too_long(store, folder):
    """A key has at most 1,024 bytes, as in S3."""
    with pytest.raises(CannotImport, match=r"1,024"):
        put_directory(store, LAB, folder, at="x" * 1020)
    with pytest.raises(Invalid, match=r"1,024"):
        put_stream(store, LAB, io.BytesIO(b""), at="x" * 1025)


def test_a_folder_that_is_not_there_is_named(store, tmp_path):
    """A folder that is missing is an error before anything is made."""
    with pytest.raises(NotFound, match="nowhere"):
        put_directory(store, LAB, tmp_path / "nowhere")
    assert set() == everything(store)


def test_large_files_have_their_own_blobs(store, folder, monkeypatch):
    """A large file is streamed into blobs of its own, none beyond a limit."""
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
def test_a_file_is_put(store, folder, at, expected):
    """A file goes to a path, or below a folder by its own name; all else stays."""
    a_commit(store, {"other": b"0"}, repo="lab")
    commit = put_file(store, LAB, folder / "a.txt", at=at)

    assert {"other": b"0", expected: b"1"} == contents(store, commit)
    assert commit == put_file(store, LAB, folder / "a.txt", at=at)


def test_only_files_are_put_as_files(store, folder):
    """A folder, or nothing, in the place of a file is named."""
    for name in ("a", "nothing"):
        with pytest.raises(CannotImport, match=name):
            put_file(store, LAB, folder / name)


@pytest.mark.parametrize(
    "data", [b"", b"small", b"large" * 500_000], ids=["empty", "small", "large"]
)
def test_a_stream_is_put(store, data):
    """What a stream gives becomes a file, once."""
    commit = put_stream(store, LAB, io.BytesIO(data), at="a/stream.csv")

    assert {"a/stream.csv": data} == contents(store, commit)
    before = everything(store)
    assert commit == put_stream(store, LAB, io.BytesIO(data), at="a/stream.csv")
    assert before == everything(store)


@pytest.mark.parametrize("at", ["", "a/", "\ud800"], ids=["nothing", "a folder", "no text"])
def test_a_stream_needs_a_path(store, at):
    """A stream has no name of its own."""
    with pytest.raises(Invalid):
        put_stream(store, LAB, io.BytesIO(b"1"), at=at)


def test_tells_what_was_read(store, folder):
    """Whoever watches is told each file."""
    seen = {}
    put_directory(store, LAB, folder, progress=seen.__setitem__)

    assert {key: len(data) for key, data in FILES.items()} == seen


def test_a_lost_race_begins_again(store):
    """Where another commit arrives in between, both are in the result."""

    def somebody_else(*_: object) -> None:
        if not list(store.repos()):
            a_commit(store, {"theirs": b"2"}, repo="lab")

    commit = put_stream(store, LAB, io.BytesIO(b"1"), at="ours", progress=somebody_else)

    assert {"ours": b"1", "theirs": b"2"} == contents(store, commit)
    assert [1, 0] == [head.slot for head in store.heads(LAB)]


def test_the_clock_of_another_machine_does_not_matter(store):
    """A put moves the branch although the head was made by a clock that is ahead."""
    head = a_commit(store, {"a": b"1"}, repo="lab")
    ahead = attrs.evolve(
        head, name=attrs.evolve(head.name, id="ab" * 16), finished=time.time() + 1000
    )
    store.advance(LAB, store.add_commit(ahead))
    commit = put_stream(store, LAB, io.BytesIO(b"2"), at="b")

    assert commit == store.resolve("lab")


def test_leaves_no_scratch(store, folder, tmp_path):
    """What a put gathered on this machine is gone when it is done."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    put_directory(store, LAB, folder, scratch=scratch)

    assert [] == list(scratch.iterdir())
    assert checkin.KEY_LIMIT == 1024
