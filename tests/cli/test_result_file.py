"""The files of ``--result`` and ``--termination-message``."""

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import attrs
import pytest
import structlog
from builders import a_commit, a_job
from hypothesis import example, given
from hypothesis import strategies as st
from scenarios.sites import Site

from worker.cli.result_file import ResultFile
from worker.errors import Cause
from worker.job.result import Result
from worker.job.state import State
from worker.job.termination_message import to_message
from worker.model import CommitName, Repo

RESULT = Result(job="a" * 32, state=State.SUCCESS, cause=Cause.PUBLISHED)
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(autouse=True)
def log_in_text():
    """Report errors as text, also after a test that has configured a log of JSON."""
    structlog.reset_defaults()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "result.json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "scratch").mkdir()
    site = Site(tmp_path, str(tmp_path / "store"))
    a_commit(site.open(), {"a": b"1"})
    return site


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_the_file_is_valid_whenever_it_changes(path, monkeypatch):
    """Each change is the replacement by a complete file."""
    path.write_text('{"state": "success", "of": "an earlier run"}')
    states = []

    def replace(source, target, real=os.replace, **folders):
        states.append(
            (read(path.with_name(target))["state"], read(path.with_name(source))["state"])
        )
        real(source, target, **folders)

    monkeypatch.setattr(os, "replace", replace)
    with ResultFile(path) as file:
        assert ("created", None) == (read(path)["state"], read(path)["exit_code"])
        file.write(RESULT)

    assert [("success", "created"), ("created", "success")] == states
    assert ["result.json"] == os.listdir(path.parent)


def test_an_error_before_the_run_is_a_result(path):
    with pytest.raises(PermissionError), ResultFile(path):
        raise PermissionError(13, "Permission denied", "job.json")

    assert ("unrunnable", 66) == (read(path)["state"], read(path)["exit_code"])
    assert "job.json: Permission denied" == read(path)["reason"]


def test_links_and_modes_are_kept(path, tmp_path):
    """The file behind a symbolic link is replaced, with its mode."""
    target = tmp_path / "elsewhere"
    target.write_text("old")
    target.chmod(0o640)
    path.symlink_to(target)
    with ResultFile(path) as file:
        file.write(RESULT)

    assert path.is_symlink()
    assert 0o640 == stat.S_IMODE(target.stat().st_mode)
    assert "success" == read(target)["state"]


def test_a_new_file_has_the_mode_of_the_umask(path):
    before = os.umask(0o027)
    try:
        ResultFile(path)
    finally:
        os.umask(before)

    assert 0o640 == stat.S_IMODE(path.stat().st_mode)


def test_a_pipe_gets_the_final_result_only(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        with ResultFile(pipe) as file:
            file.write(RESULT)
        received, _ = reader.communicate(timeout=60)

    assert "success" == json.loads(received)["state"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@NEEDS_ROOT
def test_a_mount_is_written_in_place(path):
    """As the termination log of a pod is."""
    path.write_text("x" * 100_000)
    mounted = subprocess.run(
        ["mount", "--bind", path, path], capture_output=True, check=False, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no mount can be made here: {mounted.stderr.strip()}")
    try:
        with ResultFile(path) as file:
            assert "created" == read(path)["state"]
            file.write(RESULT)
        found = read(path)
    finally:
        subprocess.run(["umount", path], check=True)

    assert "success" == found["state"]
    assert ["result.json"] == os.listdir(path.parent)


def test_a_file_in_a_directory_that_is_not_writable_is_written_in_place(path, monkeypatch):
    """No temporary file can be created there."""
    path.write_text("x" * 100_000)

    def deny(name, flags, *mode, real=os.open, **folder):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", name)
        return real(name, flags, *mode, **folder)

    monkeypatch.setattr(os, "open", deny)
    with ResultFile(path) as file:
        assert "created" == read(path)["state"]
        file.write(RESULT)

    assert "success" == read(path)["state"]


def test_a_missing_directory_is_named_by_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No such file or directory: .*none/result.json'"):
        ResultFile(tmp_path / "none" / "result.json")


def test_a_disk_that_is_full_at_the_start_is_named_by_the_file(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        ResultFile(path)


def test_a_full_disk_keeps_the_state_and_is_reported(path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    with ResultFile(path) as file:
        monkeypatch.setattr(os, "fsync", full)
        file.write(RESULT)

    assert "created" == read(path)["state"]
    assert f"worker: {path}: No space left on device\n" == capsys.readouterr().err
    assert ["result.json"] == os.listdir(path.parent)


def test_a_killed_worker_leaves_a_valid_file(site):
    """Not the result of the run before."""
    (site.root / "r.json").write_text(RESULT.to_text())
    job = site.job(a_job("echo started; sleep 1000"))
    process = site.start("run", "--job", job, "--result", "r.json")
    while "started" not in (line := process.stderr.readline()):
        assert line, "the command has not started"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    found = read(site.root / "r.json")
    assert ("created", None) == (found["state"], found["exit_code"])
    assert "was killed" in found["reason"]


def test_an_invalid_configuration_is_a_result(site):
    """Exit status 78; the result of an earlier run is gone."""
    (site.root / "r.json").write_text(RESULT.to_text())
    job = site.job(a_job("true"))
    done = site.worker("run", "--job", job, "--result", "r.json", WORKER_GATEWAY_PORT="high")

    found = read(site.root / "r.json")
    assert 78 == done.status == found["exit_code"]
    assert "WORKER_GATEWAY_PORT" in found["reason"]


def test_a_run_writes_its_termination_message(site):
    lines = "for n in $(seq 40); do printf '%0300d\\n' $n; done"
    job = site.job(a_job(lines, "echo the last words; exit 3", datumTries=1))
    done = site.worker("run", "--job", job, "--termination-message", "message")

    found = read(site.root / "message")
    assert (10, 3) == (done.status, found["command_code"])
    assert "the last words" == found["log_tail"][-1]
    assert (site.root / "message").stat().st_size <= 4096


TEXTS = st.lists(st.text(max_size=3000), max_size=60).map(tuple)


@given(st.text(max_size=20_000), TEXTS, TEXTS)
@example("x" * 20_000, (), ())
@example("é" * 3000, (), ())
@example("\0" * 3000, (), ())
@example("", ("x" * 3000,) * 60, ())
@example("", (), ("é" * 3000,) * 60)
def test_a_termination_message_is_valid_and_fits(reason, warnings, lines):
    """Whatever the texts are, it is JSON of at most 4,096 bytes, and has all short fields."""
    name = CommitName(Repo("p" * 60, "r" * 60), "b" * 32)
    result = attrs.evolve(
        RESULT, reason=reason, warnings=warnings, log_tail=lines, output=name, kept=name
    )
    message = to_message(result)
    found = json.loads(message)

    assert len(message.encode()) < 4096
    assert (str(name), "success", 0) == (found["output"], found["state"], found["exit_code"])
    if len(reason) < 500:
        assert reason == found["reason"]
    assert len(found["log_tail"]) <= len(lines)


def test_a_termination_message_prefers_the_last_lines():
    lines = tuple(f"{number} " + "x" * 300 for number in range(50))
    found = json.loads(to_message(attrs.evolve(RESULT, log_tail=lines)))

    assert 5 < len(found["log_tail"]) < 50
    assert lines[-1] == found["log_tail"][-1]
