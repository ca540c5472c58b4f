"""``plan``: what a run would do, with every input looked up and nothing done."""

import json

import pytest
from builders import a_commit, a_job, an_id, an_input

SECRET = {"name": "db", "key": "password", "envVar": "PASSWORD"}


@pytest.fixture
def planned(worker, place):
    """A function that plans a document and returns what was answered."""

    def plan(document, *flags):
        path = place.parent / "job.json"
        path.write_text(json.dumps(document))
        return worker("plan", "--job", path, *flags)

    return plan


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_plan_tells_commits_datums_buckets_and_environment(planned, store, place):
    """Everything a run would decide is there, and nothing was done."""
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


def test_a_plan_for_people_reads_from_top_to_bottom(planned, store):
    """Without --json the same stands under titles."""
    commit = a_commit(store, {"a": b"1"})

    said = planned(a_job("true"))

    for part in (str(commit.name), "s3://labresults", "Datums: 1", "S3_ENDPOINT=", "copy@master"):
        assert part in said.out
    assert 0 == said.status


def test_a_plan_shows_no_secret(planned, store, monkeypatch):
    """A secret is a name here; neither its value nor a key of the gateway is shown."""
    monkeypatch.setenv("PASSWORD", "hunter22")
    a_commit(store, {"a": b"1"})
    document = a_job("true")
    document["transform"]["secrets"] = [SECRET]

    said = planned(document, "--json", "--auth", "sigv4")

    found = json.loads(said.out)["environment"]
    assert ("***", "***") == (found["PASSWORD"], found["AWS_SECRET_ACCESS_KEY"])
    assert "hunter22" not in said.out + said.err


def test_a_plan_of_what_is_published_says_that_nothing_would_run(planned, store):
    """A job whose output is there needs no input any more."""
    output = a_commit(store, {"r": b"1"}, repo="copy", named=an_id())

    said = planned(a_job("true", job={"id": output.name.id}))

    assert f"{output.name}, so a run would do nothing" in said.out
    assert 0 == said.status


def test_a_plan_names_an_input_that_is_not_there(planned):
    """What a run would find unrunnable is said before."""
    said = planned(a_job("true"))

    assert "input 'labresults': labresults@master has no commit" in said.err
    assert (66, "") == (said.status, said.out)
