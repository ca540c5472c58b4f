import os
import stat
from pathlib import Path

import pytest
from builders import a_commit

from worker.job import files
from worker.job.files import NotAFileName, fingerprint, materialize
from worker.job.plan import choices, resolve
from worker.spec.pipeline import PfsInput


def selections(store, **changes):
    fields = {"glob": "/", "s3": False, "empty_files": False, **changes}
    wanted = PfsInput("in", "default", "labresults", "master", None, **fields)
    return choices(store, resolve(store, wanted))


def lay_out(store, folder: Path, **changes) -> Path:
    """Lay out the first datum and return the folder."""
    materialize(store, selections(store, **changes)[0], folder / "in", spool=folder)
    return folder / "in"


def below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


FILES = {"a.txt": b"1", "dir/b": b"22", "dir/sub/c": b"", "Ünï cøde": b"4", "empty/": b""}


def test_the_files_of_a_commit_lie_below_the_input(store, tmp_path):
    """Byte for byte, with folders where keys have slashes."""
    a_commit(store, FILES)
    folder = lay_out(store, tmp_path)

    assert {k: v for k, v in FILES.items() if k != "empty/"} == below(folder)
    assert (folder / "empty").is_dir()


def test_only_what_the_datum_selected_is_there(store, tmp_path):
    """A folder with all below it, or one file."""
    a_commit(store, FILES)

    assert {"a.txt": b"1"} == below(lay_out(store, tmp_path, glob="/*.txt"))


def test_files_and_folders_are_read_only(store, tmp_path):
    """Nobody but root can change an input by mistake."""
    a_commit(store, FILES)
    folder = lay_out(store, tmp_path)

    assert {0o444} == {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}
    assert {0o555} == {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_dir()}


def test_empty_files_have_names_and_no_content(store, tmp_path):
    """emptyFiles costs no disk."""
    a_commit(store, {"a": b"123"})

    assert {"a": b""} == below(lay_out(store, tmp_path, empty_files=True))


def test_what_the_kernel_will_not_copy_is_read_and_written(store, tmp_path, monkeypatch):
    """Another file system, or an object store: the bytes are the same."""
    a_commit(store, FILES)
    monkeypatch.setattr(files, "_copy_range", lambda *_: 0)

    assert b"22" == (lay_out(store, tmp_path) / "dir/b").read_bytes()


@pytest.mark.parametrize(
    "key",
    [
        "../up",
        "a/../../up",
        "/etc/passwd",
        "a//b",
        "./a",
        "a\0b",
        "x" * 256,
        "..",
        "/",
    ],
    ids=[
        "up",
        "up later",
        "absolute",
        "doubled slash",
        "dot",
        "nul",
        "long part",
        "dots",
        "slash",
    ],
)
def test_a_key_that_cannot_be_a_file_is_named(store, tmp_path, key):
    """No key becomes a path outside of its input's folder."""
    a_commit(store, {key: b""})
    with pytest.raises(NotAFileName) as caught:
        lay_out(store, tmp_path)

    assert key == caught.value.key
    assert {"in", "store"} >= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "files",
    [{"a": b"1", "a/b": b"2"}, {"a": b"1", "a-": b"", "a/b": b"2"}, {"a/": b"1"}],
    ids=["file and folder", "not next to each other", "folder with content"],
)
def test_what_cannot_be_side_by_side_is_an_error(store, tmp_path, files):
    """`a` and `a/b` are two keys, and cannot be two files."""
    a_commit(store, files)

    with pytest.raises(NotAFileName):
        lay_out(store, tmp_path)


def test_it_can_be_stopped(store, tmp_path):
    """The check is asked before each file."""
    a_commit(store, FILES)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(store, selections(store)[0], tmp_path / "in", spool=tmp_path, check=stop)


def rewrite(path: Path) -> None:
    """Change a byte and hide it: the size, the rights and the times are what they were."""
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
    ids=["content", "removed", "added", "renamed", "rights", "replaced", "gone", "a file now"],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="the folders are read-only for everybody but root")
def test_a_change_is_seen(store, tmp_path, change):
    """Whatever a command does to its inputs, the next datum is not given that."""
    a_commit(store, FILES)
    folder = lay_out(store, tmp_path)
    before = fingerprint(folder)
    assert b"1" == (folder / "a.txt").read_bytes()
    assert before == fingerprint(folder)
    while os.stat(tmp_path).st_ctime_ns <= os.stat(folder / "a.txt").st_ctime_ns:
        tmp_path.touch()  # The clock of a file system may be coarse.
    change(folder)

    assert before != fingerprint(folder)
