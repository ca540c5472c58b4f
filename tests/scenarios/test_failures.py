"""Failed runs: their messages and exit statuses, and that they leave nothing."""

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
def test_a_failed_command_leaves_no_output(site):
    """Exit status 10: no commit, no blob, no scratch folder."""
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
def test_without_a_terminal_every_line_of_the_log_is_json(site):
    said = site.worker("run", "--job", site.job(a_job("echo hello", "exit 3", datumTries=1)))

    assert len(said.err.splitlines()) == len(said.events)
    assert "hello" in [event.get("line") for event in said.events]
    assert ("worker.failed", 10) == (said.events[-1]["event"], said.events[-1]["exit_code"])
    assert 1 == len({event["job"] for event in said.events if "job" in event})


def test_all_errors_of_a_document_are_reported_at_once(site):
    """Exit status 64; no store is created."""
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


def test_a_missing_input_is_unrunnable(site):
    """Exit status 66 names the repo."""
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
def test_an_invalid_input_argument_is_rejected_before_any_commit(site, folders, says):
    flags = [word for folder in folders for word in ("--input", folder)]

    said = site.worker("run", "--job", site.job(a_job("true")), *flags)

    assert says in " ".join(said.err.split())
    assert 64 == said.status
    assert not (site.root / "store").exists()


def test_a_folder_for_a_pinned_input_is_rejected(site):
    document = a_job("true", inputs=({"pfs": {**a_job()["input"]["pfs"], "commit": "a" * 32}},))

    said = site.worker("run", "--job", site.job(document), "--input", "labresults=.")

    assert "the job pins the input 'labresults' to commit" in " ".join(said.err.split())
    assert 64 == said.status


@pytest.mark.usefixtures("input_commit")
def test_a_write_to_an_input_is_denied_and_names_the_output(site):
    document = a_job("aws s3 cp - s3://labresults/b --only-show-errors < /dev/null", datumTries=1)

    said = site.worker("run", "--job", site.job(document), WORKER_LOG_FORMAT="console")

    assert 10 == said.status
    assert "AccessDenied" in said.err
    assert "s3://out" in said.err


@pytest.mark.usefixtures("input_commit")
def test_other_buckets_have_the_errors_of_s3(site):
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
def test_an_unwritable_result_file_is_an_error_before_the_run(site):
    said = site.worker("run", "--job", site.job(a_job("true")), "--result", "no/such/result.json")

    assert "no/such/result.json: No such file or directory" in said.err
    assert 66 == said.status
    assert [] == list(site.open().branches(a_commit(site.open(), {}, repo="x").name.repo))[1:]


@pytest.mark.usefixtures("input_commit")
def test_a_second_run_of_a_job_reports_its_commit(site):
    """Exit status 0."""
    job = site.job(a_job("echo x | aws s3 cp - s3://out/x", job={"id": an_id()}))

    first = site.worker("run", "--job", job)
    second = site.worker("run", "--job", job)

    assert (0, 0) == (first.status, second.status), second.err
    assert first.out == second.out != ""
