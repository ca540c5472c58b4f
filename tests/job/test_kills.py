"""Runs that are killed or stopped at any moment, and their stores."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio
from builders import a_commit, a_job, an_id, an_input

from worker.model import BranchName, Commit, Repo
from worker.store.blobs import BlobReader
from worker.store.opening import open_store
from worker.store.repository import Store

DRIVER = Path(__file__).with_name("driver.py")
COPY = BranchName(Repo("default", "copy"))
MARK = "DRIVER_MARK"
NEW_PID_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def start(
    store: Store,
    folder: Path,
    job: dict,
    *arguments: str,
    prefix: tuple[str, ...] = (),
    grace: float = 2.0,
) -> subprocess.CompletedProcess[bytes]:
    document = folder / "job.json"
    document.write_text(json.dumps(job))
    return subprocess.run(
        [*prefix, sys.executable, str(DRIVER), store.url, str(folder), str(document), *arguments],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, MARK: str(folder), "DRIVER_GRACE": str(grace)},
    )


def contents(store: Store, commit: Commit) -> dict[str, bytes]:
    reader = BlobReader(store.backend)
    return {e.key: b"".join(reader.pieces(e.extents)) for e in store.tree(commit).entries()}


def blobs(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "store" / "blobs").rglob("*") if path.is_file())


async def no_process_left(folder: Path) -> bool:
    """Wait until no process of the driver is left; false after ten seconds."""
    with trio.move_on_after(10):
        while any(
            MARK in marks(p) and str(folder) == marks(p)[MARK] for p in psutil.process_iter()
        ):
            await trio.sleep(0.05)
        return True
    return False


def marks(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def a_file_job(*stdin: str) -> dict:
    inputs = (an_input(s3=False),)
    return a_job(*stdin, inputs=inputs, s3Out=False, job={"id": an_id()})


async def test_kill_between_any_two_writes_of_the_commit(store, tmp_path):
    """The store has the old or the new state, and running the job again ends in one commit."""
    a_commit(store, {"a": b"1"})
    pristine = tmp_path / "pristine"
    shutil.copytree(tmp_path / "store", pristine)
    job = a_file_job("echo 1 > $PFS_ROOT/out/f; cp $PFS_ROOT/labresults/a $PFS_ROOT/out/")
    states = []
    for write in range(1, 30):
        shutil.rmtree(tmp_path / "store")
        shutil.copytree(pristine, tmp_path / "store")
        killed = start(store, tmp_path, job, "SIGKILL", f"write:{write}")
        head, commits = store.head(COPY), list(store.commits(COPY.repo))
        states.append((len(commits), head is not None))
        for name in commits:
            assert {"f": b"1\n", "a": b"1"} == contents(store, store.commit(name))
        again = start(store, tmp_path, job)

        assert 0 == again.returncode, again.stderr.decode()
        assert [job["job"]["id"]] == [name.id for name in store.commits(COPY.repo)]
        assert job["job"]["id"] == store.head(COPY).commit.id
        assert ["scratch"] == [p.name for p in tmp_path.iterdir() if p.name == "scratch"]
        assert [] == os.listdir(tmp_path / "scratch")
        if killed.returncode == 0:
            break

    # Nothing; then the commit without its branch; then both.
    assert [(0, False), (1, False), (1, True)] == sorted(set(states))


@pytest.mark.parametrize("step", ["resolve", "serve", "run", "drain", "publish"])
async def test_kill_at_each_step_of_a_run_with_buckets(store, tmp_path, step):
    """No process is left, and running the job again ends in one commit."""
    a_commit(store, {"a": b"1"})
    job = a_job('echo 1 | curl -sf -T - "$S3_ENDPOINT/out/f"', job={"id": an_id()})
    killed = start(store, tmp_path, job, "SIGKILL", f"step:{step}")

    assert -9 == killed.returncode
    assert await no_process_left(tmp_path)
    assert store.head(COPY) is None
    again = start(store, tmp_path, job)
    assert 0 == again.returncode, again.stderr.decode()
    assert {"f": b"1\n"} == contents(store, store.commit(store.head(COPY).commit))


async def test_kill_while_the_command_runs(store, tmp_path):
    """The process tree and the gateway exit with the agent."""
    a_commit(store, {"a": b"1"})
    job = a_job("sleep 4251 & setsid sleep 4251 & kill -9 $AGENT_PID; sleep 4251")
    killed = start(store, tmp_path, job)

    assert -9 == killed.returncode
    assert await no_process_left(tmp_path)
    assert store.head(COPY) is None


@pytest.mark.parametrize("step", ["resolve", "serve", "run", "command", "drain"])
async def test_sigterm_before_the_commit(store, tmp_path, step):
    """Exit status 75; no commit, no file and no process is left."""
    a_commit(store, {"a": b"1"})
    before = blobs(tmp_path)
    job = a_job('echo 1 | curl -sf -T - "$S3_ENDPOINT/out/f"; sleep 0.2')
    stopped = start(store, tmp_path, job, "SIGTERM", f"step:{step}")
    result = json.loads(stopped.stdout)

    assert (75, "killed", None) == (stopped.returncode, result["state"], result["output"])
    assert "stopped by SIGTERM before it could publish" == result["reason"]
    assert store.head(COPY) is None
    assert before == blobs(tmp_path)
    assert [] == os.listdir(tmp_path / "scratch")
    assert await no_process_left(tmp_path)


@pytest.mark.parametrize("moment", ["step:publish", "write:9", "write:12"])
async def test_sigterm_during_the_commit(store, tmp_path, moment):
    """Exit status 0, with the commit."""
    a_commit(store, {"a": b"1"})
    job = a_file_job("echo 1 > $PFS_ROOT/out/f")
    done = start(store, tmp_path, job, "SIGTERM", moment)

    assert 0 == done.returncode, done.stderr.decode()
    assert job["job"]["id"] == store.head(COPY).commit.id


async def test_a_second_signal_ends_the_grace_period(store, tmp_path):
    a_commit(store, {"a": b"1"})
    job = a_file_job("trap '' TERM", "kill $AGENT_PID; sleep 0.3; kill $AGENT_PID; sleep 4252")
    started = trio.current_time()
    stopped = start(store, tmp_path, job, grace=50.0)

    assert 75 == stopped.returncode
    assert trio.current_time() - started < 40
    assert await no_process_left(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a PID namespace")
@pytest.mark.parametrize("step", ["resolve", "serve", "run", "command", "drain", "publish"])
async def test_sigterm_as_pid_1(store, tmp_path, step):
    """The agent handles signals, and reaps orphans."""
    a_commit(store, {"a": b"1"})
    job = a_job(
        "(setsid sleep 4253 &); echo agent is $AGENT_PID",
        'echo 1 | curl -sf -T - "$S3_ENDPOINT/out/f"; sleep 0.2',
    )
    done = start(store, tmp_path, job, "SIGTERM", f"step:{step}", prefix=NEW_PID_1)
    result = json.loads(done.stdout)

    assert (0 if step == "publish" else 75) == result["exit_code"] == done.returncode
    assert (step == "publish") == (store.head(COPY) is not None)
    assert await no_process_left(tmp_path)


@pytest.fixture
def memory_cgroup():
    """Return a command prefix that limits memory by a cgroup; skip where none can be created."""
    membership = Path("/proc/self/cgroup").read_text().splitlines()
    ours = next((line.split(":", 2)[2] for line in membership if ":memory:" in line), None)
    group = Path("/sys/fs/cgroup/memory") / (ours or "").lstrip("/") / f"worker-test-{os.getpid()}"
    limit = group / "memory.limit_in_bytes"
    if ours is None:
        ours = next(line.split(":", 2)[2] for line in membership if line.startswith("0::"))
        group = Path("/sys/fs/cgroup") / ours.lstrip("/") / f"worker-test-{os.getpid()}"
        limit = group / "memory.max"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        limit.write_text(str(200 << 20))
    except OSError as error:
        group.rmdir()
        pytest.skip(f"no memory cgroup here: {error}")
    yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    group.rmdir()


@pytest.mark.parametrize(
    "script",
    ["exec python3 -c 'x = bytearray(1 << 30)'", "python3 -c 'x = bytearray(1 << 30)' || exit 1"],
    ids=["the command itself", "a child of it"],
)
async def test_a_memory_kill_is_out_of_memory(store, tmp_path, memory_cgroup, script):
    """Exit status 13."""
    a_commit(store, {"a": b"1"})
    done = start(store, tmp_path, {**a_file_job(script), "datumTries": 1}, prefix=memory_cgroup)
    result = json.loads(done.stdout)

    assert (13, "out of memory") == (done.returncode, result["cause"]), result["reason"]
    assert "ran out of memory" in result["reason"]
    assert store.head(COPY) is None


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be made here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    "script",
    [
        "head -c 20000000 /dev/zero > $PFS_ROOT/out/f; true",
        "head -c 20000000 /dev/zero | curl -sf -T - $S3_ENDPOINT/out/f",
    ],
    ids=["files", "bucket"],
)
async def test_a_full_disk_is_73_and_named_in_the_reason(small_disk, tmp_path, script):
    """What was written is deleted."""
    store = open_store(small_disk / "store")
    a_commit(store, {"a": b"1"})
    before = blobs(small_disk)
    job = a_job(script, job={"id": an_id()}, datumTries=1)
    if "PFS_ROOT" in script:
        job = a_file_job(script)
    result = json.loads(start(store, tmp_path, job).stdout)

    assert (73, None) == (result["exit_code"], result["output"]), result["reason"]
    assert "is full" in result["reason"] or "No space left" in result["reason"]
    assert before == blobs(small_disk)
