import os
import subprocess
import sys

import pytest

from worker.supervisor import procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture
def sleeper():
    """A shell with a child that sleeps."""
    with subprocess.Popen(["sh", "-c", "sleep 4320 & echo; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        yield shell
        for pid in (*procfs.descendants(shell.pid), shell.pid):
            os.kill(pid, 9)


def test_children_and_descendants_of_a_process_are_found(sleeper):
    [child] = procfs.children(sleeper.pid)

    assert sleeper.pid in procfs.children(os.getpid())
    assert {sleeper.pid, child} <= set(procfs.descendants(os.getpid()))


def test_a_later_process_has_a_later_start_time(sleeper):
    [child] = procfs.children(sleeper.pid)
    times = procfs.start_times()

    assert 0 < times[os.getpid()] <= times[sleeper.pid] <= times[child]
    assert times[child] == procfs.start_time(child)


def test_the_command_line_has_the_arguments_of_a_process(sleeper):
    assert "sh -c sleep 4320 & echo; wait" == procfs.command_line(sleeper.pid)


def test_a_zombie_is_not_running_and_has_its_name_as_command_line():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert not procfs.is_running(process.pid)
    assert "true" == procfs.command_line(process.pid)
    assert process.pid in procfs.children(os.getpid())
    process.wait()


def test_an_exited_process_has_no_values():
    process = subprocess.Popen(["true"])
    process.wait()
    pid = process.pid

    assert (False, 0, "") == (
        procfs.is_running(pid),
        procfs.start_time(pid),
        procfs.command_line(pid),
    )
    assert 0 == procfs.resident_bytes([pid])


# --- repeated looks -------------------------------------------------------------------------------


class Machine:
    """Processes by id: the parent, and the start time."""

    def __init__(self, monkeypatch):
        self.processes: dict[int, tuple[int, int]] = {}
        self.reads: list[int] = []
        monkeypatch.setattr(procfs, "_pids", lambda: list(self.processes))
        monkeypatch.setattr(procfs, "_stat", self.stat)

    def stat(self, pid):
        self.reads.append(pid)
        if pid not in self.processes:
            return []
        parent, start = self.processes[pid]
        return [b"S", b"%d" % parent, *[b"0"] * 17, b"%d" % start]


@pytest.fixture
def machine(monkeypatch):
    """A machine with the agent 10, its older child 20, and a command 30 with the child 31."""
    machine = Machine(monkeypatch)
    machine.processes = {1: (0, 0), 10: (1, 5), 20: (10, 6), 21: (20, 6), 30: (10, 9), 31: (30, 9)}
    return machine


def test_a_look_finds_what_started_since_and_reads_only_what_is_new(machine):
    found = procfs.Descendants(10, since=9)
    assert {30, 31} == found.find()
    machine.reads.clear()
    machine.processes[32] = (31, 9)

    assert {30, 31, 32} == found.find()
    assert {30, 31, 32} == set(machine.reads) - {10}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({30: None, 31: (10, 9)}, id="its parent has exited, and it is inherited"),
        pytest.param({30: None, 31: None, 32: (10, 10)}, id="only its last child is left"),
        pytest.param({30: None, 31: None, 21: (10, 10)}, id="its id is that of an exited process"),
        pytest.param({30: None, 31: None, 33: (20, 6), 32: (10, 9)}, id="another one is new"),
    ],
)
def test_no_change_hides_a_process(machine, change):
    found = procfs.Descendants(10, since=9)
    found.find()
    for pid, process in change.items():
        machine.processes.pop(pid, None)
        if process is not None:
            machine.processes[pid] = process
    expected = {pid for pid, process in change.items() if process and process[0] == 10}

    assert expected == found.find()


def test_without_proc_a_child_counts_as_older(machine, monkeypatch):
    """A system without start times must not take the agent's own children for the command's."""
    monkeypatch.setattr(os.path, "isdir", lambda _: False)
    monkeypatch.setattr(
        procfs, "parents", lambda: {pid: p for pid, (p, _) in machine.processes.items()}
    )

    assert set() == procfs.Descendants(10, since=9).find()
    assert {20, 21, 30, 31} == procfs.Descendants(10).find()
