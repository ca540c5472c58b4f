"""Jobs of several datums: a failed datum does not stop the others."""

import os

import attrs
import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.errors import Cause
from worker.job.datum_results import DatumCounts
from worker.job.run import run_job
from worker.job.state import State
from worker.model import BranchName, Repo
from worker.store.blobs import BlobReader

COPY = BranchName(Repo("default", "copy"))
ACT = 'name=$(basename "$files"); echo "$name" > $PFS_ROOT/out/$name; echo "log of $name" >&2'
"""Writes a file with the name of the datum."""
BY_NAME = "case $name in *-exit*) exit ${name##*-exit};; *-sleep) sleep 60;; esac"
"""Fails for a datum such as ``2-exit7``, with that code."""


def a_datum_job(*stdin, **changes):
    """Return a job with one datum for each file of the repo ``files``, and one try."""
    changes = {"s3Out": False, "datumTries": 1, **changes}
    inputs = changes.pop("inputs", (an_input("files", s3=False, glob="/*"),))
    return a_job(ACT, *(stdin or [BY_NAME]), inputs=inputs, **changes)


@pytest.fixture
def files(store):
    """A function that commits files with these names to the repo ``files``."""
    return lambda *names: a_commit(store, dict.fromkeys(names, b"1"), repo="files")


def keys(store, commit):
    """Return the keys of a commit, of which each object has its key as content."""
    reader = BlobReader(store.backend)
    found = {
        entry.key: b"".join(reader.pieces(entry.extents)).decode()
        for entry in store.tree(store.commit(commit)).entries()
    }
    assert {key: f"{key}\n" for key in found} == found
    return list(found)


def counts(result):
    """Return the numbers of processed, recovered, failed and not completed datums."""
    found = result.datum_counts
    return found.processed, found.recovered, found.failed, found.not_completed


@pytest.mark.parametrize(
    ("names", "cause", "code", "expected"),
    [
        (["1", "2", "3"], Cause.PUBLISHED, 0, (3, 0, 0, 0)),
        (["1", "2-exit3", "3"], Cause.COMMAND_FAILED, 3, (2, 0, 1, 0)),
        (["1-exit5", "2", "3-exit3"], Cause.COMMAND_FAILED, 5, (1, 0, 2, 0)),
        (["1-exit3", "2-exit4", "3-exit5"], Cause.COMMAND_FAILED, 3, (0, 0, 3, 0)),
        (["1", "2-exit99", "3-exit99"], Cause.RECOVERED, 0, (1, 2, 0, 0)),
        (["1-exit99", "2-exit3", "3"], Cause.COMMAND_FAILED, 3, (1, 1, 1, 0)),
        (["1-sleep", "2-exit3", "3"], Cause.DATUM_TIMEOUT, None, (1, 0, 2, 0)),
        (["1-exit3", "2-sleep", "3"], Cause.COMMAND_FAILED, 3, (1, 0, 2, 0)),
    ],
    ids=[
        "all processed",
        "one failed",
        "two failed",
        "all failed",
        "recovered",
        "recovered and failed",
        "timeout first",
        "timeout later",
    ],
)
async def test_all_datums_are_processed_and_counted(
    store, files, a_request, log, names, cause, code, expected
):
    """Cause and code are those of the first that failed; only a success is committed."""
    files(*names)
    # No limit for the other cases, which a busy machine could exceed.
    job = a_datum_job(**({"datumTimeout": "5s"} if any("sleep" in name for name in names) else {}))
    job["transform"] |= {"errCmd": ["sh"], "errStdin": ['[ "$PACH_ERROR_CODE" = 99 ]']}
    result = await run_job(a_request(job, grace=0.1), log=log)

    assert (cause, code) == (result.cause, result.command_code), result.reason
    assert expected == counts(result)
    assert names == [each.paths["files"].lstrip("/") for each in result.datums]
    assert [1, 2, 3] == [each.number for each in result.datums]
    if cause.exit_status == 0:
        assert [name for name in names if "-" not in name] == keys(store, result.output)
        job_record = store.commit(result.output).job
        assert attrs.asdict(result.datum_counts) == job_record["datum_counts"]
    else:
        assert State.FAILURE is result.state
        assert (None, None) == (result.output, store.head(COPY))


@pytest.mark.parametrize(
    ("failure", "cause", "reason"),
    [
        ("exit 3", Cause.COMMAND_FAILED, "the command exited with code 3: log of 2"),
        ("kill -9 $$", Cause.COMMAND_FAILED, "the command was killed by SIGKILL"),
        ("sleep 60", Cause.DATUM_TIMEOUT, "datumTimeout"),
        ("mkfifo $PFS_ROOT/out/p", Cause.COMMAND_FAILED, "/pfs/out/p: "),
        ("echo > $PFS_ROOT/out/1", Cause.COMMAND_FAILED, "datum 1 (files:/1) wrote it"),
        ("rm -r $PFS_ROOT/out", Cause.COMMAND_FAILED, "/pfs/out: "),
    ],
    ids=["code", "signal", "timeout", "pipe", "same path", "no folder"],
)
async def test_every_failure_of_a_datum_leaves_the_others(
    files, a_request, log, failure, cause, reason
):
    """The reason names the datum, and the last lines are those of its command."""
    files("1", "2", "3")
    limit = {"datumTimeout": "5s"} if cause is Cause.DATUM_TIMEOUT else {}
    job = a_datum_job(f'if [ "$name" = 2 ]; then {failure}; fi', **limit)
    result = await run_job(a_request(job, grace=0.1), log=log)

    assert (cause, (2, 0, 1, 0)) == (result.cause, counts(result)), result.reason
    assert ["success", "failure", "success"] == [each.state for each in result.datums]
    head, line = result.reason.split("\n")
    assert "1 of 3 datums failed (2 processed, 0 recovered):" == head
    assert line.startswith(f"datum 2 (files:/2), id {result.datums[1].id[:12]}: ")
    assert reason in line
    assert "log of 2" in result.log_tail
    assert "log of 3" not in result.log_tail


async def test_a_key_that_cannot_be_a_file_fails_its_datum_only(store, a_request, log):
    """There is no try, and no last line of a command."""
    long = "2/" + "x" * 300
    a_commit(store, {"1": b"1", long: b"2", "3": b"3"}, repo="files")
    result = await run_job(a_request(a_datum_job()), log=log)

    assert (Cause.INVALID, (2, 0, 1, 0)) == (result.cause, counts(result))
    assert "cannot be a file" in result.reason
    assert ((), 0) == (result.log_tail, result.datums[1].tries)


async def test_with_fail_fast_the_first_failed_datum_ends_the_job(
    store, files, a_request, log, tmp_path
):
    """A recovered datum does not."""
    files("1", "2-exit99", "3-exit3", "4", "5-exit4")
    job = a_datum_job(f"echo $name >> {tmp_path}/ran", BY_NAME)
    job["transform"] |= {"errCmd": ["sh"], "errStdin": ['[ "$PACH_ERROR_CODE" = 99 ]']}
    result = await run_job(a_request(job, fail_fast=True), log=log)

    assert (Cause.COMMAND_FAILED, 3) == (result.cause, result.command_code)
    assert (1, 1, 1, 2) == counts(result)
    assert "(1 processed, 1 recovered, 2 not completed)" in result.reason
    assert ["1", "2-exit99", "3-exit3"] == (tmp_path / "ran").read_text().split()
    assert store.head(COPY) is None


@pytest.mark.parametrize("before", ["1", "1-exit3"])
async def test_a_command_that_cannot_be_started_ends_the_job(
    files, a_request, log, tmp_path, before
):
    """It concerns every datum; the reason has those that failed before, too."""
    files(before, "2", "3")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nrm "$0"; case $files in *-exit3) exit 3;; esac\n')
    program.chmod(0o755)
    job = a_datum_job()
    job["transform"] = {"cmd": [str(program)]}
    result = await run_job(a_request(job), log=log)

    processed = before == "1"
    assert (Cause.COMMAND_FAILED, None) == (result.cause, result.command_code)
    assert (processed, 0, 2 - processed, 1) == counts(result)
    head, first, *others = result.reason.split("\n")
    assert "1 not completed" in head
    assert f"{program}: " in first
    assert first.startswith("datum 2 (files:/2)")
    assert others == [] if processed else "exited with code 3" in others[0]


async def test_an_error_of_the_store_ends_the_job(files, a_request, log, tmp_path):
    """Its cause is that of the job."""
    files("1-exit3", "2", "3")
    job = a_datum_job(f"rm -rf {tmp_path}/store/blobs", BY_NAME)
    result = await run_job(a_request(job), log=log)

    assert Cause.UNAVAILABLE is result.cause
    assert (0, 0, 1, 2) == counts(result)
    first, *others = result.reason.split("\n")
    assert "1-exit3" not in first
    assert "datum 1 (files:/1-exit3)" in others[1]


@pytest.mark.parametrize(
    ("end", "cause"),
    [("kill -TERM $AGENT; sleep 60", Cause.STOPPED), ("sleep 60", Cause.JOB_TIMEOUT)],
    ids=["signal", "job timeout"],
)
async def test_a_stop_ends_the_job(store, files, a_request, log, logged, end, cause):
    """The datums until then are counted; the one that was interrupted is not completed."""
    files("1", "2-exit3", "3", "4")
    limit = {"jobTimeout": "8s"} if cause is Cause.JOB_TIMEOUT else {}
    job = a_datum_job(f'if [ "$name" = 3 ]; then {end}; fi', BY_NAME, **limit)
    job["transform"]["env"] = {"AGENT": str(os.getpid())}
    result = await run_job(a_request(job, grace=0.1, keep_failed=True), log=log)

    assert (State.KILLED, cause) == (result.state, result.cause), result.reason
    assert (1, 0, 1, 2) == counts(result)
    assert "before it could publish\n1 of 4 datums failed (1 processed" in result.reason
    ended = next(each for each in logged.entries if each["event"] == "run.ended")
    assert {"total": 4, "processed": 1, "recovered": 0, "failed": 1} == ended["datum_counts"]
    assert (None, None) == (result.kept, store.head(COPY))


async def test_what_a_failed_datum_wrote_is_not_seen_by_the_next(files, a_request, log, tmp_path):
    """Objects that it changed or deleted are those of before."""
    files("1", "2", "3")
    job = a_datum_job(
        "get() { curl -sf $S3_ENDPOINT/out/$1; }; put() { curl -sfT - $S3_ENDPOINT/out/$1; }",
        "case $name in",
        "1) echo one | put a; echo one | put b;;",
        "2) echo two | put a; echo two | put new; curl -sf -X DELETE $S3_ENDPOINT/out/b; exit 1;;",
        f"3) get a > {tmp_path}/a; get b > {tmp_path}/b; get new || touch {tmp_path}/gone;;",
        "esac",
        s3Out=True,
    )
    job["transform"]["stdin"][1] = "name=$(basename $files)"
    result = await run_job(a_request(job), log=log)

    assert (2, 0, 1, 0) == counts(result), result.reason
    assert ["one\n", "one\n"] == [(tmp_path / name).read_text() for name in "ab"]
    assert (tmp_path / "gone").exists()


async def test_each_datum_finds_an_empty_output_folder(files, a_request, log, tmp_path):
    files("1-exit3", "2", "3-exit4", "4")
    job = a_datum_job(BY_NAME)
    job["transform"]["stdin"].insert(0, f"ls -A $PFS_ROOT/out >> {tmp_path}/found")
    result = await run_job(a_request(job), log=log)

    assert (2, 0, 2, 0) == counts(result)
    assert "" == (tmp_path / "found").read_text()


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("failure", ["exit 3", "mkfifo $PFS_ROOT/out/z"])
async def test_a_later_datum_may_write_the_path_of_a_failed_one(
    files, a_request, log, failure, keep
):
    """What the failed one wrote is not part of the output."""
    files("1", "2")
    job = a_datum_job(f'echo > $PFS_ROOT/out/same; if [ "$name" = 1 ]; then {failure}; fi')
    result = await run_job(a_request(job, keep_failed=keep), log=log)

    assert ["failure", "success"] == [each.state for each in result.datums], result.reason


@pytest.mark.parametrize("s3_out", [False, True])
@pytest.mark.parametrize(
    ("names", "fail_fast", "expected"),
    [
        (["1", "2-exit3", "3", "4-exit4", "5"], False, ["1", "2-exit3"]),
        (["1", "2-exit3", "3", "4-exit4", "5"], True, ["1", "2-exit3"]),
        (["1-exit3", "2-exit4"], False, ["1-exit3"]),
        (["1", "2", "3-exit3"], False, ["1", "2", "3-exit3"]),
        (["1-exit3"], False, ["1-exit3"]),
    ],
    ids=["in the middle", "fail fast", "the first", "the last", "the only one"],
)
async def test_keep_failed_keeps_the_output_at_the_first_failure(
    store, files, a_request, log, names, fail_fast, expected, s3_out
):
    """What the datums before wrote, and the last try of the one that failed."""
    files(*names)
    job = a_datum_job(s3Out=s3_out)
    if s3_out:
        job["transform"]["stdin"][1] = ACT.replace(
            "> $PFS_ROOT/out/$name", "| curl -sfT - $S3_ENDPOINT/out/$name"
        )
    result = await run_job(a_request(job, keep_failed=True, fail_fast=fail_fast), log=log)

    assert (Cause.COMMAND_FAILED, 3) == (result.cause, result.command_code), result.reason
    assert result.kept is not None, result.warnings
    assert expected == keys(store, result.kept)
    kept = store.commit(result.kept).job
    assert attrs.asdict(result.datum_counts) == kept["datum_counts"]
    assert result.reason == kept["reason"]
    assert store.head(COPY) is None


async def test_each_datum_has_its_tries(files, a_request, log, tmp_path):
    files("1", "2", "3")
    once = f"if [ ! -e {tmp_path}/tried ]; then touch {tmp_path}/tried; exit 1; fi"
    job = a_datum_job(f"case $name in 2) exit 3;; 3) {once};; esac", datumTries=2)
    result = await run_job(a_request(job), log=log)

    assert [("success", 1), ("failure", 2), ("success", 2)] == [
        (each.state, each.tries) for each in result.datums
    ]
    assert "the command exited with code 3: log of 2 (try 2)" == result.datums[1].reason


async def test_observers_see_how_many_datums_failed(files, a_request, log):
    """Reports of each command still arrive."""
    files("1-exit3", "2", "3-exit3", "4")
    job = a_datum_job("""echo '{"progress": 1}' > $WORKER_REPORT""", BY_NAME)
    seen = []
    result = await run_job(a_request(job), log=log, watch=seen.append)

    assert [0, 1, 1, 2] == [each.failed for each in seen if each.step == "command"]
    assert 4 == len([each for each in seen if each.step == "report"])
    assert {"progress": {"progress": 1}} == result.reports


async def test_the_reason_names_the_first_failed_datums(files, a_request, log):
    names = [f"{number:02}-exit{number}" for number in range(1, 13)]
    files(*names)
    result = await run_job(a_request(a_datum_job()), log=log)
    head, *lines = result.reason.split("\n")

    assert "12 of 12 datums failed (0 processed, 0 recovered):" == head
    assert [f"code {number}:" in line for number, line in enumerate(lines, 1)] == [True] * 5 + [
        False
    ]
    assert "and 7 more" == lines[-1]
    assert [f"code {number}:" in each.reason for number, each in enumerate(result.datums, 1)] == [
        True
    ] * 12


async def test_an_s3_input_is_one_datum(store, files, a_request, log):
    """Its failure has a reason without counts."""
    files("1", "2")
    a_commit(store, {"a": b"1", "b": b"2"})
    result = await run_job(a_request(a_job("exit 3", datumTries=1)), log=log)

    assert (0, 0, 1, 0) == counts(result)
    assert "the command exited with code 3" == result.reason


async def test_a_failed_job_can_be_run_again(store, files, a_request, log, tmp_path):
    """With the same id: all datums are processed again, and the output is published once."""
    files("1", "2", "3")
    job = a_datum_job(
        f'echo $name >> {tmp_path}/ran; if [ "$name" = 2 ]; then [ -e {tmp_path}/fixed ]; fi',
        job={"id": an_id()},
    )
    results = [await run_job(a_request(job), log=log)]
    (tmp_path / "fixed").touch()
    results += [await run_job(a_request(job), log=log) for _ in range(2)]

    assert [Cause.COMMAND_FAILED, Cause.PUBLISHED, Cause.PUBLISHED_BEFORE] == [
        each.cause for each in results
    ]
    assert [(2, 0, 1, 0), (3, 0, 0, 0), (0, 0, 0, 0)] == [counts(each) for each in results]
    assert DatumCounts() == results[2].datum_counts
    assert ["1", "2", "3"] * 2 == (tmp_path / "ran").read_text().split()
    assert ["1", "2", "3"] == keys(store, results[1].output)
    assert results[1].output == results[2].output
