"""Cgroups of commands, in a real hierarchy where this machine allows it; otherwise skipped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio

from worker.redaction import Redactor
from worker.supervisor import cgroup as cgroups
from worker.supervisor.command import CommandExit, CommandSignals, run_command
from worker.supervisor.output import OutputHandler
from worker.supervisor.tree import CommandSpec, NotStarted, ShimDied, Usage
from worker.system import become_subreaper


@pytest.fixture
def base() -> Iterator[Path]:
    """A new cgroup that the test process joins, if one can be created here."""
    ours = cgroups.own_path()
    if ours is None:
        pytest.skip("no cgroup hierarchy of version 2 is mounted here")
    created = Path(ours) / f"worker-tests-{os.getpid()}"
    try:
        created.mkdir()
        (created / "cgroup.procs").write_text("0")
    except OSError as error:
        if created.exists():
            created.rmdir()
        pytest.skip(f"no cgroup can be created in {ours}: {error}")
    yield created
    Path(ours, "cgroup.procs").write_text("0")
    created.rmdir()


def cgroups_below(base: Path) -> list[str]:
    return [path.name for path in base.glob(f"{cgroups.PREFIX}*")]


def running(command_line: str) -> bool:
    processes = [p for p in psutil.process_iter(["cmdline"]) if p.status() != psutil.STATUS_ZOMBIE]
    return any(command_line == " ".join(p.info["cmdline"] or ()) for p in processes)


async def run(
    argv: tuple[str, ...], lines: list[str], usages: list[Usage] | None = None
) -> CommandExit:
    return await run_command(
        CommandSpec(argv, {"PATH": os.environ["PATH"]}),
        stdin=b"",
        command_signals=CommandSignals(2),
        output=OutputHandler(lambda _, found: lines.extend(found), Redactor(())),
        on_usage=(usages if usages is not None else []).append,
    )


async def sh(script: str, lines: list[str], usages: list[Usage] | None = None) -> CommandExit:
    return await run(("sh", "-c", script), lines, usages)


async def test_a_command_starts_in_a_cgroup_of_its_own_that_is_removed_after_it(base):
    lines: list[str] = []
    await sh("grep ^0: /proc/self/cgroup", lines)

    assert cgroups.PREFIX in lines[0]
    assert not (base / lines[0].rpartition("/")[2]).exists()


async def test_a_command_that_cannot_start_leaves_no_cgroup(base):
    with pytest.raises(NotStarted, match="not found"):
        await run(("no-such-command",), [])

    assert [] == cgroups_below(base)


async def test_cgroups_that_a_command_creates_below_its_own_are_removed_with_their_members(base):
    lines: list[str] = []
    script = (
        f"own={base}/$(sed -n 's/^0::.*\\///p' /proc/self/cgroup); mkdir -p $own/a/b; "
        'setsid sh -c "echo 0 > $own/a/b/cgroup.procs; echo $own; exec sleep 4301" & sleep 0.5'
    )
    result = await sh(script, lines)

    assert ["sleep 4301"] == [each.command for each in result.leftovers]
    assert [False] == [Path(line).exists() for line in lines]
    assert not running("sleep 4301")


@pytest.mark.usefixtures("base")
async def test_the_processor_time_is_that_of_the_cgroup():
    usages: list[Usage] = []
    await sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done", [], usages)

    assert usages[0].cpu_seconds > 0.05


async def test_the_worker_removes_the_cgroup_of_a_killed_shim_with_its_members(base):
    become_subreaper()
    with pytest.raises(ShimDied):
        await sh("setsid sleep 4302 & sleep 0.2; kill -9 $PPID; sleep 4302", [])

    assert [] == cgroups_below(base)
    assert not running("sleep 4302")


WORKER = """
import trio
from worker.supervisor.tree import CommandSpec, start_tree
async def main():
    command = CommandSpec(("sh", "-c", "grep ^0: /proc/self/cgroup; exec sleep 4305"), {})
    async with start_tree(command, stdin=None, stdout=None, stderr=None) as tree:
        await tree.wait_exit()
trio.run(main)
"""


async def test_the_shim_of_a_killed_worker_kills_the_command_and_removes_its_cgroup(base):
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    line = await trio.to_thread.run_sync(worker.stdout.readline)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    with trio.fail_after(30):
        while cgroups_below(base):
            await trio.sleep(0.02)

    assert cgroups.PREFIX.encode() in line
    assert not running("sleep 4305")


ABANDONED = """
import os, signal, sys
from worker.supervisor import cgroup as cgroups
group = cgroups.create()
if not os.fork():
    group.join()
    os.execvp("setsid", ["setsid", "sh", "-c", "echo in; exec sleep 4303"])
os.wait()
"""


async def test_the_next_command_removes_an_abandoned_cgroup_but_not_a_locked_one(base):
    """A worker and its shim may both be killed; then no process holds the lock."""
    shim = subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE)
    assert shim.stdout is not None
    assert b"in\n" == await trio.to_thread.run_sync(shim.stdout.readline)
    locked = cgroups_below(base)
    await sh("true", [])

    assert locked == cgroups_below(base)
    shim.kill()
    shim.wait()
    lines: list[str] = []
    await sh("ps -eo args", lines)

    assert "sleep 4303" not in lines
    assert [] == cgroups_below(base)


@pytest.mark.usefixtures("base")
def test_all_members_are_killed_in_one_cgroup_kill():
    group = cgroups.create()
    assert group is not None
    sleeper = subprocess.Popen(["sleep", "4304"], preexec_fn=group.join)  # noqa: PLW1509 - no threads here
    try:
        assert [sleeper.pid] == group.members()
        if not Path(group.path, "cgroup.kill").exists():
            pytest.skip("this kernel has no cgroup.kill")
        group.kill()
        assert -signal.SIGKILL == sleeper.wait()
        assert [] == group.members()
    finally:
        sleeper.kill()
        group.remove()
    assert not Path(group.path).exists()


@pytest.mark.parametrize(
    ("files", "written"),
    [
        (("cgroup.kill", "cgroup.freeze"), {"cgroup.kill": "1", "cgroup.freeze": ""}),
        (("cgroup.freeze",), {"cgroup.freeze": "1"}),
        ((), {}),
    ],
    ids=["Linux 5.14", "before Linux 5.14", "before Linux 5.2"],
)
def test_without_cgroup_kill_the_members_are_frozen(tmp_path, files, written):
    """A frozen process does not fork, so a sweep finds all of them."""
    for name in files:
        (tmp_path / name).touch()
    cgroups.Cgroup(str(tmp_path)).kill()

    assert written == {path.name: path.read_text() for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("base")
def test_a_cgroup_is_populated_while_a_process_lives_below_it():
    group = cgroups.create()
    assert group is not None
    below = Path(group.path, "below")
    below.mkdir()
    sleeper = subprocess.Popen(["sleep", "4306"])
    try:
        assert not group.is_populated()
        (below / "cgroup.procs").write_text(str(sleeper.pid))
        assert group.is_populated()
        sleeper.kill()
        # A zombie can do nothing any more.
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        assert not group.is_populated()
    finally:
        sleeper.kill()
        sleeper.wait()
        group.remove()
    assert not group.is_populated()


HYBRID = "26 24 0:22 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw"
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate"
SUBTREE = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw"
VERSION_1 = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


@pytest.mark.parametrize(
    ("membership", "mounts", "expected"),
    [
        pytest.param("0::/\n", [UNIFIED], "/sys/fs/cgroup", id="root"),
        pytest.param(
            "0::/user.slice/a:b\n", [UNIFIED], "/sys/fs/cgroup/user.slice/a:b", id="slice"
        ),
        pytest.param(
            "4:memory:/m\n0::/x\n", [VERSION_1, HYBRID], "/sys/fs/cgroup/unified/x", id="hybrid"
        ),
        pytest.param("0::/docker/abc/x\n", [SUBTREE], "/sys/fs/cgroup/x", id="subtree mounted"),
        pytest.param("0::/docker/abcd\n", [SUBTREE], None, id="another subtree mounted"),
        pytest.param("4:memory:/m\n", [VERSION_1], None, id="version 1 only"),
    ],
)
def test_the_own_cgroup_is_found_wherever_its_hierarchy_is_mounted(
    tmp_path, monkeypatch, membership, mounts, expected
):
    (tmp_path / "cgroup").write_text(membership)
    (tmp_path / "mountinfo").write_text("\n".join(mounts) + "\n")
    monkeypatch.setattr(cgroups, "MEMBERSHIP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(cgroups, "MOUNTS", str(tmp_path / "mountinfo"))

    assert expected == cgroups.own_path()


@pytest.mark.parametrize("folder", [None, "/proc", "/no/such/folder"])
def test_no_cgroup_is_created_where_none_can_be(monkeypatch, folder):
    monkeypatch.setattr(cgroups, "own_path", lambda: folder)

    assert None is cgroups.create()


# --- memory kills ---------------------------------------------------------------------------------


def test_memory_kills_of_a_command_are_read_from_its_cgroup_or_are_0_without_controller(tmp_path):
    group = cgroups.Cgroup(str(tmp_path), lock=-1)
    assert 0 == group.oom_kills()
    (tmp_path / "memory.events").write_text("low 0\noom 4\noom_kill 3\n")

    assert 3 == group.oom_kills()


@pytest.fixture
def kernel_files(tmp_path, monkeypatch):
    """A folder with the files of a kernel; empty at first, as on a system without cgroups."""
    monkeypatch.setattr(cgroups, "MEMBERSHIP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(cgroups, "CGROUP_ROOT", str(tmp_path / "fs"))
    monkeypatch.setattr(cgroups, "MACHINE_COUNTERS", str(tmp_path / "vmstat"))
    return tmp_path


@pytest.mark.parametrize(
    ("membership", "file", "content"),
    [
        pytest.param(
            "0::/pod/a\n", "pod/a/memory.events", "low 0\noom 4\noom_kill 3\n", id="version 2"
        ),
        pytest.param(
            "0::/host/path\n", "memory.events", "oom_kill 3\n", id="version 2 in a container"
        ),
        pytest.param(
            "4:memory:/job\n0::/\n",
            "memory/job/memory.oom_control",
            "under_oom 0\noom_kill 3\n",
            id="version 1",
        ),
        pytest.param(
            "3:cpu,memory:/host\n",
            "memory/memory.oom_control",
            "oom_kill 3\n",
            id="version 1 in a container",
        ),
    ],
)
def test_memory_kills_of_the_own_cgroup_are_counted_in_both_versions(
    kernel_files, membership, file, content
):
    (kernel_files / "cgroup").write_text(membership)
    path = kernel_files / "fs" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)

    assert 3 == cgroups.own_oom_kills()


def test_memory_kills_of_the_machine_are_counted(kernel_files):
    (kernel_files / "vmstat").write_text("nr_free_pages 10\noom_kill 7\nzone_reclaim 0\n")

    assert 7 == cgroups.machine_oom_kills()


@pytest.mark.usefixtures("kernel_files")
def test_without_a_counter_there_are_no_memory_kills():
    assert (0, 0) == (cgroups.own_oom_kills(), cgroups.machine_oom_kills())
