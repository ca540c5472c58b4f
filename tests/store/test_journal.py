"""Check-ins that are killed midway, and resume."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.model import BranchName, Repo
from worker.store import journal
from worker.store.checkin import put_directory
from worker.store.gc import gc
from worker.store.ingest import Ingester
from worker.store.source import CannotImport
from worker.store.verify import verify

LAB = BranchName(Repo("default", "lab"))
FILES = {f"{number:02d}": b"%d" % number * 1000 for number in range(20)}


class Killed(BaseException):
    """Ends a check-in midway, as SIGKILL does, in this process."""


@pytest.fixture(autouse=True)
def eager(monkeypatch, tmp_path):
    """A checkpoint after each file, also for files that have just been written."""
    monkeypatch.setattr(journal, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(journal, "RACY", -1e9)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    return temporary


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The keys of the files that were read."""
    keys: list[str] = []
    real = Ingester.add_file

    def add_file(self, found, *arguments, **more):
        keys.append(found.key)
        return real(self, found, *arguments, **more)

    monkeypatch.setattr(Ingester, "add_file", add_file)
    return keys


def kill_at(key: str):
    """Return a progress callback that kills the check-in when *key* is stored."""

    def progress(found: str, _size: int) -> None:
        if found == key:
            raise Killed

    return progress


def killed_put(store, folder, key: str, **more) -> None:
    with pytest.raises(Killed):
        put_directory(store, LAB, folder, progress=kill_at(key), **more)


def contents(store) -> dict[str, bytes]:
    from worker.store.blobs import BlobReader

    reader = BlobReader(store.backend)
    tree = store.tree(store.commit(store.head(LAB).commit))
    return {entry.key: b"".join(reader.pieces(entry.extents)) for entry in tree.entries()}


def test_a_resumed_check_in_reads_only_what_was_not_stored(store, folder, read, eager):
    """However often it is killed; nothing is left of the journal."""
    killed_put(store, folder, "09")
    assert sorted(FILES)[:10] == read
    read.clear()
    killed_put(store, folder, "15")
    assert sorted(FILES)[10:16] == read
    read.clear()
    # Before its first checkpoint.
    killed_put(store, folder, "00")
    read.clear()
    put_directory(store, LAB, folder)

    assert sorted(FILES)[16:] == read
    assert FILES == contents(store)
    assert () == verify(store).defects
    assert [] == os.listdir(eager)


def test_a_file_that_changed_in_between_is_read_again(store, folder, read):
    """Also if its size and mtime are those of before."""
    killed_put(store, folder, "09")
    found = (folder / "03").stat()
    (folder / "03").write_bytes(FILES["03"][::-1])
    os.utime(folder / "03", ns=(found.st_atime_ns, found.st_mtime_ns))
    (folder / "05").unlink()
    read.clear()
    put_directory(store, LAB, folder)

    assert ["03", *sorted(FILES)[10:]] == read
    assert {**FILES, "03": FILES["03"][::-1]} == {**contents(store), "05": FILES["05"]}
    assert "05" not in contents(store)


def test_an_entry_of_the_head_is_kept(store, folder):
    """The file was stored by a check-in that was killed, and then by another one."""
    killed_put(store, folder, "09")
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    first = put_directory(store, LAB, copy)

    assert first == put_directory(store, LAB, folder)


@pytest.mark.parametrize("loss", ["gc", "age", "age of the checkpoint", "torn", "forged"])
def test_what_cannot_be_resumed_starts_again(store, folder, read, eager, loss):
    """Its blobs were collected, it is too old, or the journal is damaged."""
    killed_put(store, folder, "09")
    (found,) = eager.iterdir()
    session = found / "session-0"
    if loss == "gc":
        gc(store, grace=-1e6)
    elif loss.startswith("age"):
        old = time.time() - journal.RESUME_LIMIT - 60
        os.utime(session, (old, old))
        if loss == "age":
            os.utime(found, (old, old))
    elif loss == "torn":
        session.write_bytes(session.read_bytes()[:20])
    else:
        found.chmod(0o777)
    read.clear()
    put_directory(store, LAB, folder)

    assert sorted(FILES) == read
    assert FILES == contents(store)
    assert () == verify(store).defects


def test_a_torn_last_line_is_ignored(store, folder, read, eager):
    killed_put(store, folder, "09")
    (found,) = eager.iterdir()
    session = found / "session-0"
    session.write_bytes(session.read_bytes()[:-10])
    read.clear()
    put_directory(store, LAB, folder)

    assert sorted(FILES)[9:] == read
    assert FILES == contents(store)


def test_a_concurrent_check_in_of_the_same_directory_has_no_journal(store, folder, eager):
    """The lock of the journal is held."""
    again = []

    def progress(key: str, _size: int) -> None:
        if key == "05":
            again.append(put_directory(store, LAB, folder))

    commit = put_directory(store, LAB, folder, progress=progress)

    assert commit == again[0]
    assert [] == os.listdir(eager)


def test_a_rejected_check_in_resumes_when_its_files_are_repaired(store, folder, read):
    """A pipe at the end cannot be committed."""
    os.mkfifo(folder / "pipe")
    with pytest.raises(CannotImport):
        put_directory(store, LAB, folder)
    (folder / "pipe").unlink()
    read.clear()
    put_directory(store, LAB, folder)

    assert [] == read
    assert FILES == contents(store)


def test_a_short_check_in_that_fails_leaves_nothing(store, folder, eager, monkeypatch):
    """Neither a journal nor blobs: it had no checkpoint."""
    monkeypatch.setattr(journal, "CHECKPOINT_INTERVAL", 1e9)
    killed_put(store, folder, "09")

    assert [] == os.listdir(eager)
    assert [] == [each.name for each in store.backend.list_from("blobs/")]


def test_a_file_that_was_just_changed_is_not_recorded(store, folder, read, monkeypatch):
    """It could change again within the same tick of the clock of its file system."""
    monkeypatch.setattr(journal, "RACY", 3600.0)
    killed_put(store, folder, "09")
    read.clear()
    put_directory(store, LAB, folder)

    assert sorted(FILES) == read


def test_another_branch_and_path_have_journals_of_their_own(store, folder, read):
    killed_put(store, folder, "09")
    read.clear()
    put_directory(store, BranchName(LAB.repo, "other"), folder)
    put_directory(store, LAB, folder, at="below")

    assert 2 * len(FILES) == len(read)


def test_old_journals_are_removed_by_the_next_check_in(store, folder, eager):
    killed_put(store, folder, "09")
    (found,) = eager.iterdir()
    assert 0o700 == stat.S_IMODE(found.stat().st_mode)
    old = time.time() - journal.RESUME_LIMIT - 60
    os.utime(found / "session-0", (old, old))
    os.utime(found, (old, old))
    put_directory(store, BranchName(LAB.repo, "other"), folder)

    assert [] == os.listdir(eager)


DRIVER = """
import os, signal, sys
from pathlib import Path
from worker.model import BranchName, Repo
from worker.store import journal
from worker.store.checkin import put_directory
from worker.store.opening import open_store

journal.CHECKPOINT_INTERVAL, journal.RACY = 0.0, -1e9

def progress(key, size):
    if key == "09":
        os.kill(os.getpid(), signal.SIGKILL)

put_directory(open_store(sys.argv[1]), BranchName(Repo("default", "lab"), "master"),
              Path(sys.argv[2]), progress=progress)
"""


def test_a_check_in_that_received_sigkill_resumes(local, folder, read, eager):
    """What it has written and nothing needs is removed by gc."""
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, local.url, folder],
        check=False,
        env={**os.environ, "TMPDIR": str(eager), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    put_directory(local, LAB, folder)

    assert -9 == killed.returncode
    assert sorted(FILES)[10:] == read
    assert FILES == contents(local)
    gc(local, grace=-1e6)
    assert () == verify(local).defects
    assert [] == os.listdir(eager)


def _rewrite(line, change):
    def tamper(session):
        lines = [json.loads(each) for each in session.read_bytes().splitlines()]
        change(lines[line])
        session.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in lines))

    return tamper


def _replace(make):
    def tamper(session):
        session.unlink()
        make(session)

    return tamper


def _link(session):
    session.parent.joinpath("packs").symlink_to(session.parent.parent)


TAMPERED = {
    "an entry with another key": _rewrite(2, lambda row: row[2].update(key="zz")),
    "rows in another order": lambda session: session.write_bytes(
        b"".join(sorted(session.read_bytes().splitlines(keepends=True), reverse=True))
    ),
    "a stage of a path": _rewrite(0, lambda header: header.update(stage="../x")),
    "a stage without a name": _rewrite(0, lambda header: header.update(stage="")),
    "an extent beyond the blob": _rewrite(
        1, lambda row: row[2]["extents"][0].update(run_offset=1 << 40)
    ),
    "no JSON": lambda session: session.write_bytes(b"\xff\n" * 3),
    "a pipe": _replace(os.mkfifo),
    "a folder": _replace(os.mkdir),
    "a link to a device": _replace(lambda session: session.symlink_to("/dev/zero")),
    "a link in the place of the packs": _link,
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_tampered_journal_does_not_change_what_is_committed(store, folder, eager, tamper):
    """Each file is read again, and a sound commit is made."""
    with pytest.raises(Killed):
        put_directory(store, LAB, folder, progress=kill_at("10"))
    (session,) = eager.glob("*/session-0")
    tamper(session)
    commit = put_directory(store, LAB, folder)

    assert sorted(FILES) == [entry.key for entry in store.tree(commit).entries()]
    assert () == verify(store).defects
