"""Commands that attack the processes which end them: stopped, killed, or outrun by forks.

A run ends in bounded time, with no process of the command left, or with an error that names what is
left and no commit. Commands run as the user of the worker, which is the worst case.
"""

import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress

import psutil
import pytest
from builders import an_input
from hostile_runs import COPY, NOBODY, a_checked_site, marked, python, run

from worker.supervisor import cgroup as cgroups

pytestmark = pytest.mark.timeout(150)

IMPATIENT = """
import sys
sys.argv[0] = "worker"
from worker.gateway import messages
messages.SILENCE = 3.0
from worker.supervisor import tree
tree.PING_INTERVAL, tree.MAX_SILENT = 0.25, 12
tree.KILL_TIMEOUT = tree.SWEEP_TIMEOUT = 3.0
{}
from worker.cli import main
main()
"""
"""The worker with short deadlines, for processes that hang in any case."""


def impatient(injected: str = "") -> tuple[str, ...]:
    """Return the start of a worker with short deadlines, and with *injected* code."""
    return (sys.executable, "-c", IMPATIENT.format(injected))


@pytest.fixture
def site(tmp_path):
    """A machine with a worker, checked afterwards for leftover processes, files and blobs."""
    with a_checked_site(tmp_path) as site:
        yield site


@pytest.fixture
def no_cgroup():
    """A prefix of a worker that can create no cgroup."""
    if cgroups.own_path() is None:
        return ()
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can hide the cgroups of this machine")
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file if " - cgroup2 " in line]
    hide = " && ".join(f"umount -l {point}" for point in points)
    return ("unshare", "--mount", "sh", "-c", f'{hide} && exec "$@"', "sh")


@pytest.fixture(params=["a cgroup", "no cgroup"])
def any_cgroup(request):
    """The prefix of a worker with the cgroups of this machine, and of one without."""
    return request.getfixturevalue("no_cgroup") if request.param == "no cgroup" else ()


# --- the supervisor shim --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param("kill -STOP $PPID", id="the command stops it"),
        pytest.param(
            "setsid sh -c 'while kill -STOP $0; do sleep 0.01; done; sleep 1000' $PPID & sleep 0.2",
            id="a daemon stops it again and again",
        ),
    ],
)
def test_a_run_whose_shim_is_stopped_is_unavailable(site, any_cgroup, attack):
    found = run(site, attack, prefix=any_cgroup, program=impatient())

    assert (69, "failure", "unavailable") == found.outcome
    assert "sent no reply for 3 s (stopped, or hanging)" in found.result["reason"]
    assert site.open().head(COPY) is None


def test_a_stopped_shim_continues_to_terminate_the_command_at_its_timeout(site):
    found = run(site, "kill -STOP $PPID; sleep 1000", datumTimeout="1s")

    assert (11, "failure", "datum timeout") == found.outcome


@pytest.mark.parametrize("name", ["STOP", "KILL"])
def test_a_leftover_process_that_attacks_the_shim_is_named_and_killed(site, any_cgroup, name):
    """The exit status of the command is known already."""
    found = run(
        site,
        "echo 1 > $PFS_ROOT/out/f",
        "setsid sh -c 'while kill -0 $0; do sleep 0.05; done; sleep 0.2; kill -$2 $1; sleep 1000' "
        f"$$ $PPID {name} 2>&1 &",
        prefix=any_cgroup,
    )

    assert (0, "success", "published") == found.outcome
    assert [] != [text for text in found.result["warnings"] if "sleep 1000" in text]


# --- survivors ------------------------------------------------------------------------------------


def command_lines(process):
    """Return the command lines of all processes below *process*."""
    found = []
    for each in process.children(recursive=True):
        with suppress(psutil.Error):
            found.append(each.cmdline())
    return found


def stop(worker):
    """Send SIGTERM to a worker whose command runs."""
    deadline = time.monotonic() + 60
    while not any("1234" in each for each in command_lines(psutil.Process(worker.pid))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lack CAP_KILL")
@pytest.mark.parametrize(
    ("script", "changes"),
    [
        pytest.param("echo 1 > $PFS_ROOT/out/f; setsid sleep 1234 & exit 0", {}, id="it succeeds"),
        pytest.param("setsid sleep 1234 & exit 7", {}, id="it fails"),
        pytest.param("sleep 1234 & sleep 1000", {"datumTimeout": "2s"}, id="it times out"),
        pytest.param("sleep 1234 & sleep 1000", {"jobTimeout": "8s"}, id="the job times out"),
        pytest.param("sleep 1234 & sleep 1000", {"interfere": stop}, id="the worker is stopped"),
    ],
)
def test_a_process_that_cannot_be_killed_fails_the_run_with_its_name(
    site, no_cgroup, script, changes
):
    """The worker may not signal another user's processes. No attempt follows."""
    found = run(
        site,
        script,
        prefix=(*no_cgroup, "setpriv", "--bounding-set=-kill", "--inh-caps=-kill"),
        program=impatient(),
        transform={"user": str(NOBODY)},
        datumTries=3,
        **changes,
    )
    processes = marked(site.root)
    survivors = {each.pid: " ".join(each.cmdline()) for each in processes}
    for each in processes:
        each.kill()
    psutil.wait_procs(processes, 20)

    assert (69, "failure", "unavailable") == found.outcome
    assert "sleep 1234" in survivors.values()
    assert "processes of the command still run after SIGKILL: " in found.result["reason"]
    assert all(f"{pid} ({line})" in found.result["reason"] for pid, line in survivors.items())
    assert site.open().head(COPY) is None


RISING = """
import subprocess
from worker.supervisor import procfs
from worker.supervisor.sweep import Sweep
kill = Sweep.kill
def kill_after_a_fork(self, *describe):
    line = ["sh", "-c", "kill -STOP $$", "hunter22hunter22"]
    pid = subprocess.Popen(line).pid
    while procfs.command_line(pid) != " ".join(line):  # Popen returns in the middle of execve
        pass
    return kill(self, *describe)
Sweep.kill = kill_after_a_fork
"""


def test_processes_that_appear_as_fast_as_they_are_killed_fail_the_run_with_a_name(site):
    """Every look of the worker finds a new one; a secret of its command line is redacted."""
    found = run(
        site,
        "echo 1 > $PFS_ROOT/out/f; kill -KILL $PPID; sleep 1000",
        program=impatient(RISING),
        transform={"env": {"TOKEN": "hunter22hunter22"}},
    )

    assert (69, "failure", "unavailable") == found.outcome
    assert re.search(
        r"still run after SIGKILL: \d+ \(sh -c kill -STOP \$\$ \*+\)", found.result["reason"]
    )
    assert "hunter22" not in (site.root / "log").read_text()
    assert site.open().head(COPY) is None


BLOCKING = r"""
import ctypes, mmap, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.getuid(), os.getgid()
if libc.unshare(0x10020000):  # user and mount namespace
    sys.exit(3)
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
path = sys.argv[1]
os.close(os.open(path, os.O_CREAT))
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=100644,user_id=0,group_id=0".encode()
if libc.mount(b"x", path.encode(), b"fuse", 6, options):
    sys.exit(4)
os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    opened = 0
    while True:
        request = os.read(fuse, 1 << 20)
        _, operation, unique = struct.unpack("IIQ", request[:16])
        answer, error = b"", 0
        if operation == 26:  # INIT
            answer = struct.pack("IIIIHHI", 7, 31, 65536, 0, 0, 0, 65536).ljust(64, b"\0")
        elif operation == 3:  # GETATTR of a file with a page
            times = struct.pack("QQQQQQIII", 1, 4096, 8, 0, 0, 0, 0, 0, 0)
            answer = struct.pack("QII", 999, 0, 0) + times
            answer += struct.pack("IIIIIII", 0o100644, 1, 0, 0, 0, 4096, 0)
        elif operation == 14:  # OPEN; the second time with direct I/O, and the cache is kept
            answer, opened = struct.pack("QII", 1, 3 * opened, 0), 1
        elif operation == 15:  # READ
            answer = bytes(4096)
        elif operation in (2, 16, 36):  # FORGET, WRITE, INTERRUPT
            continue
        else:
            error = -38
        os.write(fuse, struct.pack("IiQ", 16 + len(answer), error, unique) + answer)
os.close(fuse)
os.stat(path)
page = mmap.mmap(os.open(path, os.O_RDWR), 4096)
page[0] = 1
direct = os.open(path, os.O_RDONLY)
open(sys.argv[2], "w").close()
# Waits, with the lock of the memory, for a write of the page that has no answer.
mmap.mmap(direct, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
"""


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        pytest.param("exit 0", (0, "success", "published"), id="the command exits"),
        pytest.param("kill -KILL $PPID", (69, "failure", "unavailable"), id="the shim is killed"),
    ],
)
def test_a_process_whose_command_line_blocks_its_readers_is_killed(site, end, outcome):
    """Its memory is locked while a file system of its own does not respond."""
    script, file, done = (site.root / name for name in ("blocking.py", "file", "done"))
    script.write_text(BLOCKING)
    line = f"{sys.executable} {script} {file} {done}"
    found = run(
        site,
        f"{line} & pid=$!; while ! test -e {done}; do kill -0 $pid || exit 77; sleep 0.1; done",
        f"sleep 0.3; {end}",
        program=impatient(
            "from worker.supervisor import command_lines; command_lines.READ_TIMEOUT = 1.0"
        ),
    )
    if found.result["command_code"] == 77:
        pytest.skip("needs FUSE in a user namespace")

    assert outcome == found.outcome, found.result["reason"]
    assert end != "exit 0" or any("python" in text for text in found.result["warnings"])


@pytest.mark.skipif(cgroups.own_path() is None or os.geteuid() != 0, reason="needs a cgroup")
@pytest.mark.parametrize(
    ("end", "code"),
    [("exit 0", 0), ("kill -KILL $PPID; sleep 1000", 69)],
    ids=["the command exits", "the command kills the shim"],
)
def test_a_process_that_leaves_the_cgroup_is_killed(site, end, code):
    """It also has a new session, ignores signals, and stops itself."""
    procs = f"{cgroups.own_path()}/cgroup.procs"
    leave = f"echo 0 > {procs} && trap '' TERM && echo left > $PFS_ROOT/out/f && kill -STOP \\$\\$"
    wait = "while ! [ -s $PFS_ROOT/out/f ]; do sleep 0.05; done"
    found = run(site, f'setsid sh -c "{leave}; sleep 1000" 2>&1 &', wait, end)

    assert code == found.code
    assert (code == 0) == (site.open().head(COPY) is not None)


CHAIN = (
    "import os\n"
    "for _ in range(3):\n"
    "    if os.fork() == 0: break\n"
    "while True:\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid()\n"
    '    os.close(os.open(os.environ["PFS_ROOT"] + "/out/f", os.O_CREAT | os.O_WRONLY))\n'
)


@pytest.mark.parametrize(
    ("end", "timeout", "codes"),
    [
        pytest.param("exit 0", None, {0, 69}, id="the command exits"),
        pytest.param("kill -KILL $PPID; sleep 1000", None, {69}, id="the command kills the shim"),
        pytest.param("sleep 1000", "3s", {11, 69}, id="the command times out"),
    ],
)
def test_no_process_of_a_fork_chain_outlives_the_run(site, any_cgroup, end, timeout, codes):
    """Each process forks the next one in a new session, and exits: a look finds the dead."""
    found = run(site, f"({python(CHAIN)}) &", end, prefix=any_cgroup, datumTimeout=timeout)

    assert found.code in codes, found.result["reason"]
    assert found.code != 69 or "SIGKILL" in found.result["reason"] or "KILL" in end
    assert (found.code == 0) == (site.open().head(COPY) is not None)


# --- a container engine ---------------------------------------------------------------------------

ENGINE = """#!/bin/sh
case "$1 $XDG_ATTACK" in
"$XDG_ATTACK "*) kill -STOP $$ ;;
image*) echo '[{"Id": "0123"}]' ;;
container*) echo '[{"State": {"StartedAt": "2026-11-22T20:53:46Z", "Running": true}}]' ;;
start*"the shim is killed") kill -KILL $PPID; sleep 1000 ;;
rm*) exit 1 ;;
esac
"""


@pytest.fixture
def engine(site):
    """A program named podman, whose containers cannot be removed."""
    program = site.root / "bin" / "podman"
    program.parent.mkdir()
    program.write_text(ENGINE)
    program.chmod(0o755)
    more = {
        "WORKER_RUNTIME": "podman",
        "PATH": f"{program.parent}:{os.environ['PATH']}",
    }
    site.more.update(more)
    return program


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("ps", "podman ps: no result after 3 s (stopped, or hanging)"),
        ("image", "podman image: no result after 3 s (stopped, or hanging)"),
        ("create", "podman create: no result after 3 s (stopped, or hanging)"),
        ("container", "may still run, as it cannot be removed. Nothing is committed"),
        ("rm", "the engine's client exited while the command was still running"),
        ("the shim is killed", "may still run, as it cannot be removed. Nothing is committed"),
    ],
)
def test_an_engine_that_hangs_or_keeps_a_container_fails_the_run(site, engine, attack, reason):
    site.more["XDG_ATTACK"] = attack
    found = run(
        site,
        program=impatient(
            "from worker.supervisor import engine, runtime\n"
            "engine.CALL_TIMEOUT = runtime.REMOVE_TIMEOUT = 3.0"
        ),
        transform={"cmd": ["true"], "image": "debian:12"},
    )

    assert (69, "failure", "unavailable") == found.outcome
    assert reason in found.result["reason"]
    assert str(engine) not in found.result["reason"] or " no result " in found.result["reason"]
    assert site.open().head(COPY) is None


# --- the gateway ----------------------------------------------------------------------------------

PROCESSES = (
    "agent=$(($(ps -o ppid= -p $PPID)))\n"
    "parent=$(ps -eo pid=,ppid=,args= | awk -v a=$agent '$2 == a && /forkserver/ {print $1}')\n"
    "child=$(ps -eo pid=,ppid= | awk -v p=$parent '$2 == p {print $1; exit}')\n"
    ": ${parent:?} ${child:?}\n"
)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        pytest.param("kill -STOP $child", r"process \d+ sent no heartbeat", id="a child stops"),
        pytest.param("kill -STOP $parent", "sent no heartbeat", id="the parent stops"),
        pytest.param("kill -KILL $child; sleep 1000", "killed by SIGKILL", id="a child dies"),
        pytest.param(
            "kill -STOP $child; kill -KILL $parent; sleep 1000",
            "its parent process .* exited with status -9",
            id="the parent dies, and a child is stopped",
        ),
        pytest.param(
            "kill -STOP $parent; kill -KILL $child",
            "killed by SIGKILL|sent no heartbeat",
            id="a child dies, and the parent is stopped",
        ),
    ],
)
def test_a_run_whose_gateway_is_attacked_is_unavailable(site, attack, reason):
    found = run(
        site,
        f"{PROCESSES}echo x | aws s3 cp - s3://out/x --only-show-errors\n{attack}",
        program=impatient(),
        inputs=(an_input(),),
        s3Out=True,
    )

    assert (69, "failure", "unavailable") == found.outcome
    assert re.search(reason, found.result["reason"])
    assert site.open().head(COPY) is None


@pytest.mark.parametrize("victim", ["child", "parent"])
def test_a_failed_command_that_stops_the_gateway_keeps_its_own_reason(site, victim):
    found = run(site, f"{PROCESSES}kill -STOP ${victim}; exit 7", inputs=(an_input(),), s3Out=True)

    assert (10, "failure", "command failed") == found.outcome
    assert "the command exited with code 7" == found.result["reason"]
