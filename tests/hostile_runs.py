"""Runs of hostile commands: a real ``worker run``, and what it leaves on the machine."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import psutil
from builders import a_commit, a_job, an_input
from scenarios.sites import Site

from worker.model import BranchName, Repo

COPY = BranchName(Repo("default", "copy"))
"""The branch that a run commits to."""
MARK = "WORKER_TEST_MARK"
NOBODY = 65534


@attrs.frozen
class RunResult:
    """Exit status, result, duration and memory of a worker."""

    code: int
    result: dict
    seconds: float
    peak: int
    """Maximum of the resident bytes of the agent and of each process that it waited for."""

    @property
    def outcome(self) -> tuple[int, str, str]:
        """Exit status, state and cause."""
        return self.code, self.result["state"], self.result["cause"]


@contextmanager
def a_checked_site(folder: Path) -> Iterator[Site]:
    """Provide a machine with a worker, then check that no process, file or blob is left."""
    site = Site(folder, str(folder / "store"))
    site.scratch.mkdir()
    site.more.update({MARK: str(folder), "WORKER_PASS_ENVIRONMENT": MARK, "WORKER_GRACE": "2s"})
    a_commit(site.open(), {"a": b"1"})
    # The command of another user must be able to reach its files, below the folder of all users.
    for each in (folder, *folder.parents[:2]):
        if each.stat().st_mode & stat.S_ISVTX:
            break
        each.chmod(0o755)
    blobs = sorted(os.listdir(folder / "store" / "blobs"))
    yield site
    assert [] == [f"{each.pid} {' '.join(each.cmdline())}" for each in marked(folder)]
    assert [] == site.left_over()
    if site.open().head(COPY) is None:
        assert blobs == sorted(os.listdir(folder / "store" / "blobs"))


def marked(mark: Path) -> list[psutil.Process]:
    """Return the processes of this machine that have *mark* in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(mark):
                found.append(process)
        except psutil.Error:
            # It exited meanwhile, or is exiting.
            continue
    return found


def run(
    site: Site,
    *stdin: str,
    prefix: tuple[str, ...] = (),
    program: tuple[str, ...] | None = None,
    interfere=None,
    **changes,
) -> RunResult:
    """Run a job with file inputs; *interfere* is called with the process of the worker.

    *prefix* precedes the command line of the worker, and *program* replaces its start.
    """
    transform = {"cmd": ["sh"], "stdin": list(stdin), **changes.pop("transform", {})}
    options = {"inputs": (an_input(s3=False),), "s3Out": False, "datumTries": 1, **changes}
    result = site.root / "result.json"
    job = site.job(a_job(transform=transform, **options))
    arguments = ("run", "--job", str(job), "--result", str(result))
    command = site.command(*arguments) if program is None else [*program, *arguments]
    start = time.monotonic()
    with open(site.root / "log", "wb") as log:
        worker = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=site.root,
            env=site.environment,
        )
        if interfere is not None:
            interfere(worker)
        _, status, used = os.wait4(worker.pid, 0)
        worker.returncode = os.waitstatus_to_exitcode(status)
    assert result.exists(), (site.root / "log").read_text()[-3000:]
    return RunResult(
        worker.returncode,
        json.loads(result.read_text()),
        time.monotonic() - start,
        used.ru_maxrss * 1024,
    )


def python(text: str) -> str:
    """Return a line of shell that executes Python code."""
    return f"exec {sys.executable} -c '{text}'"


STUBBORN = "trap '' TERM INT HUP; while :; do sleep 0.2; done"
DAEMON = python(
    "import os, signal, time\n"
    "for _ in range(2):\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid()\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "time.sleep(1000)"
)
