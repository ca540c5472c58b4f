"""``put`` and ``get``: commit local files, and write the files of a commit."""

import io
import json
import os
import subprocess
import sys
import tarfile
from contextlib import contextmanager

import pytest
from builders import a_commit

from worker.cli import terminal as output


@pytest.fixture
def folder(tmp_path):
    """A directory with two files."""
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"1")
    (folder / "below" / "ü b.txt").write_bytes(b"2")
    return folder


def content(store, ref):
    return [entry.key for entry in store.tree(store.resolve(ref)).entries()]


def test_put_commits_a_directory_and_prints_the_commit(worker, store, folder):
    """The first commit creates the repo and the branch."""
    done = worker("put", "labresults", folder)

    assert f"{store.resolve('labresults').name}\n" == done.out
    assert ["a.txt", "below/ü b.txt"] == content(store, "labresults")
    assert 0 == done.status


def test_put_of_unchanged_content_creates_no_commit(worker, store, folder):
    """The JSON output has ``changed: false``."""
    worker("put", "labresults", folder)
    again = json.loads(worker("put", "--json", "labresults", folder).out)

    assert again["changed"] is False
    assert 1 == len(list(store.commits(store.resolve("labresults").name.repo)))


def test_put_removes_other_files_unless_keep_is_given(worker, store, folder):
    """The content of the branch becomes that of the directory."""
    a_commit(store, {"old.txt": b"0"})
    worker("put", "labresults", folder, "--keep")
    assert ["a.txt", "below/ü b.txt", "old.txt"] == content(store, "labresults")

    worker("put", "labresults", folder)
    assert ["a.txt", "below/ü b.txt"] == content(store, "labresults")


def test_put_adds_a_file_or_standard_input(worker, store, folder, monkeypatch):
    """Standard input requires a path in the ref."""
    worker("put", "labresults:x/y.txt", folder / "a.txt")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"streamed")))
    worker("put", "labresults:z.txt", "-", "-m", "from a stream")

    assert ["x/y.txt", "z.txt"] == content(store, "labresults")
    assert "from a stream" == store.resolve("labresults").message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["labresults^", "."], "is a commit, which cannot change; expected a branch"),
        (["labresults@" + "a" * 32, "."], "is a commit, which cannot change; expected a branch"),
        (["labresults", "-"], "standard input requires a path"),
    ],
)
def test_put_rejects_a_commit_and_a_stream_without_a_path(worker, arguments, says):
    """The message tells what is expected."""
    done = worker("put", *arguments)

    assert says in done.err
    assert 64 == done.status


def test_get_writes_the_files_of_a_commit(worker, store, tmp_path):
    """Directories are created, and an empty key that ends in a slash is one."""
    a_commit(store, {"a.txt": b"1", "below/ü b.txt": b"2", "empty/": b""})

    done = worker("get", "labresults", tmp_path / "out")

    assert (0, "", "") == (done.status, done.out, done.err)
    assert b"1" == (tmp_path / "out" / "a.txt").read_bytes()
    assert b"2" == (tmp_path / "out" / "below" / "ü b.txt").read_bytes()
    assert (tmp_path / "out" / "empty").is_dir()


ODD = {"a": b"1", "a/b": b"2", "../up": b"3", "x" * 256: b"4", "fine": b"5"}


def test_get_reports_each_key_that_cannot_be_a_file(worker, store, tmp_path):
    """All other files are written, and the exit status is 1."""
    a_commit(store, ODD)

    done = worker("get", "labresults", tmp_path / "out")

    for key in ("a", "../up", "x" * 256):
        assert f"worker: {key}: " in done.err
    assert "3 keys cannot be files on this machine" in done.err
    assert b"2" == (tmp_path / "out" / "a" / "b").read_bytes()
    assert b"5" == (tmp_path / "out" / "fine").read_bytes()
    assert not (tmp_path / "up").exists()
    assert 1 == done.status


def test_get_json_reports_keys_and_reasons(worker, store, tmp_path):
    """A program gets each key with its reason as an object."""
    a_commit(store, ODD)

    done = worker("get", "--json", "labresults", tmp_path / "out")

    assert {"../up", "a", "x" * 256} == {json.loads(line)["key"] for line in done.out.splitlines()}
    assert 1 == done.status


def test_get_tar_writes_every_key(worker, store, tmp_path):
    """A key that cannot be a file can be a member of a tar archive."""
    a_commit(store, ODD)

    done = worker("get", "labresults", "--tar", tmp_path / "all.tar")

    assert 0 == done.status
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert sorted(ODD) == tar.getnames()


@pytest.mark.parametrize("arguments", [[], ["out", "--tar", "x.tar"]], ids=["none", "both"])
def test_get_requires_either_a_directory_or_a_tar(worker, arguments):
    """Neither and both are wrong command lines."""
    done = worker("get", "labresults", *arguments)

    assert "expected either DIRECTORY or --tar FILE" in done.err
    assert 64 == done.status


def test_put_to_an_abbreviated_commit_is_rejected(worker, store, folder):
    """It would create a branch of this name, which hides the commit."""
    commit = a_commit(store, {"a": b"1"}, named="3f" * 16)

    done = worker("put", "labresults@3f3f3f", folder)

    assert (64, "") == (done.status, done.out)
    assert f"labresults@3f3f3f is the beginning of the id of {commit.name}" in done.err
    assert 0 == worker("put", "labresults@beef", folder).status
    assert 0 == worker("put", "labresults@beef", folder).status


def test_get_reports_on_a_terminal_what_it_has_written(worker, store, tmp_path, monkeypatch):
    commit = a_commit(store, {"a": b"1", "b/c": b"22"})
    monkeypatch.setattr(output, "on_terminal", lambda: True)

    done = worker("get", "labresults", tmp_path / "out")

    assert f"2 files, 3 bytes of {commit.name} in {tmp_path / 'out'}\n" == done.out


def test_put_of_a_file_that_vanishes_exits_with_73_and_names_it(worker, store, folder, monkeypatch):
    """Another program has removed it: a repetition may succeed."""

    @contextmanager
    def watched(*_):
        yield lambda _key, _size: (folder / "b.txt").unlink(missing_ok=True)

    monkeypatch.setattr("worker.cli.transfer.transfer_progress", watched)
    (folder / "b.txt").write_bytes(b"")
    done = worker("put", "labresults", folder)

    assert 73 == done.status
    assert f"{folder / 'b.txt'}: it vanished while the files were read" in done.err
    assert "Nothing was committed: repeat the command" in done.err
    assert [] == list(store.repos())


def test_put_of_a_missing_path_exits_with_66(worker, tmp_path):
    """The store is not created."""
    done = worker("put", "labresults", "nothing", "--store", tmp_path / "new")

    assert (66, "worker: nothing: No such file or directory\n") == (done.status, done.err)
    assert not (tmp_path / "new").exists()


def test_get_of_a_missing_path_exits_with_66(worker, store, tmp_path):
    """The message names the path."""
    a_commit(store, {"a": b"1"})

    done = worker("get", "labresults:b", tmp_path / "out")

    assert "the commit has no file of this name" in done.err
    assert 66 == done.status


@pytest.mark.parametrize("old", [None, b"an earlier archive"], ids=["new", "existing"])
def test_an_archive_that_cannot_be_completed_is_not_written(worker, store, tmp_path, old):
    """An existing file is as it was, and no temporary file is left."""
    commit = a_commit(store, {"a": b"1" * 512})
    (blob,) = (store.backend.path(each.name) for each in store.backend.list_from("blobs/"))
    blob.write_bytes(b"x" * blob.stat().st_size)
    if old is not None:
        (tmp_path / "all.tar").write_bytes(old)
    before = sorted(tmp_path.iterdir())

    done = worker("get", str(commit.name), "--tar", tmp_path / "all.tar")

    assert (69, "") == (done.status, done.out)
    assert before == sorted(tmp_path.iterdir())
    assert old is None or old == (tmp_path / "all.tar").read_bytes()


def test_an_archive_replaces_a_file_and_keeps_its_mode_and_links(worker, store, tmp_path):
    a_commit(store, {"a": b"1"})
    (tmp_path / "all.tar").write_bytes(b"")
    (tmp_path / "all.tar").chmod(0o640)
    (tmp_path / "link").symlink_to("all.tar")

    done = worker("get", "labresults", "--tar", tmp_path / "link")

    assert 0 == done.status
    assert (tmp_path / "link").is_symlink()
    assert 0o640 == (tmp_path / "all.tar").stat().st_mode & 0o777
    with tarfile.open(tmp_path / "all.tar") as archive:
        assert ["a"] == archive.getnames()


@pytest.mark.parametrize("option", [(), ("--tar",)], ids=["directory", "archive"])
def test_a_path_that_cannot_be_written_is_named_and_no_retry_helps(worker, store, option):
    a_commit(store, {"a": b"1"})

    done = worker("get", "labresults", *option, "/proc/nothing")

    assert (66, "") == (done.status, done.out)
    assert done.err.startswith("worker: /proc/nothing: ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is a device of Linux")
@pytest.mark.parametrize("size", [1, 1 << 20], ids=["small", "large"])
def test_a_full_device_is_named(worker, store, size):
    a_commit(store, {"a": b"1" * size})

    done = worker("get", "labresults", "--tar", "/dev/full")

    assert (73, "worker: /dev/full: No space left on device\n") == (done.status, done.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "labresults", "--tar", "-"),
        ("cat", "labresults:a"),
        ("log", "labresults"),
        ("schema",),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20], ids=["small", "large"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_standard_output_that_is_full_or_closed_is_no_success(
    place, store, arguments, size, unbuffered, monkeypatch
):
    """A reader that stops early ends the command as SIGPIPE does: no message, no traceback."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    a_commit(store, {"a": b"1" * size})
    command = [sys.executable, "-m", "worker", *arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, cwd=place.parent, check=False
        )
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.parent
    )
    process.stdout.close()
    with process:
        message = process.stderr.read()

    assert (73, b"worker: standard output: No space left on device\n") == (
        done.returncode,
        done.stderr,
    )
    assert (141, b"") == (process.returncode, message)


def test_an_archive_is_not_written_to_a_terminal(worker, store, monkeypatch):
    a_commit(store, {"a": b"1"})
    monkeypatch.setattr(output, "on_terminal", lambda: True)

    done = worker("get", "labresults", "--tar", "-")

    assert "standard output is a terminal; redirect it, or name a file" in done.err
    assert (64, "") == (done.status, done.out)
