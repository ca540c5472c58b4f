"""Hostile commands in a real ``worker run``: stubborn, forking, detached, endless or missing.

Each run has the expected state, exit status and reason, within the grace period, and leaves neither
a process nor a file. ``tests/job`` has memory kills, full disks and signals at each step.
"""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hostile_runs import COPY, DAEMON, NOBODY, STUBBORN, a_checked_site, run

PIDS = Path("/sys/fs/cgroup/pids")


@pytest.fixture
def site(tmp_path):
    """A machine with a worker, checked afterwards for leftover processes, files and blobs."""
    with a_checked_site(tmp_path) as site:
        yield site


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(STUBBORN, id="it ignores SIGTERM"),
        pytest.param(f"({STUBBORN}) & {STUBBORN}", id="its children ignore SIGTERM"),
        pytest.param("kill -STOP $$", id="it is stopped"),
        pytest.param(f"({DAEMON}); sleep 1000", id="it has a daemon"),
        pytest.param("exec >&- 2>&-; sleep 1000", id="it closes its output"),
        pytest.param("yes", id="it prints endlessly"),
    ],
)
def test_a_command_is_terminated_at_its_timeout(site, script):
    found = run(site, script, datumTimeout="1s")

    assert (11, "failure", "datum timeout") == found.outcome
    assert "the command exceeded its datumTimeout of 1 s" == found.result["reason"]
    assert found.seconds < 30
    assert site.open().head(COPY) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_signal_to_the_worker_terminates_a_stubborn_command_and_its_daemon(site, number):
    def send_signal(worker: subprocess.Popen) -> None:
        while "working" not in (site.root / "log").read_text():
            assert worker.poll() is None
            time.sleep(0.05)
        worker.send_signal(number)

    found = run(site, f"({DAEMON}); echo working; {STUBBORN}", interfere=send_signal)

    assert (75, "killed", "stopped") == found.outcome
    assert f"stopped by {number.name} before it could publish" == found.result["reason"]
    assert found.seconds < 30
    assert site.open().head(COPY) is None


@pytest.mark.parametrize(
    ("script", "left"),
    [
        pytest.param("sleep 1000 & exit 0", "sleep 1000", id="a child"),
        pytest.param(f"({DAEMON}); exit 0", "signal.SIG_IGN", id="a daemon that ignores SIGTERM"),
        pytest.param(
            "setsid sleep 1000 & exit 0", "sleep 1000", id="a session that holds the output"
        ),
    ],
)
def test_a_successful_command_with_a_leftover_process_is_a_success_with_a_warning(
    site, script, left
):
    found = run(site, "echo 1 > $PFS_ROOT/out/f", script)

    assert (0, "success", "published") == found.outcome
    assert 1 == len([text for text in found.result["warnings"] if left in text])
    assert 1 == found.result["files"]
    assert found.seconds < 30


def test_a_failed_command_with_a_leftover_process_is_a_failure_with_its_own_exit_code(site):
    found = run(site, "sleep 1000 & echo no >&2; exit 7")

    assert (10, "failure", "command failed") == found.outcome
    assert "the command exited with code 7: no" == found.result["reason"]


def test_a_gigabyte_without_a_newline_needs_no_more_memory_than_no_output(site):
    quiet = run(site, "true", job={"id": "1" * 32})
    (site.root / "result.json").unlink()
    loud = run(site, "head -c 1000000000 /dev/zero | tr '\\0' x", job={"id": "2" * 32})

    assert (0, 0) == (quiet.code, loud.code)
    assert "(999,934,464 bytes more)" in (site.root / "log").read_text()
    assert loud.peak - quiet.peak < 32 << 20


BOMB = "f() { f | f & }; f; sleep 1000"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as another user")
def test_a_fork_bomb_within_a_limit_of_its_user_is_killed(site):
    found = run(
        site,
        f"ulimit -u 150; {BOMB}",
        transform={"user": str(NOBODY), "cmd": ["bash"]},
        datumTimeout="2s",
    )

    assert (11, "failure", "datum timeout") == found.outcome
    assert found.seconds < 40


@pytest.fixture
def few_processes():
    """A prefix that limits a command and its descendants to 200 processes."""
    group = PIDS / f"worker-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup with a limit of processes can be created here: {error}")
    (group / "pids.max").write_text("200")
    yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    group.rmdir()


def test_a_fork_bomb_within_a_limit_that_the_agent_shares_is_killed(site, few_processes):
    """The termination needs no new process."""
    found = run(site, BOMB, prefix=few_processes, transform={"cmd": ["bash"]}, datumTimeout="2s")

    assert (11, "failure", "datum timeout") == found.outcome
    assert found.seconds < 40


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        pytest.param({"cmd": ["nosuch"]}, "nosuch: command not found in PATH=", id="not found"),
        pytest.param({"cmd": ["/nosuch/x"]}, "/nosuch/x: command not found", id="no such path"),
        pytest.param(
            {"cmd": ["/etc/passwd"]}, "it lacks the x permission", id="without x permission"
        ),
        pytest.param({"cmd": ["/tmp"]}, "not executable: it is a directory", id="a directory"),
        pytest.param(
            {"workingDir": "/nosuch"}, "workingDir /nosuch: No such", id="no working directory"
        ),
    ],
)
def test_a_command_that_cannot_start_fails_with_the_reason(site, transform, reason):
    found = run(site, transform=transform)

    assert (10, "failure", "command failed") == found.outcome
    assert reason in found.result["reason"]


def test_a_command_that_kills_its_shim_fails_the_run_as_unavailable(site):
    """The shim is its parent; without it, the exit status of the command is unknown."""
    found = run(site, f"({DAEMON}); kill -9 $PPID; sleep 1000")

    assert (69, "failure", "unavailable") == found.outcome
    assert "supervisor process of the command was killed" in found.result["reason"]
    assert found.seconds < 30


def test_a_command_inherits_the_resource_limits_of_the_worker(site):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = run(site, f"test $(ulimit -n) = {soft}")

    assert 0 == found.code
