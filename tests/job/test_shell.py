"""Shells of jobs with files."""

import os

from builders import a_commit, a_job, an_input

from worker.errors import Cause
from worker.job.run import run_shell
from worker.model import BranchName, Repo

COPY = BranchName(Repo("default", "copy"))
FILES = a_job(inputs=(an_input(s3=False),), s3Out=False)


async def test_the_files_in_pfs_out_are_the_output_of_a_shell(store, a_request, log):
    a_commit(store, {"a": b"1"})
    argv = ("sh", "-c", "cp $PFS_ROOT/labresults/a $PFS_ROOT/out/b && ls -A $PFS_ROOT/out | wc -l")
    result = await run_shell(a_request(FILES), argv=argv, commit=True, log=log)

    assert Cause.PUBLISHED is result.cause
    assert ["b"] == [entry.key for entry in store.tree(store.commit(result.output)).entries()]


async def test_a_file_that_cannot_be_committed_is_an_error(store, a_request, log):
    """Nothing is committed."""
    a_commit(store, {"a": b"1"})
    argv = ("sh", "-c", "ln -s missing $PFS_ROOT/out/b")
    result = await run_shell(a_request(FILES), argv=argv, commit=True, log=log)

    assert 10 == result.exit_code
    assert "it is a symbolic link to missing" in result.reason
    assert store.head(COPY) is None


async def test_one_of_several_datums_is_not_committed(store, a_request, log, tmp_path):
    """It would replace the output of all datums. The command is not run."""
    a_commit(store, {"a": b"1", "b": b"2"})
    job = a_job(inputs=(an_input(s3=False, glob="/*"),), s3Out=False)
    argv = ("touch", str(tmp_path / "started"))
    result = await run_shell(a_request(job), argv=argv, commit=True, log=log)

    assert Cause.INVALID is result.cause
    assert "--commit: found 2 datums, expected 1" in result.reason
    assert (None, False) == (store.head(COPY), (tmp_path / "started").exists())


async def test_a_shell_inherits_the_environment_of_the_worker(store, a_request, log):
    """Without a container."""
    a_commit(store, {"a": b"1"})
    argv = ("sh", "-c", f'test "$PATH" = "{os.environ["PATH"]}"')
    result = await run_shell(a_request(FILES), argv=argv, commit=True, log=log)

    assert 0 == result.exit_code, result.reason
