"""A person in place of the command: what a shell among a job's files finds, and what it leaves."""

import os

from builders import a_commit, a_job, an_input

from worker.errors import Cause
from worker.job.run import run_shell
from worker.model import BranchName, Repo

COPY = BranchName(Repo("default", "copy"))
FILES = a_job(inputs=(an_input(s3=False),), s3Out=False)


async def test_the_files_that_a_shell_leaves_are_its_output(store, a_request, log):
    """It finds an empty folder for them, as the command would."""
    a_commit(store, {"a": b"1"})
    argv = ("sh", "-c", "cp $PFS_ROOT/labresults/a $PFS_ROOT/out/b && ls -A $PFS_ROOT/out | wc -l")
    result = await run_shell(a_request(FILES), argv=argv, commit=True, log=log)

    assert Cause.PUBLISHED is result.cause
    assert ["b"] == [entry.key for entry in store.tree(store.commit(result.output)).entries()]


async def test_what_cannot_be_a_file_of_a_commit_is_told(store, a_request, log):
    """Nothing is committed then."""
    a_commit(store, {"a": b"1"})
    argv = ("sh", "-c", "ln -s /etc/passwd $PFS_ROOT/out/b")
    result = await run_shell(a_request(FILES), argv=argv, commit=True, log=log)

    assert 10 == result.exit_code
    assert "it is a symbolic link to /etc/passwd" in result.reason
    assert store.head(COPY) is None


async def test_a_shell_keeps_its_own_environment(store, a_request, log):
    """Where commands are run right here."""
    a_commit(store, {"a": b"1"})
    argv = ("sh", "-c", f'test "$PATH" = "{os.environ["PATH"]}"')
    result = await run_shell(a_request(FILES), argv=argv, commit=True, log=log)

    assert 0 == result.exit_code, result.reason
