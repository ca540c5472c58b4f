"""The torture set: whatever a command does to a real ``worker run``, that ends as it should.

In each case with the right state, exit code and reason, within the grace, with no process left and
nothing on disk. Memory kills, full disks and signals at each step are in ``test_struck``.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import psutil
import pytest
from builders import a_commit, a_job, an_input
from scenarios.machines import Site

from worker.model import BranchName, Repo

COPY = BranchName(Repo("default", "copy"))
MARK = "WORKER_TEST_MARK"
NOBODY = 65534
PIDS = Path("/sys/fs/cgroup/pids")


@attrs.frozen
class Ended:
    """How a worker ended."""

    code: int
    result: dict
    seconds: float
    peak: int
    """The resident bytes of the agent, or of any process that it waited for, at their most."""

    @property
    def told(self) -> tuple[int, str, str]:
        """What the outside sees of it."""
        return self.code, self.result["state"], self.result["cause"]


@pytest.fixture
def site(tmp_path):
    """A machine with a worker, which must be found as clean as it was."""
    site = Site(tmp_path, str(tmp_path / "store"))
    site.scratch.mkdir()
    site.more.update({MARK: str(tmp_path), "WORKER_PASS_ENVIRONMENT": MARK, "WORKER_GRACE": "2s"})
    a_commit(site.open(), {"a": b"1"})
    # Another user's command must be able to get to its files.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    blobs = sorted(os.listdir(tmp_path / "store" / "blobs"))
    yield site
    assert [] == marked(tmp_path)
    assert [] == site.left_over()
    if site.open().head(COPY) is None:
        assert blobs == sorted(os.listdir(tmp_path / "store" / "blobs"))


def marked(mark: Path) -> list[str]:
    """Return the processes of this machine that carry a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(mark):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            # It has ended meanwhile, or is about to.
            continue
    return found


def run(site: Site, *stdin: str, prefix: tuple[str, ...] = (), blow=None, **changes) -> Ended:
    """Run a job of files and tell how that ended; *blow* may strike the worker meanwhile."""
    transform = {"cmd": ["sh"], "stdin": list(stdin), **changes.pop("transform", {})}
    job = a_job(
        inputs=(an_input(s3=False),), transform=transform, s3Out=False, datumTries=1, **changes
    )
    result = site.root / "result.json"
    arguments = ("run", "--job", site.job(job), "--result", result)
    began = time.monotonic()
    with open(site.root / "log", "wb") as log:
        worker = subprocess.Popen(
            [*prefix, *site.command(*arguments)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=site.root,
            env=site.environment,
        )
        if blow is not None:
            blow(worker)
        _, status, used = os.wait4(worker.pid, 0)
        worker.returncode = os.waitstatus_to_exitcode(status)
    assert result.exists(), (site.root / "log").read_text()[-3000:]
    return Ended(
        worker.returncode,
        json.loads(result.read_text()),
        time.monotonic() - began,
        used.ru_maxrss * 1024,
    )


def program(text: str) -> str:
    """Return a line for a shell that runs some Python."""
    return f"exec {sys.executable} -c '{text}'"


STUBBORN = "trap '' TERM INT HUP; while :; do sleep 0.2; done"
DAEMON = program(
    "import os, signal, time\n"
    "for _ in range(2):\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid()\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "time.sleep(1000)"
)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(STUBBORN, id="ignores SIGTERM"),
        pytest.param(f"({STUBBORN}) & {STUBBORN}", id="so do its children"),
        pytest.param("kill -STOP $$", id="is stopped"),
        pytest.param(f"({DAEMON}); sleep 1000", id="has a daemon"),
        pytest.param("exec >&- 2>&-; sleep 1000", id="closes its output"),
        pytest.param("yes", id="prints without end"),
    ],
)
def test_a_timeout_ends_whatever_it_is(site, script):
    """Exit 11 within the grace."""
    ended = run(site, script, datumTimeout="1s")

    assert (11, "failure", "datum timeout") == ended.told
    assert "the command took longer than its datumTimeout of 1 s" == ended.result["reason"]
    assert ended.seconds < 30
    assert site.open().head(COPY) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_signal_ends_whatever_it_is(site, number):
    """Exit 75 within the grace, for a command that hears nothing, and its daemon."""

    def blow(worker: subprocess.Popen) -> None:
        while "working" not in (site.root / "log").read_text():
            assert worker.poll() is None
            time.sleep(0.05)
        worker.send_signal(number)

    ended = run(site, f"({DAEMON}); echo working; {STUBBORN}", blow=blow)

    assert (75, "killed", "stopped") == ended.told
    assert f"stopped by {number.name} before it could publish" == ended.result["reason"]
    assert ended.seconds < 30
    assert site.open().head(COPY) is None


@pytest.mark.parametrize(
    ("script", "left"),
    [
        pytest.param("sleep 1000 & exit 0", "sleep 1000", id="a child"),
        pytest.param(f"({DAEMON}); exit 0", "signal.SIG_IGN", id="a daemon that ignores SIGTERM"),
        pytest.param("setsid sleep 1000 & exit 0", "sleep 1000", id="one that holds its output"),
    ],
)
def test_success_with_something_left_running_is_success(site, script, left):
    """The result names what was ended, and the output is there."""
    ended = run(site, "echo 1 > $PFS_ROOT/out/f", script)

    assert (0, "success", "published") == ended.told
    assert 1 == len([text for text in ended.result["warnings"] if left in text])
    assert 1 == ended.result["files"]
    assert ended.seconds < 30


def test_failure_with_something_left_running_is_failure(site):
    """The command's own code counts."""
    ended = run(site, "sleep 1000 & echo no >&2; exit 7")

    assert (10, "failure", "command failed") == ended.told
    assert "the command exited with code 7: no" == ended.result["reason"]


def test_a_gigabyte_without_a_newline_costs_the_agent_no_memory(site):
    """Its size in memory is that of a run that says nothing."""
    quiet = run(site, "true", job={"id": "1" * 32})
    (site.root / "result.json").unlink()
    loud = run(site, "head -c 1000000000 /dev/zero | tr '\\0' x", job={"id": "2" * 32})

    assert (0, 0) == (quiet.code, loud.code)
    assert "(999,934,464 bytes more)" in (site.root / "log").read_text()
    assert loud.peak - quiet.peak < 32 << 20


BOMB = "f() { f | f & }; f; sleep 1000"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as another user")
def test_a_fork_bomb_of_another_user(site):
    """It is bounded by the limit of its user, and is ended for good."""
    ended = run(
        site,
        f"ulimit -u 150; {BOMB}",
        transform={"user": str(NOBODY), "cmd": ["bash"]},
        datumTimeout="2s",
    )

    assert (11, "failure", "datum timeout") == ended.told
    assert ended.seconds < 40


@pytest.fixture
def few_processes():
    """A prefix for a command, by which all that comes of it has 200 processes at most."""
    group = PIDS / f"worker-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup that counts processes can be made here: {error}")
    (group / "pids.max").write_text("200")
    yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    group.rmdir()


def test_a_fork_bomb_in_the_agent_s_own_cgroup(site, few_processes):
    """The agent, which shares the limit, still ends it: that takes no new process."""
    ended = run(site, BOMB, prefix=few_processes, transform={"cmd": ["bash"]}, datumTimeout="2s")

    assert (11, "failure", "datum timeout") == ended.told
    assert ended.seconds < 40


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        pytest.param({"cmd": ["nosuch"]}, "nosuch: command not found in PATH=", id="not found"),
        pytest.param({"cmd": ["/nosuch/x"]}, "/nosuch/x: command not found", id="no such path"),
        pytest.param(
            {"cmd": ["/etc/passwd"]}, "it lacks the x permission", id="without x permission"
        ),
        pytest.param({"cmd": ["/tmp"]}, "not executable: it is a directory", id="a folder"),
        pytest.param({"workingDir": "/nosuch"}, "workingDir /nosuch: No such", id="no folder"),
    ],
)
def test_what_cannot_be_started_says_why(site, transform, reason):
    """Exit 10, with a reason, and no second try."""
    ended = run(site, transform=transform)

    assert (10, "failure", "command failed") == ended.told
    assert reason in ended.result["reason"]


def test_a_command_that_kills_what_keeps_it_does_not_get_away(site):
    """Its keeper is its parent; without one nobody knows how it ended, so the run fails."""
    ended = run(site, f"({DAEMON}); kill -9 $PPID; sleep 1000")

    assert (69, "failure", "unavailable") == ended.told
    assert "supervisor process of the command was killed" in ended.result["reason"]
    assert ended.seconds < 30


def test_the_limits_of_the_agent_are_the_command_s(site):
    """Nothing about files or memory is changed behind its back."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ended = run(site, f"test $(ulimit -n) = {soft}")

    assert 0 == ended.code
