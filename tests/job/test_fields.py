"""The fields of a transform and of a job, as the command observes them."""

import os

import pytest
from builders import a_commit, a_job, an_input

from worker.errors import Cause
from worker.job.run import run_job
from worker.model import BranchName, Repo

COPY = BranchName(Repo("default", "copy"))
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as another user")


def a_file_job(transform, **changes) -> dict:
    """Return a job with files only, with one try."""
    fields = {"datumTries": 1, "s3Out": False, **changes}
    return a_job(inputs=(an_input(s3=False),), **fields) | {"transform": transform}


@pytest.mark.parametrize(
    ("transform", "output"),
    [
        pytest.param({"cmd": ["echo", "$HOME", "a  b"]}, ["$HOME a  b"], id="cmd: no shell"),
        pytest.param({"cmd": ["cat"], "stdin": ["a", "", "b"]}, ["a", "", "b"], id="stdin"),
        pytest.param({"cmd": ["true"], "stdin": ["x" * 500_000]}, [], id="stdin not read"),
        pytest.param(
            {"cmd": ["sh"], "stdin": ["printf x | cat; echo y"]}, ["xy"], id="stdin of a shell"
        ),
        pytest.param(
            {"cmd": ["sh", "-c", "echo $A $PACH_JOB_ID"], "env": {"A": "1", "PACH_JOB_ID": "mine"}},
            ["1 mine"],
            id="env over ours",
        ),
        pytest.param({"cmd": ["pwd"], "workingDir": "/usr"}, ["/usr"], id="workingDir"),
        pytest.param({"cmd": ["pwd"], "workingDir": "usr/bin"}, ["/usr/bin"], id="below the root"),
        pytest.param(
            {"cmd": ["sh", "-c", "id -u; id -g; id -G"], "user": "1234:2345"},
            ["1234", "2345", "2345"],
            id="user by uid and gid",
            marks=root,
        ),
        pytest.param(
            {"cmd": ["sh", "-c", "id -un; echo $HOME"], "user": "nobody"},
            ["nobody", "/nonexistent"],
            id="user by name",
            marks=root,
        ),
        pytest.param(
            {"cmd": ["sh", "-c", "exit 137"], "acceptReturnCode": [3, 137]},
            [],
            id="acceptReturnCode",
        ),
        pytest.param({"cmd": ["true"], "image": "not:pulled"}, [], id="image"),
    ],
)
async def test_the_command_observes_the_field(store, a_request, log, transform, output):
    a_commit(store, {"a": b"1"})
    result = await run_job(a_request(a_file_job(transform)), log=log)

    assert ("", 0) == (result.reason, result.exit_code)
    assert output == list(result.log_tail)
    kept = store.commit(result.output).job
    assert (transform["cmd"], transform.get("image", "")) == (kept["command"], kept["image"])


async def test_acceptReturnCode_does_not_accept_signals(store, a_request, log):
    """Even if the list has the code that a shell reports for it."""
    a_commit(store, {"a": b"1"})
    transform = {"cmd": ["sh", "-c", "kill -9 $$"], "acceptReturnCode": [9, 137]}
    result = await run_job(a_request(a_file_job(transform)), log=log)

    assert (10, None) == (result.exit_code, result.command_code)


async def test_a_datum_has_three_tries_by_default(store, a_request, log, tmp_path):
    a_commit(store, {"a": b"1"})
    count = f"echo >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) = 3 ]"
    job = a_file_job({"cmd": ["sh", "-c", count]})
    del job["datumTries"]
    result = await run_job(a_request(job), log=log)

    assert (0, 3) == (result.exit_code, result.datums[0].tries)


async def test_the_error_command_has_a_timeout_of_its_own(store, a_request, log, tmp_path):
    """It runs once, after the last try."""
    a_commit(store, {"a": b"1"})
    transform = {
        "cmd": ["sleep", "60"],
        "errCmd": ["sh"],
        "errStdin": [f"echo $PACH_ERROR_CAUSE $PACH_ERROR_TRIES >> {tmp_path}/found; sleep 0.3"],
    }
    job = a_file_job(transform, datumTries=2, datumTimeout="1500ms")
    result = await run_job(a_request(job, grace=0.5), log=log)

    assert (Cause.RECOVERED, 0) == (result.cause, result.exit_code), result.reason
    assert "datum timeout 2\n" == (tmp_path / "found").read_text()


async def test_parent_description_metadata_and_spec_are_provenance(store, a_request, log):
    a_commit(store, {"a": b"1"})
    fields = {
        "description": "why",
        "metadata": {"labels": {"team": "lab"}, "annotations": {"a_b": "c"}},
        "reprocessSpec": "every_job",
        "salt": "x",
    }
    job = a_file_job({"cmd": ["true"]}, job={"parent": "https://ci/7"}, **fields)
    kept = store.commit((await run_job(a_request(job), log=log)).output).job

    assert ("https://ci/7", "why") == (kept["parent"], kept["description"])
    assert fields == {name: kept["spec"][name] for name in fields}


@pytest.mark.parametrize(
    "field",
    [
        {"parallelismSpec": {"constant": "4"}},
        {"resourceRequests": {"memory": "1G"}},
        {"resourceLimits": {"cpu": 1}},
        {"schedulingSpec": {"nodeSelector": {"a": "b"}}},
        {"tolerations": [{"key": "k"}]},
        {"podSpec": "{}"},
        {"podPatch": "[]"},
        {"autoscaling": True},
        {"datumSetSpec": {"number": 1}},
    ],
    ids=lambda field: next(iter(field)),
)
async def test_fields_for_the_scheduler_have_no_effect(store, a_request, log, field):
    """They are not in the provenance."""
    a_commit(store, {"a": b"1"})
    request = a_request(a_file_job({"cmd": ["true"]}, **field))
    result = await run_job(request, log=log)

    assert [f"/{name}" for name in field] == list(request.spec.for_scheduler)
    assert 0 == result.exit_code
    assert not field.keys() & store.commit(result.output).job["spec"].keys()
