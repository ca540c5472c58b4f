"""Signals before, while and after a command does what cannot be taken back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.store.model import BranchName, Repo
from worker.store.opening import open_store
from worker.store.upkeep import verify

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("signalled.py")
COPY = BranchName(Repo("default", "copy"))
LAB = BranchName(Repo("default", "lab"))
SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"]
LATE = ["after trio", "while writing the result", "while printing", "when all is done", "at exit"]


def call(tmp_path: Path, moment: str, signal: str, *arguments: str):
    return subprocess.run(
        [sys.executable, DRIVER, moment, signal, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
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


@pytest.mark.parametrize("moment", ["at import", "before trio"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_run_that_was_stopped_early_ends_with_75(job, tmp_path, moment, signal):
    """A signal that arrives before the run handles signals is not lost."""
    done = call(tmp_path, moment, signal, *RUN)

    assert 75 == done.returncode, done.stderr
    assert job.head(COPY) is None
    assert [] == os.listdir(tmp_path / "scratch")


@pytest.mark.parametrize("moment", ["commit: before", "commit: after", "commit: branch", *LATE[2:]])
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


def test_a_put_that_has_not_published_is_stopped(tmp_path):
    """Before that it ends with 75, and nothing is left of it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    store = open_store(tmp_path / "store")
    driver = (
        "import os, signal; from worker.store.intake import Intake\n"
        "real = Intake.take\n"
        "def take(*arguments, **named):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return real(*arguments, **named)\n"
        "Intake.take = take\n"
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
