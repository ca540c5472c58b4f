"""Sweeps of real processes, and of a machine whose processes appear as fast as they are killed."""

import os
import signal
import subprocess
import sys
import time
from typing import cast

import psutil
import pytest

from worker.supervisor import procfs, sweep
from worker.supervisor.cgroup import Cgroup
from worker.supervisor.sweep import Sweep
from worker.system import become_subreaper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")


class FakeClock:
    """A clock that only pauses advance."""

    def __init__(self):
        self.now = 0.0
        self.pauses = 0

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds
        self.pauses += 1


class FakeGroup:
    """A cgroup with given members."""

    path = "/cgroup"

    def __init__(self, *looks, populated=False):
        self.looks = list(looks)
        self.populated = populated
        self.kills = 0

    def members(self):
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def is_populated(self):
        return self.populated

    def kill(self):
        self.kills += 1


@pytest.fixture(autouse=True)
def _subreaper():
    become_subreaper()


@pytest.fixture
def since():
    """A start time before that of the processes of a test."""
    process = subprocess.Popen(["true"])
    started = procfs.start_time(process.pid)
    process.wait()
    return started


@pytest.fixture
def absent():
    """The id of a process that has exited and is reaped."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def start(script: str) -> int:
    """Start a shell, wait until it has printed a line or has exited, and return its id."""
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        pid = process.pid
        # The sweep reaps it.
        process.returncode = 0
    return pid


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo; exec sleep 4401", id="running"),
        pytest.param("(kill -STOP $$; echo; exec sleep 4401) & wait", id="stopped, with a child"),
        pytest.param("trap '' TERM INT HUP; setsid sleep 4401 & echo; wait", id="other sessions"),
        pytest.param("(setsid sleep 4401 >/dev/null &) ; exit 0", id="inherited"),
        pytest.param("exit 0", id="zombie"),
    ],
)
def test_everything_that_started_since_is_killed_and_reaped(since, script):
    start(script)

    assert {} == Sweep(os.getpid(), since=since).finish(60)
    assert [] == [pid for pid in procfs.children(os.getpid()) if procfs.start_time(pid) >= since]


def test_older_children_and_spared_ones_are_not_signalled():
    with subprocess.Popen(["sleep", "4402"]) as older, subprocess.Popen(["sleep", "4402"]) as other:
        # Start times have a resolution of a clock tick.
        since = max(procfs.start_time(each.pid) for each in (older, other)) + 1
        time.sleep(0.05)
        start("echo; exec sleep 4402")
        spared = start("echo; exec sleep 4402")

        assert {} == Sweep(os.getpid(), since=since, spared=spared).finish(60)
        assert all(procfs.is_running(pid) for pid in (older.pid, other.pid, spared))
        assert {} == Sweep(os.getpid(), since=since).finish(60)
        assert not procfs.is_running(spared)
        for each in (older, other):
            assert each.poll() is None
            each.kill()


def test_a_process_that_forks_while_it_is_stopped_is_stopped_with_its_child(monkeypatch, since):
    """Looks are repeated until one finds nothing new; nothing is killed before."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(sweep, "_kill", lambda pid, number: sent.append((number, pid)))
    group = FakeGroup([11], [11, 12], [12, 13], [13])
    tree = Sweep(os.getpid(), since=since, group=cast(Cgroup, group))

    assert {11, 12, 13} == set(tree.kill())
    stops, kills = sent[:3], sent[3:]
    assert [(signal.SIGSTOP, pid) for pid in (11, 12, 13)] == stops
    assert [(signal.SIGKILL, pid) for pid in (11, 12, 13)] == sorted(kills)


def test_a_sweep_ends_after_two_looks_in_a_row_that_find_nothing(since, absent):
    clock, group = FakeClock(), FakeGroup([absent], [], [], [absent], [], [])

    found = Sweep(os.getpid(), since=since, group=cast(Cgroup, group)).finish(
        60, clock=clock, pause=clock.pause
    )

    # A kill that finds a process looks twice.
    assert ({}, 2, 5) == (found, clock.pauses, group.kills)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param(True, "absent", id="processes that appear as fast as they are killed"),
        pytest.param(False, "invisible", id="processes of another PID namespace"),
    ],
)
def test_what_is_left_at_the_timeout_is_named(since, absent, members, expected):
    clock = FakeClock()
    group = FakeGroup([absent] if members else [], populated=True)

    found = Sweep(os.getpid(), since=since, group=cast(Cgroup, group)).finish(
        0.1, clock=clock, pause=clock.pause
    )

    text = {absent: ""} if expected == "absent" else {0: "not visible here, in the cgroup /cgroup"}
    assert text == found
    assert clock.now == pytest.approx(0.1, abs=sweep.INTERVAL)


def test_a_survivor_has_the_command_line_that_it_had_when_it_was_stopped(monkeypatch, since):
    """A process that cannot be killed; a zombie has no command line any more."""
    pid = start("echo; exec sleep 4403")
    monkeypatch.setattr(sweep, "_kill", lambda _pid, _number: None)
    clock = FakeClock()

    assert {pid: "sleep 4403"} == Sweep(os.getpid(), since=since).finish(
        0.1, clock=clock, pause=clock.pause
    )
    monkeypatch.undo()
    assert {} == Sweep(os.getpid(), since=since).finish(60)


def test_a_stopped_process_handles_a_signal(since):
    pid = start("trap 'exit 7' TERM; echo; kill -STOP $$; sleep 4404")
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    Sweep(os.getpid(), since=since).signal(signal.SIGTERM)

    _, status = os.waitpid(pid, 0)
    assert 7 == os.waitstatus_to_exitcode(status)
