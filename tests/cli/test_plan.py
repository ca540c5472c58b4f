"""``plan``: resolve the inputs of a job and show what a run would do."""

import json

import pytest
from builders import a_commit, a_job, an_id, an_input

SECRET = {"name": "db", "key": "password", "envVar": "PASSWORD"}


@pytest.fixture
def planned(worker, place):
    """A function that runs ``plan`` for a document."""

    def plan(document, *flags):
        path = place.parent / "job.json"
        path.write_text(json.dumps(document))
        return worker("plan", "--job", path, *flags)

    return plan


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_plan_json_has_commits_datums_buckets_and_environment(planned, store, place):
    """It has all decisions of a run, and nothing is written to the store."""
    lab = a_commit(store, {"a": b"1"})
    names = a_commit(store, {"x": b"1", "y": b"2"}, repo="names")
    before = files_below(place)
    document = a_job(
        "true",
        inputs=(an_input(), {"pfs": {"repo": "names", "glob": "/*"}}),
        autoscaling=True,
    )

    found = json.loads(planned(document, "--json").out)

    assert [str(lab.name), str(names.name)] == [each["commit"] for each in found["inputs"]]
    assert [{"labresults": "/", "names": "/x"}, {"labresults": "/", "names": "/y"}] == [
        each["paths"] for each in found["datums"]
    ]
    assert {"labresults": "read-only", "out": "the output"} == found["buckets"]
    assert names.name.id == found["environment"]["names_COMMIT"]
    assert ["/autoscaling"] == found["for_scheduler"]
    assert before == files_below(place)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_buckets_of_a_store_in_memory_are_a_configuration_error(worker, place, command):
    """The error names the setting, also when ``run`` would first import a directory."""
    document, folder = place.parent / "job.json", place.parent / "in"
    document.write_text(json.dumps(a_job("true")))
    folder.mkdir()
    more = ["--input", f"labresults={folder}"] if command == "run" else []

    done = worker(command, "--job", document, "--store", "memory://", *more)

    assert (78, True) == (done.status, "store: memory://" in done.err)


def test_plan_prints_sections_of_text(planned, store):
    """Without ``--json``, the same is printed under titles."""
    commit = a_commit(store, {"a": b"1"})

    done = planned(a_job("true"))

    for part in (str(commit.name), "s3://labresults", "Datums: 1", "S3_ENDPOINT=", "copy@master"):
        assert part in done.out
    assert 0 == done.status


def test_a_plan_without_buckets_has_no_section_for_them(planned, store):
    a_commit(store, {"a": b"1"}, repo="files")
    document = a_job("true", inputs=({"pfs": {"repo": "files", "glob": "/*"}},), s3Out=False)

    done = planned(document)

    assert ("Inputs" in done.out, "Buckets" in done.out) == (True, False)


def test_the_port_of_a_plan_is_a_placeholder_in_every_variable(planned, store):
    """A run selects it."""
    a_commit(store, {"a": b"1"})

    found = json.loads(planned(a_job("true"), "--json").out)["environment"]

    addresses = {n: v for n, v in found.items() if "127.0.0.1" in v or "localhost" in v}
    assert {"S3_ENDPOINT", "AWS_S3_ENDPOINT", "DUCKDB_S3_ENDPOINT", "MC_HOST_job"} < set(addresses)
    assert {} == {n: v for n, v in addresses.items() if not v.endswith(":<port>")}


def test_plan_prints_no_secret(planned, store, monkeypatch):
    """Values of secrets and the keys of the gateway are masked."""
    monkeypatch.setenv("PASSWORD", "hunter22")
    a_commit(store, {"a": b"1"})
    document = a_job("true")
    document["transform"]["secrets"] = [SECRET]

    done = planned(document, "--json", "--auth", "sigv4")

    found = json.loads(done.out)["environment"]
    assert ("***", "***") == (found["PASSWORD"], found["AWS_SECRET_ACCESS_KEY"])
    assert "hunter22" not in done.out + done.err


def test_plan_of_a_published_job_reports_its_commit(planned, store):
    """A run of such a job resolves no input and runs no command."""
    output = a_commit(store, {"r": b"1"}, repo="copy", named=an_id())

    done = planned(a_job("true", job={"id": output.name.id}))

    assert f"{output.name}: a run does nothing" in done.out
    assert 0 == done.status


def test_plan_of_a_missing_input_exits_with_66(planned):
    """The message names the input and the branch."""
    done = planned(a_job("true"))

    assert "input 'labresults': labresults@master has no commit" in done.err
    assert (66, "") == (done.status, done.out)
