"""The cgroup of a command: with a real one where it can be made, which is asked for by name."""

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
from worker.supervisor.command import Ended, Listener, Patience, run_command
from worker.supervisor.tree import KeeperDied, Order, adopt_orphans
from worker.supervisor.usage import Usage


@pytest.fixture
def base() -> Iterator[Path]:
    """Move these tests to a cgroup of their own, if one can be made here, and return it."""
    ours = cgroups.own()
    if ours is None:
        pytest.skip("no cgroup of version 2 is mounted here")
    made = Path(ours) / f"worker-tests-{os.getpid()}"
    try:
        made.mkdir()
        (made / "cgroup.procs").write_text("0")
    except OSError as error:
        if made.exists():
            made.rmdir()
        pytest.skip(f"no cgroup can be made in {ours}: {error}")
    yield made
    Path(ours, "cgroup.procs").write_text("0")
    made.rmdir()


def left(base: Path) -> list[str]:
    return [path.name for path in base.glob(f"{cgroups.PREFIX}*")]


async def sh(script: str, said: list[str], used: list[Usage] | None = None) -> Ended:
    listener = Listener(lambda _, line: said.append(line), Redactor(()))
    return await run_command(
        Order(("sh", "-c", script), {"PATH": os.environ["PATH"]}),
        stdin=b"",
        patience=Patience(2),
        listener=listener,
        account=(used if used is not None else []).append,
    )


async def test_a_command_has_a_cgroup_of_its_own(base):
    """It is in it from its first moment, and when it has ended the cgroup is gone."""
    said: list[str] = []
    await sh("grep ^0: /proc/self/cgroup", said)

    assert cgroups.PREFIX in said[0]
    assert not (base / said[0].rpartition("/")[2]).exists()


async def test_a_command_that_cannot_be_started_leaves_no_cgroup(base):
    """What is made for it goes on every path."""
    with pytest.raises(Exception, match="not found"):
        await run_command(
            Order(("no-such-command",), {"PATH": ""}),
            stdin=b"",
            patience=Patience(1),
            listener=Listener(lambda *_: None, Redactor(())),
            account=lambda _: None,
        )

    assert [] == left(base)


async def test_a_command_may_make_cgroups_below_its_own(base):
    """They are removed with it, and who was in them is ended."""
    said: list[str] = []
    script = (
        f"own={base}/$(sed -n 's/^0::.*\\///p' /proc/self/cgroup); mkdir -p $own/a/b; "
        'setsid sh -c "echo 0 > $own/a/b/cgroup.procs; echo $own; exec sleep 4301" & sleep 0.5'
    )
    ended = await sh(script, said)

    assert ["sleep 4301"] == [each.command for each in ended.left]
    assert [False] == [Path(line).exists() for line in said]
    assert not running("sleep 4301")


@pytest.mark.usefixtures("base")
async def test_the_processor_time_is_that_of_the_cgroup():
    """Also of those that nobody waited for."""
    used: list[Usage] = []
    await sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done", [], used)

    assert used[0].cpu_seconds > 0.05


async def test_when_the_keeper_is_killed_the_agent_removes_the_cgroup(base):
    """And all that was in it is ended."""
    adopt_orphans()
    said: list[str] = []
    with pytest.raises(KeeperDied):
        await sh("setsid sleep 4302 & sleep 0.2; kill -9 $PPID; sleep 4302", said)

    assert [] == left(base)
    assert not running("sleep 4302")


AGENT = """
import trio
from worker.supervisor.tree import Order, start
async def main():
    order = Order(("sh", "-c", "grep ^0: /proc/self/cgroup; exec sleep 4305"), {})
    async with start(order, stdin=None, stdout=None, stderr=None) as tree:
        await tree.exited()
trio.run(main)
"""


async def test_when_the_agent_is_killed_the_keeper_removes_the_cgroup(base):
    """As it ends the command."""
    agent = subprocess.Popen([sys.executable, "-c", AGENT], stdout=subprocess.PIPE)
    assert agent.stdout is not None
    line = await trio.to_thread.run_sync(agent.stdout.readline)
    agent.kill()
    agent.wait()
    agent.stdout.close()
    with trio.fail_after(10):
        while left(base):
            await trio.sleep(0.02)

    assert cgroups.PREFIX.encode() in line
    assert not running("sleep 4305")


ABANDONED = """
import os, signal, sys
from worker.supervisor import cgroup as cgroups
group = cgroups.make()
if not os.fork():
    group.join()
    os.execvp("setsid", ["setsid", "sh", "-c", "echo in; exec sleep 4303"])
os.wait()
"""


async def test_what_a_killed_keeper_left_the_next_command_removes(base):
    """Its lock is free; what still ran in it, and had lost its agent and its keeper, is ended."""
    keeper = subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    assert b"in\n" == await trio.to_thread.run_sync(keeper.stdout.readline)
    mine = left(base)
    await sh("true", [])

    assert mine == left(base)  # Somebody has the lock.
    keeper.kill()
    keeper.wait()
    said: list[str] = []
    await sh("ps -eo args", said)

    assert "sleep 4303" not in said
    assert [] == left(base)


def running(line: str) -> bool:
    alive = [p for p in psutil.process_iter(["cmdline"]) if p.status() != psutil.STATUS_ZOMBIE]
    return any(line == " ".join(p.info["cmdline"] or ()) for p in alive)


@pytest.mark.usefixtures("base")
def test_all_members_end_at_one_blow():
    """Whoever has forked, and wherever below they are."""
    group = cgroups.make()
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


HYBRID = "26 24 0:22 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw"
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate"
PART = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw"
FIRST = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


@pytest.mark.parametrize(
    ("membership", "mounts", "expected"),
    [
        ("0::/\n", [UNIFIED], "/sys/fs/cgroup"),
        ("0::/user.slice/a:b\n", [UNIFIED], "/sys/fs/cgroup/user.slice/a:b"),
        ("4:memory:/m\n0::/x\n", [FIRST, HYBRID], "/sys/fs/cgroup/unified/x"),
        ("0::/docker/abc/x\n", [PART], "/sys/fs/cgroup/x"),
        ("0::/docker/abcd\n", [PART], None),
        ("4:memory:/m\n", [FIRST], None),
    ],
    ids=["root", "slice", "hybrid", "part", "another part", "version 1"],
)
def test_our_own_cgroup_is_found(tmp_path, monkeypatch, membership, mounts, expected):
    """Wherever the hierarchy is mounted, whole or in part."""
    (tmp_path / "cgroup").write_text(membership)
    (tmp_path / "mountinfo").write_text("\n".join(mounts) + "\n")
    monkeypatch.setattr(cgroups, "MEMBERSHIP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(cgroups, "MOUNTS", str(tmp_path / "mountinfo"))

    assert expected == cgroups.own()


@pytest.mark.parametrize("folder", [None, "/proc", "/no/such/folder"])
def test_where_none_can_be_made_there_is_none(monkeypatch, folder):
    """Nothing is raised, and nothing else changes."""
    monkeypatch.setattr(cgroups, "own", lambda: folder)

    assert None is cgroups.make()


def test_kills_for_memory_are_counted(tmp_path):
    """By the controller, where it is there."""
    group = cgroups.Cgroup(str(tmp_path), lock=-1)
    assert 0 == group.memory_kills()
    (tmp_path / "memory.events").write_text("low 0\noom 4\noom_kill 3\n")

    assert 3 == group.memory_kills()
