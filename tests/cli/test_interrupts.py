"""Signals before, during and after the point at which a command cannot be undone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from signal import getsignal

import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.cli import app
from worker.model import BranchName, Repo
from worker.signals import STOP_SIGNALS
from worker.store.opening import open_store
from worker.store.verify import verify

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("signal_at_moment.py")
COPY = BranchName(Repo("default", "copy"))
LAB = BranchName(Repo("default", "lab"))
INPUT = BranchName(Repo("default", "labresults"))
SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"]
LATE = [
    "after the job handles signals",
    "after trio",
    "while writing the result",
    "while printing",
    "when the status is decided",
    "at exit",
    "while Python finalizes",
]


def call(tmp_path: Path, moment: str, signal: str, *arguments: str):
    return subprocess.run(
        [sys.executable, DRIVER, moment, signal, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WORKER_STORE": str(tmp_path / "store"),
            "WORKER_SCRATCH": str(tmp_path / "scratch"),
            "WORKER_PFS_ROOT": str(tmp_path / "pfs"),
            "TMPDIR": str(tmp_path),
        },
    )


@pytest.fixture
def job(tmp_path):
    (tmp_path / "scratch").mkdir()
    store = open_store(tmp_path / "store")
    a_commit(store, {"a": b"1"})
    document = a_job(
        "echo 1 > $PFS_ROOT/out/f",
        inputs=(an_input(s3=False),),
        s3Out=False,
        job={"id": an_id()},
    )
    (tmp_path / "job.json").write_text(json.dumps(document))
    return store


RUN = ("run", "--job", "job.json", "--result", "result.json")


@pytest.mark.parametrize("moment", LATE)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_after_publishing_does_not_change_the_status_of_run(job, tmp_path, moment, signal):
    """The result is decided, whenever the signal arrives afterwards."""
    done = call(tmp_path, moment, signal, *RUN)

    assert 0 == done.returncode, done.stderr
    assert job.head(COPY) is not None
    assert "success" == json.loads((tmp_path / "result.json").read_text())["state"]


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_after_a_failure_does_not_change_the_status_of_run(tmp_path, signal):
    """It arrives after the run has stopped handling signals."""
    document = json.loads((tmp_path / "job.json").read_text())
    document["input"]["pfs"]["repo"] = "missing"
    (tmp_path / "job.json").write_text(json.dumps(document))
    done = call(tmp_path, "after the job handles signals", signal, *RUN)

    assert 66 == done.returncode, done.stderr
    assert "missing" in json.loads((tmp_path / "result.json").read_text())["reason"]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_during_the_report_of_an_error_is_ignored(tmp_path, signal):
    """The error is reported with its exit status."""
    done = call(tmp_path, "while an error is reported", signal, "ls", "missing")

    assert 66 == done.returncode, done.stderr
    assert done.stderr.startswith("worker: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("moment", ["before the job", "before trio"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_before_run_handles_signals_is_not_lost(job, tmp_path, moment, signal):
    """The run stops before the command starts."""
    done = call(tmp_path, moment, signal, *RUN)

    assert 75 == done.returncode, done.stderr
    assert job.head(COPY) is None
    assert [] == os.listdir(tmp_path / "scratch")


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("signal", ["SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize(
    ("moment", "arguments"),
    [("before the job", RUN), ("commit: before", ("put", "labresults:b", "job.json"))],
    ids=["run before its command", "put"],
)
def test_a_user_signal_without_a_command_has_no_effect(tmp_path, moment, arguments, signal):
    """By default it would end the process."""
    done = call(tmp_path, moment, signal, *arguments)

    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("moment", ["commit: before", "commit: after", "commit: branch"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_while_run_publishes_a_folder_is_deferred(job, tmp_path, moment, signal):
    """The input's branch is moved to the commit, and then the run stops before its command."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b").write_text("2")
    before = job.head(INPUT).commit
    done = call(tmp_path, moment, signal, *RUN, "--input", "labresults=folder")

    assert 75 == done.returncode, done.stderr
    assert "stopped" == json.loads((tmp_path / "result.json").read_text())["cause"]
    head = job.head(INPUT).commit
    assert before != head
    assert ["b"] == [entry.key for entry in job.tree(job.commit(head)).entries()]
    assert job.head(COPY) is None
    assert [] == os.listdir(tmp_path / "scratch")


@pytest.mark.parametrize("moment", ["commit: before", "commit: after", "commit: branch", *LATE[3:]])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_while_put_publishes_is_deferred(tmp_path, moment, signal):
    """From the start of publishing on, the commit may exist."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    store = open_store(tmp_path / "store")
    done = call(tmp_path, moment, signal, "put", "lab", "folder")

    assert 0 == done.returncode, done.stderr
    assert done.stdout.strip() == str(store.head(LAB).commit)
    assert () == verify(store).defects


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("moment", ["commit: twice", "commit: without end"])
def test_a_second_signal_stops_a_put_that_publishes(tmp_path, moment, signal):
    """So does the end of the grace period. The message leaves open whether the commit exists."""
    (tmp_path / "folder").mkdir()
    open_store(tmp_path / "store")
    done = call(tmp_path, moment, signal, "put", "lab", "folder")

    assert (75, "") == (done.returncode, done.stdout)
    assert "it is unknown whether the commit exists" in done.stderr


def test_a_second_signal_after_publishing_is_ignored(tmp_path):
    """The grace period applies, and the commit is printed."""
    (tmp_path / "folder").mkdir()
    store = open_store(tmp_path / "store")
    done = call(tmp_path, "again while printing", "SIGTERM", "put", "lab", "folder")

    assert (0, f"{store.head(LAB).commit}\n") == (done.returncode, done.stdout), done.stderr


def test_call_does_not_replace_signal_handlers(tmp_path, monkeypatch):
    """Only a process that is the command replaces them."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "job.json").write_text(json.dumps(a_job("true", inputs=(an_input(),))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_STORE", open_store(tmp_path / "store").url)
    before = [getsignal(number) for number in STOP_SIGNALS]

    assert 0 == app.call(["put", "lab", "folder"])
    assert 66 == app.call(["run", "--job", "job.json"])
    assert before == [getsignal(number) for number in STOP_SIGNALS]


def test_a_signal_before_publishing_stops_put(tmp_path):
    """The exit status is 75, and the store has no object of it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    store = open_store(tmp_path / "store")
    driver = (
        "import os, signal; from worker.store.ingest import Ingester\n"
        "real = Ingester.add_file\n"
        "def take(*arguments, **named):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return real(*arguments, **named)\n"
        "Ingester.add_file = take\n"
        "from worker.cli import app\n"
        "app.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", driver, "put", "lab", "folder"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WORKER_STORE": store.url},
    )

    assert 75 == done.returncode, done.stderr
    assert store.head(LAB) is None
    assert [] == list(store.backend.list_from(""))
