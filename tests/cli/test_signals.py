"""Signals before, while and after a command does what cannot be taken back."""

import json
import os
import subprocess
import sys
from pathlib import Path
from signal import getsignal

import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.cli import app, stopping
from worker.model import BranchName, Repo
from worker.store.repository import open_store
from worker.store.verify import verify

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("signalled.py")
COPY = BranchName(Repo("default", "copy"))
LAB = BranchName(Repo("default", "lab"))
SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"]
LATE = [
    "when the job hears no more",
    "after trio",
    "while writing the result",
    "while printing",
    "when all is done",
    "at exit",
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
def test_a_run_that_published_ends_with_0(job, tmp_path, moment, signal):
    """Whenever a signal arrives after the outcome is decided, the exit status says it."""
    done = call(tmp_path, moment, signal, *RUN)

    assert 0 == done.returncode, done.stderr
    assert job.head(COPY) is not None
    assert "success" == json.loads((tmp_path / "result.json").read_text())["state"]


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_after_a_run_failed_leaves_its_outcome(tmp_path, signal):
    """A run notes its failure after it stopped handling signals; one that comes then is kept."""
    document = json.loads((tmp_path / "job.json").read_text())
    document["input"]["pfs"]["repo"] = "missing"
    (tmp_path / "job.json").write_text(json.dumps(document))
    done = call(tmp_path, "when the job hears no more", signal, *RUN)

    assert 66 == done.returncode, done.stderr
    assert "missing" in json.loads((tmp_path / "result.json").read_text())["reason"]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_while_an_error_is_reported(tmp_path, signal):
    """The error is reported, with its own exit status."""
    done = call(tmp_path, "while reporting an error", signal, "ls", "missing")

    assert 66 == done.returncode, done.stderr
    assert done.stderr.startswith("worker: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("moment", ["at import", "before trio"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_run_that_was_stopped_early_ends_with_75(job, tmp_path, moment, signal):
    """A signal that arrives before the run handles signals is not lost."""
    done = call(tmp_path, moment, signal, *RUN)

    assert 75 == done.returncode, done.stderr
    assert job.head(COPY) is None
    assert [] == os.listdir(tmp_path / "scratch")


@pytest.mark.parametrize("moment", ["commit: before", "commit: after", "commit: branch", *LATE[3:]])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_put_that_publishes_ends_with_0(tmp_path, moment, signal):
    """From the moment at which the commit may be there, a signal comes too late."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    store = open_store(tmp_path / "store")
    done = call(tmp_path, moment, signal, "put", "lab", "folder")

    assert 0 == done.returncode, done.stderr
    assert done.stdout.strip() == str(store.head(LAB).commit)
    assert () == verify(store).defects


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("moment", ["commit: twice", "commit: for ever"])
def test_a_put_that_does_not_finish_publishing(tmp_path, moment, signal):
    """A second signal, or the end of the grace period, ends it, and it claims nothing."""
    (tmp_path / "folder").mkdir()
    open_store(tmp_path / "store")
    done = call(tmp_path, moment, signal, "put", "lab", "folder")

    assert (75, "") == (done.returncode, done.stdout)
    assert "whether the commit was made is not known" in done.stderr


def test_a_second_signal_after_a_put_published(tmp_path):
    """It does not hurry what is only printed, and the commit is no longer in doubt."""
    (tmp_path / "folder").mkdir()
    store = open_store(tmp_path / "store")
    done = call(tmp_path, "again while printing", "SIGTERM", "put", "lab", "folder")

    assert (0, f"{store.head(LAB).commit}\n") == (done.returncode, done.stdout), done.stderr


def test_a_command_line_that_is_called_leaves_handlers_alone(tmp_path, monkeypatch):
    """Only a process that is the command replaces handlers of signals."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "job.json").write_text(json.dumps(a_job("true", inputs=(an_input(),))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_STORE", open_store(tmp_path / "store").url)
    before = [getsignal(number) for number in stopping.ENDING]

    assert 0 == app.call(["put", "lab", "folder"])
    assert 66 == app.call(["run", "--job", "job.json"])
    assert before == [getsignal(number) for number in stopping.ENDING]


def test_a_put_that_has_not_published_is_stopped(tmp_path):
    """Before that it ends with 75, and nothing is left of it."""
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
