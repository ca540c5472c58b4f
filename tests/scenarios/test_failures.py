"""Failed runs: their messages and exit statuses, and that they leave nothing."""

import json

import pytest
from builders import a_commit, a_job, an_id, an_input


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

    done = site.worker(
        "run", "--job", site.job(document), "--result", "result.json", WORKER_LOG_FORMAT="console"
    )

    assert (10, "") == (done.status, done.out)
    assert "the last words" in done.err
    assert "worker: the command exited with code 3" in done.err
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
    done = site.worker("run", "--job", site.job(a_job("echo hello", "exit 3", datumTries=1)))

    assert len(done.err.splitlines()) == len(done.events)
    assert "hello" in [event.get("line") for event in done.events]
    assert ("worker.failed", 10) == (done.events[-1]["event"], done.events[-1]["exit_code"])
    assert 1 == len({event["job"] for event in done.events if "job" in event})


def test_all_errors_of_a_document_are_reported_at_once(site):
    """Exit status 64; no store is created."""
    document = {
        "pipeline": {},
        "input": {"pfs": {"repo": "labresults", "glob": "/*", "s3": True}},
        "transform": {"cmd": []},
        "s3Ot": True,
        "datumTries": -1,
    }

    done = site.worker(
        "run", "--job", site.job(document), "--result", "r.json", WORKER_LOG_FORMAT="console"
    )

    for pointer in ("/pipeline/name", "/input/pfs/glob", "/transform/cmd", "/s3Ot", "/datumTries"):
        assert f"{pointer}: " in done.err
    assert (64, "") == (done.status, done.out)
    assert not (site.root / "store").exists()
    result = json.loads((site.root / "r.json").read_text())
    assert ("unrunnable", "invalid", 64) == (result["state"], result["cause"], result["exit_code"])


def test_a_missing_input_is_unrunnable(site):
    """Exit status 66 names the repo."""
    done = site.worker("run", "--job", site.job(a_job("true")), WORKER_LOG_FORMAT="console")

    assert (66, "") == (done.status, done.out)
    assert "labresults@master" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["other=."], "the job has no input 'other'; its inputs are labresults"),
        (["labresults=nothing"], "nothing: no such directory"),
        (["labresults=job.json"], "job.json: not a directory"),
        (["labresults"], "expected NAME=DIRECTORY, found"),
        (["labresults=.", "labresults=."], "the input 'labresults' is given twice"),
    ],
)
def test_an_invalid_input_argument_is_rejected_before_any_commit(site, folders, says):
    flags = [word for folder in folders for word in ("--input", folder)]

    done = site.worker("run", "--job", site.job(a_job("true")), *flags)

    assert says in " ".join(done.err.split())
    assert 64 == done.status
    assert not (site.root / "store").exists()


def test_a_folder_for_a_pinned_input_is_rejected(site):
    document = a_job("true", inputs=({"pfs": {**a_job()["input"]["pfs"], "commit": "a" * 32}},))

    done = site.worker("run", "--job", site.job(document), "--input", "labresults=.")

    assert "the job pins the input 'labresults' to commit" in " ".join(done.err.split())
    assert 64 == done.status


@pytest.mark.usefixtures("input_commit")
def test_a_write_to_an_input_is_denied_and_names_the_output(site):
    document = a_job("aws s3 cp - s3://labresults/b --only-show-errors < /dev/null", datumTries=1)

    done = site.worker("run", "--job", site.job(document), WORKER_LOG_FORMAT="console")

    assert 10 == done.status
    assert "AccessDenied" in done.err
    assert "s3://out" in done.err


@pytest.mark.usefixtures("input_commit")
def test_other_buckets_have_the_errors_of_s3(site):
    document = a_job(
        "aws s3 mb s3://fresh || true",
        "aws s3 ls s3://nothing || true",
        "aws s3 mb s3://out || true",
        "echo done",
    )

    done = site.worker("run", "--job", site.job(document), WORKER_LOG_FORMAT="console")

    assert 0 == done.status, done.err
    for code in ("AccessDenied", "NoSuchBucket", "BucketAlreadyOwnedByYou"):
        assert code in done.err


@pytest.mark.usefixtures("input_commit")
def test_an_unwritable_result_file_is_an_error_before_the_run(site):
    done = site.worker("run", "--job", site.job(a_job("true")), "--result", "no/such/result.json")

    assert "no/such/result.json: No such file or directory" in done.err
    assert 66 == done.status
    assert [] == list(site.open().branches(a_commit(site.open(), {}, repo="x").name.repo))[1:]


@pytest.mark.usefixtures("input_commit")
def test_a_second_run_of_a_job_reports_its_commit(site):
    """Exit status 0."""
    job = site.job(a_job("echo x | aws s3 cp - s3://out/x", job={"id": an_id()}))

    first = site.worker("run", "--job", job)
    second = site.worker("run", "--job", job)

    assert (0, 0) == (first.status, second.status), second.err
    assert first.out == second.out != ""


COUNTS = {"total": 8, "processed": 1, "recovered": 1, "failed": 6}


@pytest.fixture
def datum_job(site):
    """A job of eight datums: one is processed, one recovered, and six fail."""
    a_commit(site.open(), dict.fromkeys("12345678", b"1"))
    document = a_job(
        "case $labresults in */1) ;; */2) exit 2;; *) echo the last words >&2; exit 3;; esac",
        inputs=(an_input(s3=False, glob="/*"),),
        s3Out=False,
        datumTries=1,
    )
    document["transform"] |= {"errCmd": ["sh"], "errStdin": ["[ $PACH_ERROR_CODE = 2 ]"]}
    return site.job(document)


def test_the_summary_of_failed_datums_has_counts_and_first_reasons(site, datum_job):
    done = site.worker("run", "--job", datum_job, WORKER_LOG_FORMAT="console")
    shown = done.err.splitlines()
    start = next(n for n, line in enumerate(shown) if line.startswith("worker: "))
    head, *lines, more = shown[start : start + 7]

    assert (10, "") == (done.status, done.out)
    assert "worker: 6 of 8 datums failed (1 processed, 1 recovered):" == head
    assert [f"  datum {number} (labresults:/{number})" for number in range(3, 8)] == [
        line.partition(", id ")[0] for line in lines
    ]
    assert all(line.endswith("exited with code 3: the last words") for line in lines)
    assert "  and 1 more" == more


def test_results_and_events_have_the_counts_of_datums(site, datum_job):
    """The result, its short form, the log and a kept commit."""
    files = ("--result", "r.json", "--termination-message", "message")
    done = site.worker("run", "--job", datum_job, "--keep-failed", "--json", *files)
    result = json.loads((site.root / "r.json").read_text())
    ended, failed = (
        next(event for event in done.events if event["event"] == name)
        for name in ("run.ended", "worker.failed")
    )

    documents = [result, json.loads((site.root / "message").read_text()), json.loads(done.out)]
    assert [COUNTS] * 5 == [each["datum_counts"] for each in (*documents, ended, failed)]
    assert 1 == len({each["reason"] for each in (*documents, failed)})
    assert ["success", "recovered", *["failure"] * 6] == [d["state"] for d in result["datums"]]
    kept = json.loads(site.worker("show", result["kept"], "--json").out)["job"]
    assert (COUNTS, result["reason"]) == (kept["datum_counts"], kept["reason"])
    shown = site.worker("show", result["kept"]).out
    assert "8, 1 recovered, 6 failed" in shown


@pytest.mark.parametrize("as_variable", [False, True], ids=["flag", "variable"])
def test_fail_fast_ends_the_job_at_the_first_failed_datum(site, datum_job, as_variable):
    variables = {"WORKER_FAIL_FAST": "true"} if as_variable else {}
    flags = () if as_variable else ("--fail-fast",)
    done = site.worker("run", "--job", datum_job, "--json", *flags, **variables)

    assert (10, {**COUNTS, "failed": 1}) == (done.status, json.loads(done.out)["datum_counts"])
