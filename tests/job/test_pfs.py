"""The files of a datum below ``/pfs``."""

import os
import socket
import stat
from pathlib import Path

import pytest
from builders import a_commit

from worker.job import pfs
from worker.job.pfs import Inputs, NotAnOutput, collect, fingerprint, materialize
from worker.job.plan import choices, resolve
from worker.model import Entry
from worker.spec.pipeline import PfsInput
from worker.store.blobs import BlobReader, Stage
from worker.store.checkout import KeyNotAFile

FILES = {"a.txt": b"1", "dir/b": b"22", "dir/sub/c": b"", "Ünï cøde": b"4", "empty/": b""}


def selections(store, **changes):
    fields = {"glob": "/", "s3": False, "empty_files": False, **changes}
    spec = PfsInput("in", "default", "labresults", "master", None, **fields)
    return choices(store, resolve(store, spec))


def materialized(store, folder: Path, **changes) -> Path:
    """Materialize the first datum and return the folder of its input."""
    materialize(store, selections(store, **changes)[0], folder / "in", spool=folder)
    return folder / "in"


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_materialize_writes_the_files_of_the_commit_below_the_input(store, tmp_path):
    """Folders are made for keys with slashes and for empty keys that end in a slash."""
    a_commit(store, FILES)
    folder = materialized(store, tmp_path)

    assert {k: v for k, v in FILES.items() if k != "empty/"} == files_below(folder)
    assert (folder / "empty").is_dir()


def test_materialize_counts_files_and_not_folders(store, tmp_path):
    a_commit(store, FILES)

    assert 4 == materialize(store, selections(store)[0], tmp_path / "in", spool=tmp_path)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [("/*.txt", {"a.txt": b"1"}), ("/d*", {"dir/b": b"22", "dir/sub/c": b""})],
    ids=["file", "folder"],
)
def test_materialize_writes_only_what_the_datum_selects(store, tmp_path, glob, expected):
    a_commit(store, FILES)

    assert expected == files_below(materialized(store, tmp_path, glob=glob))


def test_materialize_writes_a_selected_file_beside_a_folder_of_its_name(store, tmp_path):
    """With the glob ``/*`` the file and the folder are two datums."""
    a_commit(store, {"a": b"1", "a/b": b"2"})

    assert {"a": b"1"} == files_below(materialized(store, tmp_path, glob="/*"))


def test_materialize_makes_files_and_folders_read_only(store, tmp_path):
    """Only root can change an input by mistake, whatever the umask is."""
    a_commit(store, FILES)
    folder = materialized(store, tmp_path)

    assert {0o444} == {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}
    assert {0o555} == {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_dir()}


def test_materialize_gives_files_the_time_of_their_entries(store, tmp_path):
    a_commit(store, FILES)

    assert 0 == (materialized(store, tmp_path) / "dir/b").stat().st_mtime_ns


def test_materialize_writes_no_content_with_empty_files(store, tmp_path):
    a_commit(store, {"a": b"123"})

    assert {"a": b""} == files_below(materialized(store, tmp_path, empty_files=True))


def test_materialize_makes_an_empty_folder_for_an_s3_input(store, tmp_path):
    a_commit(store, FILES)

    assert [] == os.listdir(materialized(store, tmp_path, s3=True))


def test_materialize_reads_and_writes_what_the_kernel_does_not_copy(store, tmp_path, monkeypatch):
    """This is so on some file systems, and for an object store."""
    a_commit(store, FILES)
    monkeypatch.setattr(pfs, "_copy_in_kernel", lambda *_: 0)

    assert b"22" == (materialized(store, tmp_path) / "dir/b").read_bytes()


def test_materialize_completes_a_partial_copy_of_the_kernel(store, tmp_path, monkeypatch):
    a_commit(store, {"a": b"123456789"})
    monkeypatch.setattr(
        pfs, "_copy_in_kernel", lambda _source, _extent, fd, _at: os.write(fd, b"123")
    )

    assert b"123456789" == (materialized(store, tmp_path) / "a").read_bytes()


@pytest.mark.parametrize(
    "files",
    [
        {"../up": b"1"},
        {"a//b": b"1"},
        {"a": b"1", "a/b": b"2"},
        {"a": b"1", "a-": b"", "a/b": b"2"},
        {"a/": b"1"},
    ],
    ids=["up", "empty part", "file and folder", "file and folder apart", "folder with content"],
)
def test_materialize_rejects_keys_that_cannot_be_files(store, tmp_path, files):
    a_commit(store, files)

    with pytest.raises(KeyNotAFile):
        materialized(store, tmp_path)
    assert not (tmp_path / "up").exists()


def test_materialize_can_be_stopped_before_each_file(store, tmp_path):
    a_commit(store, FILES)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(store, selections(store)[0], tmp_path / "in", spool=tmp_path, check=stop)


def rewrite(path: Path) -> None:
    """Change a byte, and restore the size, the mode and the times."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"3")
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: rewrite(folder / "a.txt"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "dir" / "new").touch(),
        lambda folder: (folder / "dir" / "b").rename(folder / "dir" / "bb"),
        lambda folder: (folder / "dir" / "sub").chmod(0o777),
        lambda folder: folder.rename(folder.with_name("old")) and folder.mkdir(),
        lambda folder: folder.rename(folder.with_name("old")),
        lambda folder: folder.rename(folder.with_name("old")) and folder.touch(),
    ],
    ids=["content", "removed", "added", "renamed", "mode", "replaced", "gone", "now a file"],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change read-only folders")
def test_fingerprint_changes_with_any_change(store, tmp_path, change):
    """So a command that changes its inputs does not change those of the next datum."""
    a_commit(store, FILES)
    folder = materialized(store, tmp_path)
    before = fingerprint(folder)
    assert b"1" == (folder / "a.txt").read_bytes()
    assert before == fingerprint(folder)
    while os.stat(tmp_path).st_ctime_ns <= os.stat(folder / "a.txt").st_ctime_ns:
        tmp_path.touch()  # the clock of a file system may be coarse
    change(folder)

    assert before != fingerprint(folder)


@pytest.fixture
def inputs(store, tmp_path) -> Inputs:
    """A materialized input beside an empty ``out``."""
    a_commit(store, {"a": b"1", "dir/b": b"2", "other/c": b"3"})
    spec = PfsInput("in", "default", "labresults", "master", None, glob="/", s3=False)
    resolved = resolve(store, spec)
    root = tmp_path / "pfs"
    (root / "out").mkdir(parents=True)
    materialize(store, choices(store, resolved)[0], root / "in", spool=tmp_path)
    materialized = {"in": (root / "in").stat().st_ctime_ns} if (root / "in").exists() else {}
    return Inputs(store, root, {"in": resolved}, materialized)


def collected(inputs: Inputs, scratch: Path) -> dict[str, Entry]:
    stage = Stage(inputs.store.backend, "s", writer="w", scratch=scratch)
    entries = {e.key: e for e in collect(inputs.root / "out", inputs, stage, spool=scratch)}
    stage.close()
    return entries


def contents(inputs: Inputs, scratch: Path) -> dict[str, bytes]:
    reader = BlobReader(inputs.store.backend)
    found = collected(inputs, scratch)
    return {key: b"".join(reader.pieces(found[key].extents)) for key in sorted(found)}


def test_collect_returns_an_entry_for_each_file_and_drops_empty_folders(inputs, tmp_path):
    out = inputs.root / "out"
    (out / "sub" / "empty").mkdir(parents=True)
    (out / "sub" / "f").write_bytes(b"x")
    (out / "Ünï").write_bytes(b"")

    assert {"sub/f": b"x", "Ünï": b""} == contents(inputs, tmp_path)


def test_collect_shares_the_bytes_of_links_into_inputs(inputs, tmp_path):
    """A link to a file is a file; a link to a folder is all files below it."""
    root = inputs.root
    (root / "out" / "file").symlink_to(root / "in" / "a")
    (root / "out" / "all").symlink_to(root / "in")
    (root / "out" / "relative").symlink_to("../in/dir/b")
    tree = inputs.store.tree(inputs.by_name["in"].commit)

    assert {
        "file": tree.entry("a").extents,
        "relative": tree.entry("dir/b").extents,
        "all/a": tree.entry("a").extents,
        "all/dir/b": tree.entry("dir/b").extents,
        "all/other/c": tree.entry("other/c").extents,
    } == {key: entry.extents for key, entry in collected(inputs, tmp_path).items()}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "symbolic link to /etc/passwd"),
        (lambda path: path.symlink_to("../in/none"), "symbolic link"),
        (lambda path: path.symlink_to("../.."), "symbolic link"),
        (os.mkfifo, "it is a pipe"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "it is a socket"),
        (lambda path: Path(os.fsdecode(bytes(path) + b"\xff")).touch(), "not UTF-8"),
        (lambda _: os.makedirs("/".join(["d" * 200] * 6)), "longer than 1,024 bytes"),
    ],
    ids=["link away", "broken link", "link up", "pipe", "socket", "not UTF-8", "long key"],
)
def test_collect_rejects_what_cannot_be_a_file_of_a_commit(
    inputs, tmp_path, monkeypatch, make, reason
):
    monkeypatch.chdir(inputs.root / "out")
    make(Path("x"))

    with pytest.raises(NotAnOutput, match=reason):
        contents(inputs, tmp_path)


def test_collect_rejects_files_that_vanish(inputs, tmp_path):
    path = inputs.root / "out" / "vanishing"
    path.touch()
    stage = Stage(inputs.store.backend, "s", writer="w", scratch=tmp_path)

    with pytest.raises(NotAnOutput, match="vanishing: it vanished"):
        list(collect(inputs.root / "out", inputs, stage, spool=tmp_path, check=path.unlink))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_collect_rejects_files_that_cannot_be_read(inputs, tmp_path):
    (inputs.root / "out" / "closed").touch(mode=0)

    with pytest.raises(NotAnOutput, match="Permission denied"):
        contents(inputs, tmp_path)
