"""The exit status of each cause."""

import json
import subprocess

import pytest
from builders import a_commit, a_job, an_id, an_input
from machines import a_machine
from scenarios.sites import Site

from worker.errors import Cause

AGENT = "$(ps -o ppid= -p $PPID)"
"""The process id of the agent: the parent of the supervisor shim."""
ELSEWHERE = {
    Cause.OUT_OF_MEMORY: "test_kills, in a cgroup with a limit",
    Cause.NOT_PUBLISHED: "test_kills, on a disk of 8 MiB",
    Cause.INTERNAL: "test_runner: the fault is injected",
    Cause.PUBLISHED_BEFORE: "below",
    Cause.DISCARDED: "test_serving",
    Cause.DENIED: "below",
}

ROWS = [
    pytest.param({}, Cause.PUBLISHED, "", id="success"),
    pytest.param(
        {"stdin": ["exit 7"], "errCmd": ["true"]}, Cause.RECOVERED, "", id="recovered by errCmd"
    ),
    pytest.param({"stdin": ["exit 7"]}, Cause.COMMAND_FAILED, "exited with code 7", id="a code"),
    pytest.param({"stdin": ["kill $$"]}, Cause.COMMAND_FAILED, "by SIGTERM", id="a signal"),
    pytest.param({"cmd": ["nosuch"]}, Cause.COMMAND_FAILED, "not found", id="no such command"),
    pytest.param(
        {"cmd": ["sleep", "60"], "datumTimeout": "1s"},
        Cause.DATUM_TIMEOUT,
        "datumTimeout of 1 s",
        id="datum timeout",
    ),
    pytest.param(
        {"cmd": ["sleep", "60"], "jobTimeout": "3s"}, Cause.JOB_TIMEOUT, "jobTimeout", id="timeout"
    ),
    pytest.param({"s3Out": "yes"}, Cause.INVALID, "/s3Out", id="a wrong document"),
    pytest.param({"user": "nosuch"}, Cause.INVALID, "no such user", id="no such user"),
    pytest.param(
        {"input": an_input("nosuch")}, Cause.UNRUNNABLE, "nosuch@master has no commit", id="no repo"
    ),
    pytest.param(
        {"input": an_input(commit="0" * 32)}, Cause.UNRUNNABLE, "0" * 32, id="no such commit"
    ),
    pytest.param(
        {"stdin": [f"kill -9 $(pgrep -P {AGENT} | grep -vx $PPID); sleep 60"]},
        Cause.UNAVAILABLE,
        "the gateway ended unexpectedly",
        id="the gateway is killed",
    ),
    pytest.param(
        {"stdin": ["kill -9 $PPID; sleep 60"]},
        Cause.UNAVAILABLE,
        "supervisor process of the command was killed",
        id="the shim is killed",
    ),
    pytest.param(
        {"stdin": [f"kill {AGENT}; sleep 60"]}, Cause.STOPPED, "SIGTERM", id="stopped by a signal"
    ),
    pytest.param(
        {"secrets": [{"name": "db", "key": "k", "envVar": "K"}]},
        Cause.CONFIGURATION,
        "secret 'db/k'",
        id="a secret is not there",
    ),
]


@pytest.mark.parametrize(("changes", "cause", "reason"), ROWS)
def test_each_cause_has_its_exit_status(site, changes, cause, reason):
    """There is a commit exactly if it is 0."""
    store = site.open()
    a_commit(store, {"a": b"1"})
    outer = {"input", "s3Out", "datumTimeout", "jobTimeout"} & changes.keys()
    job = a_job("true", datumTries=1, **{name: changes[name] for name in outer})
    job["transform"] |= {name: value for name, value in changes.items() if name not in outer}
    done = site.worker("run", "--job", site.job(job), "--result", "r.json")
    result = json.loads((site.root / "r.json").read_text())

    assert (cause.exit_status, cause.value) == (done.status, result["cause"]), result["reason"]
    assert done.status == result["exit_code"]
    assert reason in result["reason"]
    there = "copy" in [repo.name for repo in store.repos()]
    assert (done.status == 0) == there == (result["output"] is not None)
    assert [] == site.left_over()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("rm -rf $PFS_ROOT/out", "/pfs/out: found no folder"),
        ("rm -rf $PFS_ROOT/out; echo > $PFS_ROOT/out", "/pfs/out: found no folder"),
        ("rm -rf $PFS_ROOT/out; ln -s /etc $PFS_ROOT/out", "/pfs/out: found a symbolic link"),
        ("mkfifo $PFS_ROOT/out/p", "/pfs/out/p: it is a pipe"),
    ],
)
def test_what_a_command_does_to_its_output_folder_is_its_own_failure(site, line, reason):
    """Neither an invalid document nor an unavailable store; a link is not followed."""
    a_commit(site.open(), {"a": b"1"})
    node = {"pfs": {"repo": "labresults", "glob": "/"}}
    job = site.job(a_job(line, inputs=(node,), s3Out=False, datumTries=1))
    done = site.worker("run", "--job", job, "--result", "r.json")
    result = json.loads((site.root / "r.json").read_text())

    assert (10, False) == (done.status, result["worth_a_retry"]), result["reason"]
    assert reason in result["reason"]


USER = 4001


@pytest.fixture
def run_as_user(tmp_path):
    """A function that runs a job as an ordinary user; returns the exit status and the result."""
    shared = tmp_path / "shared"
    shared.mkdir()
    site = Site(shared, str(shared / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a": b"1"})
    with a_machine(tmp_path / "machine", shared) as machine:

        def run(document, *, before="true"):
            arguments = ("--job", site.job(document), "--result", shared / "r.json")
            machine.run(f"chown -R {USER} {shared}; cd {shared}; {before}")
            done = subprocess.run(
                machine.command(*site.command("run", *arguments), uid=USER),
                check=False,
                env=site.environment,
                capture_output=True,
                timeout=120,
            )
            return done.returncode, json.loads((shared / "r.json").read_text())

        yield run


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("echo > $PFS_ROOT/out/x; chmod 000 $PFS_ROOT/out/x", "/pfs/out/x"),
        ("mkdir -m 000 $PFS_ROOT/out/d", "/pfs/out/d"),
        ("chmod 000 $PFS_ROOT/out", "/pfs/out"),
    ],
    ids=["a file", "a folder", "the output folder"],
)
def test_what_a_command_has_made_unreadable_is_its_own_failure(run_as_user, line, path):
    """The store has not failed, and no retry helps."""
    node = {"pfs": {"repo": "labresults", "glob": "/"}}
    status, result = run_as_user(a_job(line, inputs=(node,), s3Out=False, datumTries=1))

    assert (10, False) == (status, result["worth_a_retry"]), result["reason"]
    assert f"{path}: Permission denied" in result["reason"]


def test_a_store_of_another_user_is_denied(run_as_user):
    before = "chown -R 0 store; chmod -R go=rX store"
    status, result = run_as_user(a_job("true"), before=before)

    assert (77, "denied", False) == (status, result["cause"], result["worth_a_retry"])
    assert "the worker needs permission to read and write the store" in result["reason"]


@pytest.fixture
def read_only(site):
    """The store on a file system that is mounted read-only."""
    a_commit(site.open(), {"a": b"1"})
    mount = ["mount", "--bind", site.store, site.store]
    made = subprocess.run(mount, capture_output=True, check=False, text=True)
    if made.returncode:
        pytest.skip(f"no mount can be made here: {made.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", site.store], check=True)
        yield
    finally:
        subprocess.run(["umount", site.store], check=True)


@pytest.mark.usefixtures("read_only")
def test_a_store_that_may_not_be_written_is_denied(site):
    """Exit status 77 before the command starts, and no retry."""
    done = site.worker("run", "--job", site.job(a_job("echo started")), "--result", "r.json")
    result = json.loads((site.root / "r.json").read_text())
    put = site.worker("put", "labresults:b", site.root / "job.json")

    assert (77, 77) == (done.status, put.status)
    assert ("denied", False) == (result["cause"], result["worth_a_retry"])
    assert "the worker needs permission to read and write the store" in result["reason"]
    assert "command.output" not in [event["event"] for event in done.events]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--scratch", "/proc/x"), "scratch: /proc/x: "),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1:0"),
    ],
)
def test_a_setting_that_this_machine_cannot_honour_is_a_wrong_configuration(site, flags, reason):
    a_commit(site.open(), {"a": b"1"})
    job = site.job(a_job("true"))
    done = site.worker("run", "--job", job, "--result", "r.json", *flags)
    result = json.loads((site.root / "r.json").read_text())

    assert (78, "configuration") == (done.status, result["cause"]), result["reason"]
    assert reason in result["reason"]


def test_a_published_job_is_success_again(site):
    a_commit(site.open(), {"a": b"1"})
    job = site.job(a_job("true", job={"id": an_id()}))
    ends = [site.worker("run", "--job", job, "--result", "r.json").status for _ in range(2)]

    assert [0, 0] == ends
    assert "published before" == json.loads((site.root / "r.json").read_text())["cause"]


def test_every_cause_is_tested():
    """Here, or in the module named above."""
    assert set(Cause) == {row.values[1] for row in ROWS} | ELSEWHERE.keys()
