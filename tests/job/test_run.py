"""Runs, each with another outcome."""

import json
import os
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from builders import a_commit, a_job, an_id, an_input

from worker.errors import Cause
from worker.job.env_file import EnvFile
from worker.job.plan import Unrunnable
from worker.job.run import run_gateway, run_job, run_shell
from worker.job.state import Progress, State
from worker.model import BranchName, CommitName, Repo
from worker.store.backends.base import StoreUnavailable
from worker.store.backends.local import LocalBackend
from worker.store.opening import open_store

COPY = BranchName(Repo("default", "copy"))


def with_gateway(request, **settings):
    """Return *request* with other settings of its gateway."""
    gateway = attrs.evolve(request.config.gateway, **settings)
    return attrs.evolve(request, config=attrs.evolve(request.config, gateway=gateway))


def a_file_job(*stdin: str, **changes) -> dict:
    """Return a job without buckets."""
    name = changes.pop("name", "labresults")
    nodes = [an_input(name, s3=False, glob=changes.pop("glob", "/"))]
    return a_job(*stdin, inputs=tuple(nodes), s3Out=False, **changes)


def contents(store, commit) -> dict[str, bytes]:
    from worker.store.blobs import BlobReader

    reader = BlobReader(store.backend)
    tree = store.tree(commit)
    return {e.key: b"".join(reader.pieces(e.extents)) for e in tree.entries()}


def printed(logged) -> list[str]:
    """Return the lines that commands have printed, from the captured events."""
    texts = [e["text"] for e in logged.entries if e["event"] == "command.output"]
    return [line for text in texts for line in text.split("\n")]


def left_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


async def test_the_output_becomes_a_commit_with_provenance(store, a_request, log):
    given = a_commit(store, {"a.txt": b"1", "b/c.txt": b"22"})
    job = a_job(
        "aws s3 cp s3://labresults/b/c.txt - | aws s3 cp - s3://out/d.txt",
        "echo hi | aws s3 cp - s3://out/e",
    )
    result = await run_job(a_request(job), log=log)
    head = store.head(COPY)

    assert (Cause.PUBLISHED, "") == (result.cause, result.reason)
    assert (State.SUCCESS, 0) == (result.state, result.exit_code)
    assert head is not None
    assert result.output == head.commit
    commit = store.commit(head.commit)
    assert {"d.txt": b"22", "e": b"hi\n"} == contents(store, commit)
    assert result.job == commit.name.id == commit.job["id"]
    assert (("labresults", given.name),) == tuple((i.name, i.commit) for i in commit.inputs)
    assert [commit.name] == list(store.made_from(given.name))
    assert ["sh"] == commit.job["command"]
    assert 2 == commit.job["buckets"]["labresults"]["bytes_read"]
    assert 5 == commit.job["buckets"]["out"]["bytes_written"]


async def test_a_run_removes_its_folders(store, a_request, log, tmp_path):
    """The scratch directory and the root of file inputs."""
    a_commit(store, {"a.txt": b"1"})
    await run_job(a_request(a_job("aws s3 cp s3://labresults/a.txt s3://out/a.txt")), log=log)

    assert ["scratch", "store"] == left_in(tmp_path)
    assert [] == left_in(tmp_path / "scratch")


async def test_a_failed_command_leaves_no_commit_and_no_blob(store, a_request, log, tmp_path):
    """Exit status 10; the reason has the end of standard error, without padding."""
    a_commit(store, {"a.txt": b"1"})
    blobs = left_in(tmp_path / "store" / "blobs")
    job = a_job(
        "aws s3 cp s3://labresults/a.txt s3://out/a.txt",
        "echo 'broken  ' >&2; exit 3",
        datumTries=1,
    )
    result = await run_job(a_request(job), log=log)

    assert (State.FAILURE, 10, 3) == (result.state, result.exit_code, result.command_code)
    assert "the command exited with code 3: broken" == result.reason
    assert "broken  " in result.log_tail
    assert result.output is None
    assert store.head(COPY) is None
    assert [] == list(store.commits(COPY.repo))
    assert blobs == left_in(tmp_path / "store" / "blobs")
    assert [] == left_in(tmp_path / "scratch")


async def test_acceptReturnCode_makes_a_code_a_success(store, a_request, log):
    a_commit(store, {"a.txt": b"1"})
    job = a_file_job("exit 4")
    job["transform"]["acceptReturnCode"] = [4]

    assert 0 == (await run_job(a_request(job), log=log)).exit_code


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"stdin": ["sleep 60"], "datumTimeout": "300ms"}, 11, "datumTimeout of 0.3 s"),
        ({"stdin": ["sleep 60"], "jobTimeout": "500ms"}, 12, "jobTimeout"),
        ({"cmd": ["no-such"]}, 10, "no-such: command not found in PATH"),
        ({"cmd": ["/etc/passwd"]}, 10, "not executable: it lacks the x permission"),
        ({"stdin": ["kill -9 $$"]}, 10, "was killed by SIGKILL"),
        ({"workingDir": "/no/such"}, 10, "workingDir /no/such: No such file"),
        ({"user": "nobody-here"}, 64, "transform.user 'nobody-here': passwd has no such user"),
        ({"secrets": [{"name": "db", "key": "k", "envVar": "K"}]}, 78, "secret 'db/k': not found"),
    ],
    ids=[
        "datum timeout",
        "job timeout",
        "not found",
        "not executable",
        "signal",
        "working directory",
        "user",
        "secret",
    ],
)
async def test_each_failure_has_a_status_and_a_reason(store, a_request, log, changes, code, reason):
    a_commit(store, {"a.txt": b"1"})
    changes = dict(changes)
    outer = {name: changes.pop(name) for name in ("datumTimeout", "jobTimeout") if name in changes}
    job = a_file_job(datumTries=1, **outer)
    job["transform"].update(changes)
    result = await run_job(a_request(job, grace=0.5), log=log)

    assert code == result.exit_code
    assert reason in result.reason
    assert result.output is None
    assert store.head(COPY) is None


@pytest.mark.parametrize(
    "pinned", [None, "f" * 32], ids=["a branch without a head", "a commit that is not there"]
)
async def test_a_missing_input_is_unrunnable(a_request, log, pinned):
    """Exit status 66; the command does not run."""
    job = a_job(inputs=(an_input(commit=pinned),) if pinned else ())
    result = await run_job(a_request(job), log=log)

    assert (State.UNRUNNABLE, 66) == (result.state, result.exit_code)
    assert "input 'labresults'" in result.reason


async def test_the_kept_output_of_a_failed_job_is_not_an_input(store, a_request, log):
    kept = a_commit(store, {"a": b"1"}, job={"state": "failure"})
    result = await run_job(a_request(a_job(inputs=(an_input(commit=kept.name.id),))), log=log)

    assert (66, True) == (result.exit_code, "the output of a failed job" in result.reason)


async def test_an_unavailable_store_is_retryable(a_request, log, monkeypatch):
    """Exit status 69, at any step."""

    def refuse(_backend, name, *_range):
        raise StoreUnavailable(f"reading {name}", "Connection refused")

    monkeypatch.setattr(LocalBackend, "get", refuse)
    result = await run_job(a_request(a_job()), log=log)

    assert (69, True) == (result.exit_code, result.cause.retryable)
    assert "Connection refused" in result.reason


@pytest.mark.parametrize("action", ["run", "shell", "gateway"])
async def test_a_job_with_buckets_requires_a_store_that_processes_share(a_request, log, action):
    """A store in memory belongs to one process, and the gateway is others: status 78."""
    request = a_request(a_job())
    request = attrs.evolve(
        request, config=attrs.evolve(request.config, store=f"memory://{an_id()}")
    )
    runs: dict[str, Any] = {
        "run": run_job,
        "shell": partial(run_shell, argv=("true",), commit=False),
        "gateway": partial(run_gateway, ready=lambda _: None),
    }

    result = await runs[action](request, log=log)

    assert (78, False) == (result.exit_code, result.cause.retryable)
    assert "use a directory or an object store" in result.reason


async def test_a_job_of_files_can_use_a_store_in_memory(a_request, log):
    """No other process reads it."""
    where = f"memory://{an_id()}"
    a_commit(open_store(where), {"a": b"1"})
    request = a_request(a_file_job("cp $PFS_ROOT/labresults/a $PFS_ROOT/out/b"))
    request = attrs.evolve(request, config=attrs.evolve(request.config, store=where))

    result = await run_job(request, log=log)

    assert Cause.PUBLISHED is result.cause, result.reason


async def test_a_published_job_is_not_run_again(store, a_request, log, tmp_path):
    """Its commit is reported, even if its inputs were deleted."""
    a_commit(store, {"a.txt": b"1"})
    job = a_file_job(f"echo x >> {tmp_path}/ran; echo 1 > $PFS_ROOT/out/f", job={"id": an_id()})
    first = await run_job(a_request(job), log=log)
    second = await run_job(a_request(job), log=log)

    assert Cause.PUBLISHED == first.cause
    assert (Cause.PUBLISHED_BEFORE, 0, first.output) == (
        second.cause,
        second.exit_code,
        second.output,
    )
    assert "x\n" == (tmp_path / "ran").read_text()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"description": "other"}, "", id="a-description"),
        pytest.param({"metadata": {"labels": {"a": "b"}}}, "", id="metadata"),
        pytest.param({"datumTries": 2}, "/datumTries: was 3, now 2", id="a-number"),
        pytest.param({"salt": "x"}, "/salt: was not given, now 'x'", id="a-new-key"),
        pytest.param(
            {"transform": {"cmd": ["false"]}}, "/transform/cmd/0: was 'sh', now 'false'", id="cmd"
        ),
        pytest.param(
            {"inputs": [an_input(s3=False, glob="/*")]}, "/input/pfs/glob: was '/'", id="a-glob"
        ),
        pytest.param(
            {"inputs": [an_input(s3=False, commit="f" * 32)]},
            "input 'labresults': was",
            id="commit",
        ),
    ],
)
async def test_an_id_that_another_job_published_is_an_error(store, a_request, log, changes, reason):
    """Exit status 64 with the difference; the same spec and pinned inputs are the same job."""
    a_commit(store, {"a.txt": b"1"})
    document: dict[str, Any] = {
        "inputs": [an_input(s3=False)],
        "s3Out": False,
        "job": {"id": an_id()},
    }
    first = await run_job(a_request(a_job("true", **document)), log=log)
    again = await run_job(a_request(a_job("true", **{**document, **changes})), log=log)

    assert 0 == first.exit_code
    assert (64 if reason else 0) == again.exit_code
    assert reason in again.reason
    assert [first.output] == [head.commit for head in store.heads(COPY)]


async def test_a_published_job_may_be_pinned_to_the_inputs_that_it_had(store, a_request, log):
    """Also after their branch has moved."""
    had = a_commit(store, {"a.txt": b"1"})
    document = {"s3Out": False, "job": {"id": an_id()}}
    first = await run_job(
        a_request(a_job("true", inputs=(an_input(s3=False),), **document)), log=log
    )
    a_commit(store, {"a.txt": b"2"})
    pinned = an_input(s3=False, commit=had.name.id)
    again = await run_job(a_request(a_job("true", inputs=(pinned,), **document)), log=log)

    assert (Cause.PUBLISHED_BEFORE, first.output) == (again.cause, again.output), again.reason


async def test_an_id_that_another_job_publishes_meanwhile_is_an_error(store, a_request, log):
    """As one that it has published before."""
    given = a_commit(store, {"a.txt": b"1"})
    name = CommitName(COPY.repo, an_id())
    other = attrs.evolve(given, name=name, job={"spec": {"salt": "x"}})

    def watch(progress):
        if progress.step == "publish":
            store.add_commit(other)

    result = await run_job(a_request(a_job("true", job={"id": name.id})), log=log, watch=watch)

    assert (64, None) == (result.exit_code, result.output)
    assert f"job.id: {name} was published by another job with this id" in result.reason


async def test_a_run_moves_the_branch_of_an_earlier_run_that_died(store, a_request, log):
    """Unless the branch has a newer head."""
    given = a_commit(store, {"a.txt": b"1"})
    orphan = attrs.evolve(given, name=CommitName(COPY.repo, an_id()), branch="master")
    store.add_commit(orphan)
    result = await run_job(a_request(a_job(job={"id": orphan.name.id})), log=log)

    assert (Cause.PUBLISHED_BEFORE, True) == (result.cause, result.branch_moved)
    assert orphan.name == store.head(COPY).commit


async def test_of_two_runs_of_one_job_one_commits(store, a_request, log):
    """The other one reports that commit, and deletes its blobs."""
    import trio

    a_commit(store, {"a.txt": b"1"})
    job = a_job("echo $$ | aws s3 cp - s3://out/who", job={"id": an_id()})
    results = []
    async with trio.open_nursery() as nursery:
        for number in range(2):
            request = a_request(job, pfs_root=None)
            request = attrs.evolve(
                request,
                config=attrs.evolve(request.config, scratch=request.config.scratch / str(number)),
            )

            async def one(request=request) -> None:
                results.append(await run_job(request, log=log))

            nursery.start_soon(one)

    assert {Cause.PUBLISHED, Cause.PUBLISHED_BEFORE} == {result.cause for result in results}
    assert 1 == len({result.output for result in results})
    commit = store.commit(store.head(COPY).commit)
    assert ["who"] == list(contents(store, commit))
    stages = {e.blob.partition("/")[0] for x in store.tree(commit).entries() for e in x.extents}
    assert {"test", job["job"]["id"]} == {
        name.partition("-")[0]
        for name in left_in(Path(store.url.removeprefix("file://")) / "blobs")
    } or len(stages) == 1


async def test_an_incomplete_upload_is_a_warning_and_not_in_the_output(store, a_request, log):
    a_commit(store, {"a.txt": b"1"})
    job = a_job("aws s3api create-multipart-upload --bucket out --key big.bin")
    result = await run_job(a_request(job), log=log)

    assert 0 == result.exit_code
    assert ["s3://out/big.bin", "the output is empty"] == [
        text.partition(": ")[0] for text in result.warnings
    ]
    assert {} == contents(store, store.commit(result.output))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, ["the output is empty: s3://out"], id="an-out-bucket-left-empty"),
        pytest.param(
            {"s3Out": False}, ["the output is empty: /pfs/out"], id="an-out-folder-left-empty"
        ),
        pytest.param(
            {"inputs": [an_input(s3=False, glob="/*.none")]},
            ["input 'labresults': the glob '/*.none' matches none", "the job has no datum"],
            id="a-glob-that-matches-nothing",
        ),
    ],
)
async def test_an_output_that_is_empty_is_published_with_a_warning(
    store, a_request, log, changes, expected
):
    """The result and the commit have the warning; the job succeeds, as in Pachyderm."""
    a_commit(store, {"a.txt": b"1"})
    result = await run_job(a_request(a_job("true", **changes)), log=log)
    commit = store.commit(result.output)

    assert (0, {}) == (result.exit_code, contents(store, commit))
    assert len(expected) == len(result.warnings)
    assert all(map(str.startswith, result.warnings, expected))
    assert list(result.warnings) == commit.job["warnings"]


async def test_each_try_starts_with_the_output_that_the_datum_found(
    store, a_request, log, tmp_path
):
    """The output of a failed try is rolled back."""
    a_commit(store, {"a.txt": b"1"})
    tried = tmp_path / "tried"
    job = a_job(
        f"[ -e {tried} ] && {{ echo 2 | aws s3 cp - s3://out/second; exit 0; }}",
        f"touch {tried}; echo 1 | aws s3 cp - s3://out/first; exit 1",
    )
    result = await run_job(a_request(job), log=log)

    assert (0, 2) == (result.exit_code, result.datums[0].tries)
    assert {"second": b"2\n"} == contents(store, store.commit(result.output))


async def test_a_cross_is_one_commit_of_all_datums(store, a_request, log, tmp_path):
    """Each datum sees the whole bucket and its own file."""
    a_commit(store, {f"{n:04}": b"x" for n in range(1500)}, repo="many")
    a_commit(store, {f"{n}.txt": str(n).encode() for n in range(5)}, repo="files")
    tried = tmp_path / "tried"
    job = a_job(
        'name=$(basename "$files"); [ "$(ls $PFS_ROOT/files)" = "$name" ]',
        'count() { curl -sf "$S3_ENDPOINT/many?list-type=2&start-after=$1" | grep -o "<Key>"; }',
        "first=$(count '' | wc -l); rest=$(count 0999 | wc -l)",
        f"if [ $name = 2.txt ] && [ ! -e {tried} ]; then touch {tried}; "
        'curl -sf -T "$files" "$S3_ENDPOINT/out/bad"; exit 1; fi',
        'curl -sf -T "$files" "$S3_ENDPOINT/out/$name-$first-$rest"',
        inputs=(an_input("many"), an_input("files", s3=False, glob="/*")),
    )
    result = await run_job(a_request(job), log=log)

    assert "" == result.reason
    assert {f"{n}.txt-1000-500": str(n).encode() for n in range(5)} == contents(
        store, store.commit(result.output)
    )
    assert [1, 1, 2, 1, 1] == [datum.tries for datum in result.datums]
    assert [f"/{n}.txt" for n in range(5)] == [datum.paths["files"] for datum in result.datums]


async def test_an_unchanged_input_is_materialized_once(store, a_request, log, logged):
    """Unless the command changed it."""
    a_commit(store, {"a": b"1", "b": b"2"}, repo="big")
    a_commit(store, {f"{number}": b"x" for number in range(4)}, repo="small")
    job = a_job(
        "cat $PFS_ROOT/big/a $PFS_ROOT/big/b > $PFS_ROOT/out/$(basename $small)",
        "case $small in */1) chmod u+w $PFS_ROOT/big/a; echo 3 > $PFS_ROOT/big/a;; esac",
        inputs=(an_input("big", s3=False), an_input("small", s3=False, glob="/*")),
        s3Out=False,
    )
    result = await run_job(a_request(job), log=log)
    laid_out = [each["input"] for each in logged.entries if each["event"] == "datum.materialized"]

    assert {f"{number}": b"12" for number in range(4)} == contents(
        store, store.commit(result.output)
    )
    assert (2, 4) == (laid_out.count("big"), laid_out.count("small"))


async def test_a_job_timeout_does_not_wait_for_the_plan(store, a_request, log, monkeypatch):
    """Enumerating datums may take long."""
    a_commit(store, {"a": b"1"})
    released, finished = threading.Event(), []

    def make_plan(*_arguments, **_named):
        released.wait(30)
        finished.append(True)
        raise Unrunnable("the plan was made too late")

    monkeypatch.setattr("worker.job.run.make_plan", make_plan)
    result = await run_job(a_request({**a_job("true"), "jobTimeout": "200ms"}), log=log)
    was_finished = bool(finished)
    released.set()

    assert Cause.JOB_TIMEOUT is result.cause
    assert not was_finished


async def test_a_successful_error_command_recovers_the_datum(store, a_request, log):
    """The output of the try is dropped."""
    a_commit(store, {"good": b"1", "bad": b"2"})
    job = a_file_job(
        'cp -r "$labresults" $PFS_ROOT/out/; case "$labresults" in *bad) exit 7;; esac',
        glob="/*",
        datumTries=2,
    )
    job["transform"] |= {
        "errCmd": ["sh"],
        "errStdin": ['[ "$PACH_ERROR_CODE $PACH_ERROR_TRIES" = "7 2" ]'],
    }
    result = await run_job(a_request(job), log=log)

    assert (Cause.RECOVERED, 0) == (result.cause, result.exit_code)
    assert ["recovered", "success"] == [datum.state for datum in result.datums]
    assert {"good": b"1"} == contents(store, store.commit(result.output))


async def test_a_failed_error_command_does_not_recover_the_datum(store, a_request, log):
    """The reason is that of the command."""
    a_commit(store, {"a": b"1"})
    job = a_file_job("exit 7", datumTries=1)
    job["transform"]["errCmd"] = ["false"]
    result = await run_job(a_request(job), log=log)

    assert (10, 7) == (result.exit_code, result.command_code)


@pytest.mark.parametrize(
    ("end", "code"),
    [("exit 1", 10), ("sleep 60", 12), ("kill -TERM $AGENT; sleep 60", 75)],
    ids=["failure", "job timeout", "signal"],
)
async def test_a_failed_run_has_the_traffic_of_its_buckets(store, a_request, log, end, code):
    a_commit(store, {"a.txt": b"123"})
    get = 'curl -sf "$S3_ENDPOINT/labresults/a.txt"'
    job = a_job(f'{get} | curl -sfT - "$S3_ENDPOINT/out/b"; {end}', datumTries=1)
    job["transform"]["env"] = {"AGENT": str(os.getpid())}
    if code == 12:
        job["jobTimeout"] = "5s"
    result = await run_job(a_request(job), log=log)

    assert code == result.exit_code, result.reason
    assert {"labresults": (3, 0), "out": (0, 3)} == {
        name: (each.bytes_read, each.bytes_written) for name, each in result.buckets.items()
    }


async def test_keep_failed_keeps_the_output_of_the_last_try(store, a_request, log):
    """A commit on no branch, in the state of a failure."""
    a_commit(store, {"a.txt": b"1"})
    job = a_job("echo half | aws s3 cp - s3://out/half; exit 1", datumTries=2)
    result = await run_job(a_request(job, keep_failed=True), log=log)

    assert (10, None) == (result.exit_code, result.output)
    assert store.head(COPY) is None
    kept = store.commit(result.kept)
    assert {"half": b"half\n"} == contents(store, kept)
    assert "failure" == kept.job["state"]
    assert result.job != kept.name.id


async def test_each_try_sees_the_files_of_the_commit(store, a_request, log, tmp_path):
    """Whatever an earlier one has done to them: changed, added, removed and moved."""
    a_commit(store, {"a.txt": b"1", "dir/b": b"2", "c": b"3"})
    tried = tmp_path / "tried"
    job = a_file_job(
        f"if [ ! -e {tried} ]; then",
        f"touch {tried}; cd $PFS_ROOT/labresults; chmod -R u+w .",
        "echo more >> a.txt; mv dir/b moved; rm c; exit 1",
        "fi",
        "cp -r $PFS_ROOT/labresults/. $PFS_ROOT/out/; chmod -R u+w $PFS_ROOT/out",
        datumTries=2,
    )
    result = await run_job(a_request(job), log=log)

    assert (Cause.PUBLISHED, 2) == (result.cause, result.datums[0].tries), result.reason
    found = contents(store, store.commit(result.output))
    assert {"a.txt": b"1", "dir/b": b"2", "c": b"3"} == found


async def test_a_link_to_a_changed_input_is_what_the_command_saw(store, a_request, log):
    """Also to a file that it has created there, and below a link to a folder."""
    a_commit(store, {"a.txt": b"1", "same": b"0", "dir/b": b"2", "dir/c": b"3", "dir/d": b"4"})
    job = a_file_job(
        "cd $PFS_ROOT/labresults; chmod -R u+w .",
        "echo new > a.txt; echo own > own; echo new > dir/b; rm dir/c; echo own > dir/own",
        "ln -s $PFS_ROOT/labresults/a.txt $PFS_ROOT/labresults/own $PFS_ROOT/labresults/same "
        "$PFS_ROOT/labresults/dir $PFS_ROOT/out/",
    )
    result = await run_job(a_request(job), log=log)

    assert Cause.PUBLISHED is result.cause, result.reason
    assert {
        "a.txt": b"new\n",
        "own": b"own\n",
        "same": b"0",
        "dir/b": b"new\n",
        "dir/d": b"4",
        "dir/own": b"own\n",
    } == contents(store, store.commit(result.output))


async def test_without_s3Out_the_files_in_pfs_out_are_the_output(store, a_request, log):
    """Links into inputs share their bytes."""
    given = a_commit(store, {"a.txt": b"1", "dir/b": b"2", "dir/c": b"3"})
    job = a_file_job(
        "mkdir $PFS_ROOT/out/sub; echo new > $PFS_ROOT/out/sub/new",
        "ln -s $PFS_ROOT/labresults/a.txt $PFS_ROOT/out/link",
        "ln -s $labresults/dir $PFS_ROOT/out/all",
    )
    result = await run_job(a_request(job), log=log)
    commit = store.commit(result.output)

    assert {"sub/new": b"new\n", "link": b"1", "all/b": b"2", "all/c": b"3"} == contents(
        store, commit
    )
    assert store.tree(given).entry("a.txt").extents == store.tree(commit).entry("link").extents


async def test_two_datums_that_write_one_path_are_an_error(store, a_request, log):
    """The reason names both."""
    a_commit(store, {"a": b"1", "b": b"2"})
    result = await run_job(a_request(a_file_job("echo > $PFS_ROOT/out/same", glob="/*")), log=log)

    assert 10 == result.exit_code
    assert "datum 1 (labresults:/a) wrote it, and so did datum 2 (labresults:/b)" in result.reason


async def test_many_leftover_processes_are_few_warnings(store, a_request, log, logged):
    """The log names all."""
    a_commit(store, {"a": b"1"})
    job = a_file_job(
        "echo > $PFS_ROOT/out/b", "for n in $(seq 14); do sleep 600 > /dev/null 2>&1 & done"
    )
    result = await run_job(a_request(job), log=log)

    assert 14 == len([each for each in logged.entries if each["event"] == "command.left_running"])
    assert ["the command left process"] * 10 == [text[:24] for text in result.warnings[:-1]]
    assert result.warnings[-1].startswith("commands left more than 10 processes running")


async def test_a_job_without_datums_makes_an_empty_commit(store, a_request, log):
    a_commit(store, {"a": b"1"})
    result = await run_job(a_request(a_file_job("exit 1", glob="/none*")), log=log)

    assert (0, 0, ()) == (result.exit_code, result.files, result.datums)


async def test_a_line_without_an_end_is_announced_and_logged(store, a_request, log, logged):
    """The command waits until its prompt was announced, so it is not logged as a line before."""
    a_commit(store, {"a": b"1"})
    announced = []

    def watch(progress):
        if progress.step == "output":
            announced.append(progress.unfinished)
            if progress.unfinished == "Continue? ":
                answer.write_text("yes")

    job = a_job(
        "printf 'Continue? '", "until [ -e $ANSWER ]; do sleep 0.1; done", "cat $ANSWER; echo"
    )
    request = a_request(job, pass_environment=("ANSWER",))
    answer = Path(request.config.scratch).parent / "answer"
    request = attrs.evolve(request, environment={**os.environ, "ANSWER": str(answer)})
    result = await run_job(request, log=log, watch=watch)
    events = [e for e in logged.entries if e["event"] == "command.output"]

    assert 0 == result.exit_code
    assert "Continue? " in announced
    assert [("Continue? ", True), ("Continue? yes", False)] == [
        (e["text"], "unfinished" in e) for e in events
    ]
    assert ["Continue? yes"] == list(result.log_tail)


async def test_the_command_does_not_get_the_credentials_of_the_agent(store, a_request, log, logged):
    a_commit(store, {"a": b"1"})
    request = a_request(a_job("env | sort"), pass_environment=("MY_*",))
    request = attrs.evolve(
        request,
        environment={
            **os.environ,
            "AWS_SECRET_ACCESS_KEY": "the-agents-own",
            "MY_OWN": "let-through",
        },
    )
    await run_job(request, log=log)
    output = printed(logged)

    assert "AWS_SECRET_ACCESS_KEY=default" in output
    assert "MY_OWN=let-through" in output
    assert "the-agents-own" not in json.dumps(logged.entries, default=str)


async def test_a_missing_file_of_variables_is_a_warning(store, a_request, log, logged, monkeypatch):
    """The job runs without it."""
    a_commit(store, {"a": b"1"})
    monkeypatch.setattr(EnvFile, "write", lambda *_: False)
    result = await run_job(a_request(a_file_job()), log=log)

    assert 0 == result.exit_code, result.reason
    (event,) = [each for each in logged.entries if each["event"] == "command.no_env_file"]
    assert event["path"].endswith("/.env")


async def test_secrets_reach_only_the_command(store, a_request, log, logged, tmp_path):
    """Neither the log nor the result nor the commit contains them."""
    a_commit(store, {"a": b"1"})
    folder = tmp_path / "secrets" / "db"
    folder.mkdir(parents=True)
    (folder / "password").write_text("hunter22\n")
    job = a_file_job(
        "echo $PASSWORD; cat $WORKER_SECRETS_ROOT/db/password; printf $PASSWORD | wc -c"
    )
    job["transform"]["secrets"] = [
        {"name": "db", "key": "password", "envVar": "PASSWORD", "mountPath": "/db"}
    ]
    result = await run_job(a_request(job, secrets=tmp_path / "secrets"), log=log)
    output = [line.strip() for line in printed(logged)]

    assert 0 == result.exit_code
    assert ["***", "***", "8"] == output
    assert "hunter22" not in result.to_text()
    assert "hunter22" not in json.dumps(store.commit(result.output).job, default=str)


async def test_debug_logs_the_command_and_the_names_of_its_variables(store, a_request, log, logged):
    """Their values may be secret."""
    a_commit(store, {"a": b"1"})
    job = a_file_job()
    job["transform"] |= {"debug": True, "env": {"TOKEN": "hunter22"}}
    await run_job(a_request(job), log=log)
    logged_start = next(e for e in logged.entries if e["event"] == "command.starting")

    assert ["sh"] == logged_start["command"]
    assert {"TOKEN", "PACH_JOB_ID"} <= set(logged_start["environment"])
    assert "hunter22" not in json.dumps(logged.entries, default=str)


async def test_a_gateway_with_keys_rejects_unsigned_requests(store, a_request, log):
    """The command has the keys of the job."""
    a_commit(store, {"a": b"1"})
    request = a_request(
        a_job(
            "aws s3 cp s3://labresults/a s3://out/a",
            "AWS_SECRET_ACCESS_KEY=wrong aws s3 ls s3://out && exit 1",
            "aws --no-sign-request s3 ls s3://out && exit 1; true",
        )
    )
    request = with_gateway(request, auth="sigv4")
    result = await run_job(request, log=log)

    assert (0, 1) == (result.exit_code, result.files)


async def test_the_command_trusts_a_self_signed_gateway(store, a_request, log):
    a_commit(store, {"a": b"1"})
    request = a_request(
        a_job(
            "case $S3_ENDPOINT in https://*) ;; *) exit 1;; esac",
            "aws s3 cp s3://labresults/a s3://out/a",
        )
    )
    request = with_gateway(request, tls="self-signed")
    result = await run_job(request, log=log)

    assert ("", 1) == (result.reason, result.files)


async def test_reports_of_the_user_code_are_in_the_result(store, a_request, log):
    a_commit(store, {"a": b"1"})
    job = a_file_job(
        """echo '{"progress": 0.5}' > $WORKER_REPORT""",
        """echo '{"metrics": {"loss": 3}}' > $PACH_REPORT""",
        """printf '{"metrics": {"loss": 2, "n": 1}}\nnonsense\n' > $WORKER_REPORT""",
        """echo '{"progress": 1}' > $WORKER_REPORT""",
        "touch $PFS_ROOT/out/f",
    )
    steps = []
    result = await run_job(a_request(job), log=log, watch=steps.append)

    assert {"progress": {"progress": 1}, "metrics": {"loss": 2, "n": 1}} == result.reports
    assert dict(result.reports) == store.commit(result.output).job["reports"]
    assert 4 == len([step for step in steps if step.step == "report"])
    assert ["a report is a line of JSON"] == [w[:26] for w in result.warnings]


@pytest.mark.parametrize(
    ("commit", "code", "cause", "there"),
    [
        (True, 0, Cause.PUBLISHED, True),
        (False, 0, Cause.DISCARDED, False),
        (True, 3, Cause.COMMAND_FAILED, False),
        (False, 3, Cause.DISCARDED, False),
    ],
    ids=["commit", "no commit", "failure", "failure, no commit"],
)
async def test_a_shell_has_the_jobs_environment(store, a_request, log, commit, code, cause, there):
    """Also as a file. Its output is committed on request if it exits with 0."""
    a_commit(store, {"a": b"1"})
    script = (
        '. "$PFS_ROOT/.env"; curl -sf "$S3_ENDPOINT/labresults/a" | '
        f'curl -sfT - "$S3_ENDPOINT/out/b"; exit {code}'
    )
    result = await run_shell(a_request(a_job()), argv=("sh", "-c", script), commit=commit, log=log)

    reason = {
        Cause.COMMAND_FAILED: "nothing was committed: the shell exited with code 3",
        Cause.DISCARDED: "nothing was committed: --commit was not given",
    }
    assert (cause, cause.exit_status) == (result.cause, result.exit_code)
    assert cause not in reason or reason[cause] == result.reason
    assert there == (store.head(COPY) is not None) == (result.output is not None)
    assert code == result.command_code


async def test_a_gateway_serves_until_a_signal_and_commits_nothing(store, a_request, log, tmp_path):
    """It reports the variables that clients need."""
    a_commit(store, {"a": b"1"})
    received = []

    def ready(variables) -> None:
        received.append(variables)
        subprocess.Popen(  # a client that ends the gateway when it has been answered
            f'curl -sf "$S3_ENDPOINT/labresults/a" > {tmp_path}/a; kill {os.getpid()}',
            shell=True,
            env={**os.environ, **variables},
        )

    result = await run_gateway(a_request(a_job()), ready=ready, log=log)

    assert (Cause.DISCARDED, State.SUCCESS, 0) == (result.cause, result.state, result.exit_code)
    assert b"1" == (tmp_path / "a").read_bytes()
    assert "AWS_ENDPOINT_URL_S3" in received[0]
    assert store.head(COPY) is None


async def test_an_internal_error_is_a_result(a_request, log, monkeypatch):
    """Exit status 70; the log has the traceback."""
    from worker.job import run as module

    monkeypatch.setattr(module, "make_plan", lambda *_, **__: 1 / 0)
    result = await run_job(a_request(a_file_job()), log=log)

    assert (70, "internal error: ZeroDivisionError: division by zero") == (
        result.exit_code,
        result.reason,
    )


def test_a_result_is_json():
    """With its exit code."""
    from worker.job.result import Result

    result = Result(
        "a" * 32, State.SUCCESS, Cause.PUBLISHED, output=CommitName(COPY.repo, "a" * 32)
    )
    document = json.loads(result.to_text())

    assert ("success", "published", f"copy@{'a' * 32}", 0) == tuple(
        document[name] for name in ("state", "cause", "output", "exit_code")
    )


async def test_a_secret_that_is_replaced_while_the_job_starts_is_redacted(
    store, a_request, log, logged, tmp_path
):
    """It is read when its value is hidden, and again for the command."""
    a_commit(store, {"a": b"1"})
    file = tmp_path / "secrets" / "db" / "password"
    file.parent.mkdir(parents=True)
    file.write_text("the-first-value")
    job = a_job('echo "<$PW>"; exit 3', datumTries=1)
    job["transform"]["secrets"] = [{"name": "db", "key": "password", "envVar": "PW"}]

    def watch(progress: Progress) -> None:
        if progress.step == "resolve":
            file.write_text("the-second-value")

    request = a_request(job, secrets=tmp_path / "secrets")
    result = await run_job(request, log=log, watch=watch)

    assert ["<***>"] == printed(logged)
    assert "<***>" in result.reason
