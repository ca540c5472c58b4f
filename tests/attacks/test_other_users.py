"""Other local users while a job runs: scratch is for the command's user and the worker alone."""

import errno
import json
import os
import stat
import subprocess
import time

import pytest
from builders import a_commit, a_job, an_input
from scenarios.sites import Site, files_of

from worker.job.scratch import admit

COMMAND, OTHER = 4001, 4002
"""The users of the command, and of somebody else."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def as_user(uid: int, script: str) -> str:
    """Return what a shell of the user *uid* prints."""
    done = subprocess.run(
        ["sh", "-c", script],
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.fixture
def site(public_path):
    site = Site(public_path, str(public_path / "store"))
    site.scratch.mkdir()
    a_commit(site.open(), {"a.txt": b"of the input"})
    return site


@needs_root
@pytest.mark.parametrize("user", [None, COMMAND], ids=["of the worker", "another"])
def test_no_other_user_reaches_the_files_of_a_running_job(site, user):
    """The command's user reaches its inputs, its secrets and its certificate authority."""
    shared = site.root / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    job = a_job(
        "cp $PFS_ROOT/labresults/a.txt $PFS_ROOT/out/",
        "cat $WORKER_SECRETS_ROOT/etc/lab/password > $PFS_ROOT/out/secret",
        "head -c 1 $AWS_CA_BUNDLE > $PFS_ROOT/out/authority",
        """echo '{"rows": 1}' > $WORKER_REPORT""",
        f"touch {shared}/started; until [ -e {shared}/end ]; do sleep 0.1; done",
        inputs=(an_input(s3=False), an_input(name="served", repo="labresults")),
        s3Out=False,
        datumTries=1,
    )
    job["transform"]["secrets"] = [{"name": "lab", "mountPath": "/etc/lab"}]
    if user is not None:
        job["transform"]["user"] = str(user)
    environment = {**site.environment, "WORKER_SECRET_LAB_PASSWORD": "of the secret"}
    del environment["WORKER_PFS_ROOT"]
    run = subprocess.Popen(
        site.command("run", "--job", site.job(job), "--tls", "self-signed", "--result", "r.json"),
        cwd=site.root,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (shared / "started").exists():
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        (folder,) = site.scratch.glob("worker-job-*")
        paths = [str(path) for path in (folder, *folder.rglob("*"))]
        script = "\n".join(f"ls '{path}'; cat '{path}'" for path in paths if not is_fifo(path))
        found = as_user(OTHER, script)
        (shared / "end").touch()
        _, errors = run.communicate()
    finally:
        run.kill()
        run.wait()

    assert 0 == run.returncode, errors
    assert len(paths) > 10
    assert "" == found
    assert (
        0
        == site.worker(
            "get", json.loads((site.root / "r.json").read_text())["output"], "files"
        ).status
    )
    assert {
        "a.txt": b"of the input",
        "secret": b"of the secret",
        "authority": b"#",
    }.keys() == files_of(site.root / "files").keys()


def is_fifo(path: str) -> bool:
    return stat.S_ISFIFO(os.lstat(path).st_mode)


@needs_root
@pytest.mark.parametrize("has_lists", [True, False], ids=["with lists", "without"])
def test_a_folder_admits_one_user(public_path, monkeypatch, has_lists):
    """Where the file system has no access control lists, it admits the group of this user."""
    folder = public_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("content")
    folder.chmod(0o700)
    if not has_lists:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

        monkeypatch.setattr("worker.job.scratch.os.setxattr", refuse)
    admit(folder, COMMAND, COMMAND)

    assert "content" == as_user(COMMAND, f"cat {folder}/file; ls {folder}; touch {folder}/new")
    assert "" == as_user(OTHER, f"cat {folder}/file; ls {folder}")
    assert ["file"] == os.listdir(folder)
