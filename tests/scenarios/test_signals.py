"""Signals to a worker that runs a job, and awkward environments in which it is started."""

import itertools
import json
import signal
import subprocess
import sys

import pytest
from builders import a_commit, a_job
from machines import a_machine
from scenarios.sites import Site

STARTED = "the command runs"
STOPS = ("INT", "TERM", "HUP", "QUIT", "XCPU", "ALRM", "VTALRM", "PROF")


@pytest.fixture
def start(site):
    """Start a run and return its process once its command has printed a line."""
    a_commit(site.open(), {"a": b"1"})

    def start(*stdin, prefix=(), **transform):
        document = a_job(*stdin, datumTries=1)
        document["transform"] |= transform
        arguments = ("run", "--job", site.job(document), "--result", "r.json")
        process = subprocess.Popen(
            [*prefix, *site.command(*arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=site.root,
            env=site.environment,
        )
        while STARTED not in (line := process.stderr.readline()):
            assert line, "the command has not started"
        return process

    return start


def result(site):
    return json.loads((site.root / "r.json").read_text())


@pytest.mark.parametrize("name", STOPS)
def test_a_stop_signal_ends_a_run_in_order(site, start, name):
    """Exit status 75, a result, and no file is left."""
    number = signal.Signals[f"SIG{name}"]
    process = start(f"echo {STARTED}; sleep 1000")
    process.send_signal(number)
    process.communicate(timeout=60)

    found = result(site)
    assert (75, "killed", 75) == (process.returncode, found["state"], found["exit_code"])
    assert f"stopped by {number.name} before it could publish" == found["reason"]
    assert [] == site.left_over()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=["USR1", "USR2"])
def test_user_signals_are_forwarded_to_the_command(site, start, number):
    """To the command itself, not to its children, which would be killed."""
    process = start(
        f"trap 'echo received; touch go; wait $child; echo child $?' {number.name[3:]}",
        "until test -e go; do sleep 0.05; done & child=$!",
        f"echo {STARTED}",
        "wait $child || true",
        workingDir=str(site.root),
    )
    process.send_signal(number)
    _, err = process.communicate(timeout=60)

    assert 0 == process.returncode, err
    lines = [event.get("line") for event in map(json.loads, err.splitlines())]
    assert ["received", "child 0"] == [line for line in lines if line and line != STARTED]
    assert "success" == result(site)["state"]


DISPOSITIONS = """
import os, signal, sys, time
print(sorted(n.name for n in signal.Signals if signal.getsignal(n) == signal.SIG_IGN), flush=True)
print("the command runs", flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
"""


@pytest.mark.parametrize(
    "ignored",
    [[], ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGALRM"]],
    ids=["none", "several"],
)
def test_signals_that_were_ignored_at_the_start_stay_ignored(site, start, ignored):
    """By the worker and by the command; all others have their default action in the command."""
    names = " ".join(name[3:] for name in ignored)
    process = start(
        cmd=[sys.executable, "-c", DISPOSITIONS],
        stdin=[],
        workingDir=str(site.root),
        prefix=("sh", "-c", f"trap '' {names}; exec \"$@\"", "sh") if ignored else (),
    )
    for name in ignored:
        process.send_signal(getattr(signal, name))
    (site.root / "go").touch()
    _, err = process.communicate(timeout=60)

    assert 0 == process.returncode, err
    assert "success" == result(site)["state"]
    # Python itself ignores these two.
    expected = sorted([*ignored, "SIGPIPE", "SIGXFSZ"])
    printed = next(line for line in result(site)["log_tail"] if line.startswith("["))
    assert str(expected) == printed


CLOSED = [
    " ".join(f"{number}>&-" for number in numbers)
    for count in (1, 2, 3)
    for numbers in itertools.combinations((0, 1, 2), count)
]


@pytest.mark.parametrize("closed", CLOSED)
def test_a_run_may_start_without_standard_streams(site, closed):
    """Its processes find them open on /dev/null, and its command has its own."""
    a_commit(site.open(), {"a": b"1"})
    job = site.job(a_job("echo x | aws s3 cp - s3://out/x --only-show-errors"))
    command = site.command("run", "--job", job, "--result", "r.json")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        check=False,
        cwd=site.root,
        env=site.environment,
        capture_output=True,
        timeout=120,
    )

    assert 0 == done.returncode, result(site)["reason"]
    assert "success" == result(site)["state"]


NOBODY = 54321


@pytest.mark.parametrize(
    "home",
    [None, "", "/nonexistent", "closed"],
    ids=["none", "empty", "missing", "of another user"],
)
def test_a_run_needs_neither_a_home_nor_a_name(tmp_path, home):
    """Pods run as arbitrary users, which have no entry in /etc/passwd."""
    shared = tmp_path / "shared"
    shared.mkdir()
    site = Site(shared, str(shared / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a": b"1"})
    job, found = site.job(a_job("true")), site.root / "r.json"
    command = site.command("run", "--job", job, "--result", found)
    environment = {name: value for name, value in site.environment.items() if name != "HOME"}
    if home is not None:
        environment["HOME"] = str(shared / home) if home == "closed" else home
    with a_machine(tmp_path / "machine", shared) as machine:
        machine.run(f"chown -R {NOBODY} {shared}; mkdir -m 700 {shared}/closed")
        done = subprocess.run(
            machine.command(*command, uid=NOBODY),
            check=False,
            cwd=site.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert 0 == done.returncode, done.stderr
    assert "success" == result(site)["state"]
