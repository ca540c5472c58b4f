"""Attacks of the command on the files of ``--result`` and ``--termination-message``."""

import json
import os
import resource
import stat
from pathlib import Path

import attrs
import pytest
import structlog
from builders import a_commit, a_job
from scenarios.sites import Site

from worker.cli.result_file import ResultFile
from worker.errors import Cause
from worker.job.result import Result
from worker.job.state import State

RESULT = Result(job="a" * 32, state=State.SUCCESS, cause=Cause.PUBLISHED)


@attrs.frozen
class Place:
    """The folder of a result file, a folder beside it, and a file that is not to be written."""

    root: Path

    @property
    def file(self) -> Path:
        """The file of the result."""
        return self.root / "results" / "file"

    @property
    def victim(self) -> Path:
        """A file that the worker may write and the command may not."""
        return self.root / "victims" / "file"


@pytest.fixture(autouse=True)
def log_in_text():
    """Report errors as text, also after a test that has configured a log of JSON."""
    structlog.reset_defaults()


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    for file in (place.file, place.victim):
        file.parent.mkdir()
    place.victim.write_text("victim")
    return place


ATTACKS = {
    "another file": 'echo "{}" > new; mv new file',
    "another content": 'echo "{}" > file',
    "no file": "rm file",
    "a link": "ln -sfn ../victims/file file",
    "a link to nothing": "ln -sfn ../victims/new file",
    "a link to a device": "ln -sfn /dev/full file",
    "a hard link": "ln -f ../victims/file file",
    "a pipe": "rm file; mkfifo file",
    "permissions": "rm file; touch file; chmod 4777 file",
    "a file without permissions": "chmod 0 file",
    "another folder": "mv ../results ../elsewhere; mkdir ../results",
    "a link to another folder": "mv ../results ../elsewhere; ln -s victims ../results",
    "a link as temporary file": "ln -s ../victims/file .file.0000000000000000.tmp",
}
"""What a command does in the folder of the file while the job runs."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("option", ["--result", "--termination-message"])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_result_is_written_where_the_file_was(place, option, name):
    """Nothing is followed, and no other file changes."""
    site = Site(place.root, str(place.root / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a": b"1"})
    job = a_job(f"cd {place.file.parent}", ATTACKS[name])
    done = site.worker("run", "--job", site.job(job), option, place.file)
    folder = place.root / ("elsewhere" if "folder" in name else "results")

    assert 0 == done.status, done.err
    assert ("success", 0) == _state(folder / "file")
    assert "victim" == place.victim.read_text()
    assert ["file"] == os.listdir(place.victim.parent)
    assert 0 == stat.S_IMODE((folder / "file").lstat().st_mode) & 0o7133
    assert ["file"] == [each for each in os.listdir(folder) if not each.startswith(".file.0")]


def _state(path: Path) -> tuple[str, int | None]:
    assert stat.S_ISREG(path.lstat().st_mode)
    found = json.loads(path.read_text())
    return found["state"], found["exit_code"]


@pytest.fixture
def in_place(place, monkeypatch):
    """The file exists, and no file can be created in its folder."""
    real = os.open

    def deny(path, flags, *mode, **folder):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *mode, **folder)

    place.file.write_text("old")
    monkeypatch.setattr(os, "open", deny)


@pytest.mark.usefixtures("in_place")
def test_a_result_that_does_not_fit_leaves_a_document(place, capsys):
    """A part of it would be no JSON."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ResultFile(place.file) as file:
        before = place.file.read_text()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        try:
            file.write(RESULT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert ("created", None) == _state(place.file)
    assert f"worker: {place.file}: File too large\n" == capsys.readouterr().err


@pytest.mark.usefixtures("in_place")
@pytest.mark.parametrize("name", ["a link", "a hard link", "another file"])
def test_what_cannot_be_replaced_is_not_written_through(place, name, capsys):
    """A file that is written in place is the one that was there at the start."""
    with ResultFile(place.file) as file:
        assert 0 == os.system(f"cd {place.file.parent}; {ATTACKS[name]}")
        file.write(RESULT)

    assert "victim" == place.victim.read_text()
    assert f"worker: {place.file}: Permission denied\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("rm file; mkdir file; touch file/x", "Is a directory"),
        ("rm -r ../results", "No such file or directory"),
    ],
    ids=["a folder in its place", "no folder"],
)
def test_a_result_that_cannot_be_written_is_reported(place, script, reason, capsys):
    """The exit status still has the result; nothing else is removed to make room."""
    with ResultFile(place.file) as file:
        assert 0 == os.system(f"cd {place.file.parent}; {script}")
        file.write(RESULT)

    assert f"worker: {place.file}: {reason}\n" == capsys.readouterr().err


def test_descriptors_are_closed(place):
    """One of a folder, and one of a file."""
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with ResultFile(place.file) as file:
            file.write(RESULT)
        with pytest.raises(FileNotFoundError):
            ResultFile(place.root / "none" / "file")

    assert len(before) == len(os.listdir("/proc/self/fd"))
