"""The image of the Dockerfile: its user, the worker as PID 1, and the example in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_commit, a_job, an_id, an_input
from containers.engines import ROOT
from scenarios.sites import EXAMPLES, files_of

from worker.model import BranchName, Repo
from worker.store.opening import open_store

TAG = "localhost/worker-under-test"
DRIVER = ROOT / "tests" / "job" / "driver.py"
COPY = BranchName(Repo("default", "copy"))
AWS = 'echo 1 | aws s3 cp - "s3://out/f" --only-show-errors'


@pytest.fixture(scope="module")
def image(engine):
    """The image, built from this source with the requirements of the example."""
    engine.build(TAG, ROOT, "--build-arg=EXTRAS=[examples]")
    return TAG


@pytest.fixture(scope="module")
def labresults(tmp_path_factory):
    """The folder of the example, readable for all users."""
    folder = tmp_path_factory.mktemp("labresults")
    subprocess.run([sys.executable, EXAMPLES / "labresults.py", folder], check=True)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    return folder


def get(store: Path, ref: str) -> dict[str, bytes]:
    """Return the files of a commit."""
    folder = store.parent / "get"
    line = [sys.executable, "-m", "worker", "get", "--store", str(store), ref, str(folder)]
    subprocess.run(line, check=True, cwd=ROOT)
    return files_of(folder)


@pytest.fixture
def volume(tmp_path):
    """A store on this machine that the image's user can write."""
    folder = tmp_path / "store"
    folder.mkdir()
    store = open_store(folder)
    a_commit(store, {"a": b"1"})
    subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
    tmp_path.chmod(0o711)
    return folder


def test_an_unprivileged_worker_runs_the_example_on_mounted_folders(
    engine, image, tmp_path, labresults
):
    """The command is the aws CLI; the output has the same files as the input."""
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o777)
    process = engine.run(
        f"--volume={labresults}:/lab:ro",
        f"--volume={store}:/var/lib/worker",
        image,
        *("run", "--job", "/opt/worker/config/examples/labresults.json"),
        *("--input", "labresults=/lab"),
        check=False,
    )

    assert 0 == process.returncode, process.stderr
    assert files_of(labresults) == get(store, process.stdout.strip())
    assert {1000} == {path.stat().st_uid for path in store.rglob("*")}


def test_the_worker_is_pid_1_without_root_and_owns_pfs(engine, image, volume):
    job = a_job(
        "tr '\\0' ' ' < /proc/1/cmdline > /pfs/out/first",
        "id -u > /pfs/out/user",
        "cp /pfs/labresults/a /pfs/out/a",
        inputs=(an_input(s3=False),),
        s3Out=False,
    )
    process = run_job(engine, image, volume, job)

    assert 0 == process.returncode, process.stderr
    files = get(volume, "copy")
    assert b"/opt/worker/bin/worker run --job /job.json" in files["first"]
    assert (b"1000\n", b"1") == (files["user"], files["a"])


def test_the_entrypoint_is_the_worker_which_shows_its_help_without_arguments(engine, image):
    assert "worker run --job" in engine.run(image).stdout.replace("\n", " ")


def run_job(engine, image, volume: Path, job: dict) -> subprocess.CompletedProcess[str]:
    path = volume.parent / "job.json"
    path.write_text(json.dumps(job))
    return engine.run(
        f"--volume={path}:/job.json:ro",
        f"--volume={volume}:/var/lib/worker",
        image,
        *("run", "--job", "/job.json"),
        check=False,
    )


def run_with_sigterm(engine, image, volume: Path, job: dict, moment: str):
    """Run a job as PID 1, which receives SIGTERM at *moment*."""
    path = volume.parent / "job.json"
    path.write_text(json.dumps(job))
    return engine.run(
        f"--volume={path}:/job.json:ro",
        f"--volume={volume}:/var/lib/worker",
        f"--volume={DRIVER}:/driver.py:ro",
        "--entrypoint=/opt/worker/bin/python",
        image,
        *("/driver.py", "/var/lib/worker", "/tmp/driver", "/job.json", "SIGTERM", moment),
        check=False,
    )


@pytest.mark.parametrize("step", ["resolve", "serve", "run", "command", "drain"])
def test_sigterm_before_the_commit_is_status_75_and_leaves_no_commit_and_no_blob(
    engine, image, volume, step
):
    before = sorted(os.listdir(volume / "blobs"))
    process = run_with_sigterm(engine, image, volume, a_job(AWS, "sleep 0.2"), f"step:{step}")

    assert 75 == process.returncode, process.stderr
    assert "killed" == json.loads(process.stdout)["state"]
    assert [] == list(open_store(volume).commits(COPY.repo))
    assert before == sorted(os.listdir(volume / "blobs"))


@pytest.mark.parametrize("moment", ["step:publish", "write:9", "write:11"])
def test_sigterm_during_the_commit_is_status_0_and_leaves_the_commit(engine, image, volume, moment):
    job = a_job(AWS, job={"id": an_id()})
    process = run_with_sigterm(engine, image, volume, job, moment)

    assert 0 == process.returncode, process.stderr
    assert job["job"]["id"] == open_store(volume).head(COPY).commit.id


@pytest.fixture
def running_job(engine, image, volume):
    """A container whose PID 1 is a worker with a running command."""
    path = volume.parent / "job.json"
    path.write_text(json.dumps(a_job("(setsid sleep 1000 &)", "echo waits", "sleep 1000")))
    name = f"worker-test-{os.getpid()}"
    line = engine.line(
        *("run", f"--name={name}", *engine.options()),
        f"--volume={path}:/job.json:ro",
        f"--volume={volume}:/var/lib/worker",
        *(image, "run", "--job", "/job.json"),
    )
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        try:
            while "waits" not in client.stderr.readline():
                assert client.poll() is None
            yield name, client
        finally:
            engine.call("rm", "--force", name)


def test_stopping_the_container_stops_the_run(engine, running_job, volume):
    """The end of a pod sends SIGTERM to PID 1 as well."""
    name, client = running_job
    engine.call("stop", "--time=60", name)
    out, err = client.communicate(timeout=60)

    assert (75, "") == (client.returncode, out), err
    assert open_store(volume).head(COPY) is None


async def test_orphans_that_the_command_did_not_start_are_reaped(engine, running_job, until):
    """No zombie stays in the container."""
    name, _ = running_job

    def processes() -> list[str]:
        """Return name and state of each process."""
        process = engine.call("exec", name, "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true")
        return [" ".join(line.split()[1:3]) for line in process.stdout.splitlines()]

    engine.call("exec", name, "sh", "-c", "for n in 1 2 3 4 5; do (tail -f /dev/null &); done")
    orphans = [each for each in processes() if each.startswith("(tail)")]
    engine.call(
        "exec",
        name,
        "sh",
        "-c",
        'for p in /proc/[0-9]*; do test "$(cat $p/comm)" = tail && kill ${p#/proc/}; done; true',
    )
    await until(lambda: not any(each.startswith("(tail)") for each in processes()))

    assert 5 == len(orphans)
    assert not [each for each in processes() if each.endswith("Z")]
