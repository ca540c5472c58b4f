"""What goes wrong is told, with its exit status, and leaves nothing behind."""

import json

import pytest
from builders import a_commit, a_job, an_id


@pytest.fixture
def input_commit(site):
    """An input commit with one file."""
    return a_commit(site.open(), {"a.txt": b"1"})


def blobs(site):
    """The names of all blobs in the store."""
    return {listed.name for listed in site.open().backend.list_from("blobs/")}


@pytest.mark.usefixtures("input_commit")
def test_a_failing_command_leaves_no_output(site):
    """Exit 10: no commit, the branch as it was, scratch and blobs gone, the reason told."""
    previous = a_commit(site.open(), {"old": b"0"}, repo="copy")
    before = blobs(site)
    document = a_job(
        "echo data | aws s3 cp - s3://out/half --only-show-errors",
        "echo the last words >&2",
        "exit 3",
        job={"id": an_id()},
        datumTries=1,
    )

    said = site.worker(
        "run", "--job", site.job(document), "--result", "result.json", WORKER_LOG_FORMAT="console"
    )

    assert (10, "") == (said.status, said.out)
    assert "the last words" in said.err
    assert "3" in said.err.splitlines()[-1]
    store = site.open()
    assert previous.name == store.resolve("copy").name
    assert [previous.name] == list(store.commits(previous.name.repo))
    assert before == blobs(site)
    assert [] == site.left_over()
    result = json.loads((site.root / "result.json").read_text())
    assert ("failure", "command failed", 10, 3, False) == tuple(
        result[name] for name in ("state", "cause", "exit_code", "command_code", "worth_a_retry")
    )
    assert any("the last words" in line for line in result["log_tail"])


@pytest.mark.usefixtures("input_commit")
def test_the_log_of_a_pod_is_json_alone(site):
    """Without a terminal every line on standard error is an event, also the last one."""
    said = site.worker("run", "--job", site.job(a_job("echo hello", "exit 3", datumTries=1)))

    assert len(said.err.splitlines()) == len(said.events)
    assert "hello" in [event.get("line") for event in said.events]
    assert ("worker.failed", 10) == (said.events[-1]["event"], said.events[-1]["exit_code"])
    assert 1 == len({event["job"] for event in said.events if "job" in event})


def test_five_mistakes_are_five_errors_and_nothing_runs(site):
    """Exit 64, each mistake with its pointer, and not even a store is made."""
    document = {
        "pipeline": {},
        "input": {"pfs": {"repo": "labresults", "glob": "/*", "s3": True}},
        "transform": {"cmd": []},
        "s3Ot": True,
        "datumTries": 0,
    }

    said = site.worker(
        "run", "--job", site.job(document), "--result", "r.json", WORKER_LOG_FORMAT="console"
    )

    for pointer in ("/pipeline/name", "/input/pfs/glob", "/transform/cmd", "/s3Ot", "/datumTries"):
        assert f"{pointer}: " in said.err
    assert (64, "") == (said.status, said.out)
    assert not (site.root / "store").exists()
    result = json.loads((site.root / "r.json").read_text())
    assert ("unrunnable", "invalid", 64) == (result["state"], result["cause"], result["exit_code"])


def test_an_input_that_is_not_there_is_unrunnable(site):
    """Exit 66 names the repo."""
    said = site.worker("run", "--job", site.job(a_job("true")), WORKER_LOG_FORMAT="console")

    assert (66, "") == (said.status, said.out)
    assert "labresults@master" in said.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["other=."], "the job has no input 'other'; its inputs are labresults"),
        (["labresults=nothing"], "nothing: not a directory"),
        (["labresults"], "expected NAME=DIRECTORY, found"),
        (["labresults=.", "labresults=."], "the input 'labresults' is given twice"),
    ],
)
def test_a_folder_for_no_input_is_refused(site, folders, says):
    """--input must name an input of the job and a folder; nothing is committed otherwise."""
    flags = [word for folder in folders for word in ("--input", folder)]

    said = site.worker("run", "--job", site.job(a_job("true")), *flags)

    assert says in " ".join(said.err.split())
    assert 64 == said.status
    assert not (site.root / "store").exists()


def test_a_folder_for_a_pinned_input_is_refused(site):
    """An input that names its commit is that commit and no other."""
    document = a_job("true", inputs=({"pfs": {**a_job()["input"]["pfs"], "commit": "a" * 32}},))

    said = site.worker("run", "--job", site.job(document), "--input", "labresults=.")

    assert "the job pins the input 'labresults' to commit" in " ".join(said.err.split())
    assert 64 == said.status


@pytest.mark.usefixtures("input_commit")
def test_a_write_to_an_input_is_denied_and_says_where_to_write(site):
    """The client gets 403 AccessDenied with a message that names s3://out."""
    document = a_job("aws s3 cp - s3://labresults/b --only-show-errors < /dev/null", datumTries=1)

    said = site.worker("run", "--job", site.job(document), WORKER_LOG_FORMAT="console")

    assert 10 == said.status
    assert "AccessDenied" in said.err
    assert "s3://out" in said.err


@pytest.mark.usefixtures("input_commit")
def test_what_clients_ask_of_other_buckets_is_answered_as_s3_does(site):
    """Creating a bucket and reading an unknown one get the errors that clients expect."""
    document = a_job(
        "aws s3 mb s3://fresh || true",
        "aws s3 ls s3://nothing || true",
        "aws s3 mb s3://out || true",
        "echo done",
    )

    said = site.worker("run", "--job", site.job(document), WORKER_LOG_FORMAT="console")

    assert 0 == said.status, said.err
    for code in ("AccessDenied", "NoSuchBucket", "BucketAlreadyOwnedByYou"):
        assert code in said.err


@pytest.mark.usefixtures("input_commit")
def test_a_result_file_that_cannot_be_written_stops_the_run_before_it_begins(site):
    """A run of hours does not end at a path that can't be written."""
    said = site.worker("run", "--job", site.job(a_job("true")), "--result", "no/such/result.json")

    assert "no/such/result.json: No such file or directory" in said.err
    assert 66 == said.status
    assert [] == list(site.open().branches(a_commit(site.open(), {}, repo="x").name.repo))[1:]


@pytest.mark.usefixtures("input_commit")
def test_the_same_job_id_is_the_same_job(site):
    """A second run reports the commit of the first, and exits 0."""
    job = site.job(a_job("echo x | aws s3 cp - s3://out/x", job={"id": an_id()}))

    first = site.worker("run", "--job", job)
    second = site.worker("run", "--job", job)

    assert (0, 0) == (first.status, second.status), second.err
    assert first.out == second.out != ""
