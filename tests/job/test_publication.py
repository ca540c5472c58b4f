"""Runs whose store fails at the commit or at the branch."""

import errno
import os

import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.errors import Cause
from worker.job.run import run_job
from worker.job.state import State
from worker.model import BranchName, CommitName, Repo
from worker.store.backends.base import NoPutIfAbsent, StoreUnavailable, WriteUncertain
from worker.store.backends.local import LocalBackend
from worker.store.verify import verify

COPY = BranchName(Repo("default", "copy"))
COMMITS = "repos/default/copy/commits/"
SLOTS = "repos/default/copy/branches/master/"
NO_SPACE = StoreUnavailable("writing", "No space left on device (ENOSPC)", errno=errno.ENOSPC)
NO_RESPONSE = WriteUncertain("writing", "error sending request")


def the_job(*stdin: str):
    return a_job(*stdin, inputs=(an_input(s3=False),), s3Out=False, job={"id": an_id()})


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes put_new fail below a prefix, with or without effect."""
    real = LocalBackend.put_new

    def fail(prefix, error, *, carried_out=False):
        def put_new(backend, name, data):
            if name.startswith(prefix):
                if carried_out:
                    real(backend, name, data)
                raise error
            real(backend, name, data)

        monkeypatch.setattr(LocalBackend, "put_new", put_new)

    yield fail
    monkeypatch.undo()


def blobs(store) -> list[str]:
    return [listed.name for listed in store.backend.list_from("blobs/")]


async def test_a_full_disk_is_73_and_deletes_what_was_written(store, a_request, log, failing):
    """The commit certainly does not exist."""
    a_commit(store, {"a": b"1"})
    before = [listed.name for listed in store.backend.list_from("")]
    failing(COMMITS, NO_SPACE)
    result = await run_job(a_request(the_job("echo 1 > $PFS_ROOT/out/f")), log=log)

    assert (73, State.FAILURE, None) == (result.exit_code, result.state, result.output)
    assert "No space left on device" in result.reason
    left = [listed.name for listed in store.backend.list_from("")]
    assert before == [name for name in left if "/made/" not in name]


@pytest.mark.parametrize("carried_out", [True, False], ids=["carried out", "lost"])
async def test_a_commit_without_a_response_keeps_its_blobs(
    store, a_request, log, failing, monkeypatch, carried_out
):
    """Exit status 73; running the same job again ends with 0."""
    a_commit(store, {"a": b"1"})
    job = the_job("echo 1 > $PFS_ROOT/out/f")
    before = set(blobs(store))
    failing(COMMITS, NO_RESPONSE, carried_out=carried_out)
    result = await run_job(a_request(job), log=log)

    assert (73, State.FAILURE) == (result.exit_code, result.state)
    assert "may be there or not" in result.reason
    assert f'"id": "{job["job"]["id"]}"' in result.reason
    assert before < set(blobs(store))
    assert () == verify(store).defects
    monkeypatch.undo()
    again = await run_job(a_request(job), log=log)
    assert 0 == again.exit_code
    assert carried_out == (again.cause is Cause.PUBLISHED_BEFORE)
    assert [again.output] == [head.commit for head in store.heads(COPY)]


@pytest.mark.parametrize("error", [NO_SPACE, NO_RESPONSE], ids=["no space", "no response"])
async def test_a_branch_that_was_not_moved_is_73_with_the_commit(
    store, a_request, log, failing, monkeypatch, error
):
    """Running the same job again moves it."""
    a_commit(store, {"a": b"1"})
    job = the_job("echo 1 > $PFS_ROOT/out/f")
    name = CommitName(COPY.repo, job["job"]["id"])
    failing(SLOTS, error)
    result = await run_job(a_request(job), log=log)

    assert (73, name, False) == (result.exit_code, result.output, result.branch_moved)
    assert f"{name} is published, but the branch copy@master could not be moved" in result.reason
    assert () == verify(store).defects
    monkeypatch.undo()
    again = await run_job(a_request(job), log=log)
    assert (0, Cause.PUBLISHED_BEFORE) == (again.exit_code, again.cause)
    assert [name] == [head.commit for head in store.heads(COPY)]


async def test_a_store_without_put_if_absent_is_78_before_the_command(
    store, a_request, log, monkeypatch, tmp_path
):
    a_commit(store, {"a": b"1"})

    def link(*_arguments):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def rename(backend, _temporary, _path):
        raise NoPutIfAbsent(backend.url, "the file system has neither")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(LocalBackend, "_rename_new", rename)
    result = await run_job(a_request(the_job(f"touch {tmp_path}/ran")), log=log)

    assert (78, Cause.CONFIGURATION) == (result.exit_code, result.cause)
    assert "put-if-absent" in result.reason
    assert not (tmp_path / "ran").exists()
