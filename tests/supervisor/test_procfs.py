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
