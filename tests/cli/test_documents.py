"""``validate`` and ``schema``: job documents before anything is run."""

import json

import pytest
from builders import a_job


@pytest.fixture
def document(tmp_path):
    """A function that writes a job document and returns its path."""

    def write(value):
        path = tmp_path / "job.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return write


def test_a_right_document_is_said_to_be_right(worker, document):
    """Nothing wrong: one line and status 0."""
    path = document(a_job("true"))

    said = worker("validate", path)

    assert (0, f"{path}: nothing wrong\n") == (said.status, said.out)


def test_what_is_for_the_scheduler_is_listed(worker, document):
    """Keys that only a scheduler can honour are accepted and named."""
    said = worker("validate", document(a_job("true", autoscaling=True)))

    assert "  for the scheduler: /autoscaling\n" in said.out
    assert 0 == said.status


FIVE_MISTAKES = {
    "pipeline": {},
    "input": {"pfs": {"repo": "labresults", "glob": "/*", "s3": True}},
    "transform": {"cmd": []},
    "s3Ot": True,
    "datumTries": 0,
}


def test_five_mistakes_are_told_at_once(worker, document):
    """Each mistake has its pointer, and the exit status is 64."""
    said = worker("validate", document(FIVE_MISTAKES))

    for pointer in ("/pipeline/name", "/input/pfs/glob", "/transform/cmd", "/s3Ot", "/datumTries"):
        assert f"{pointer}: " in said.err
    assert "5 errors" in said.err
    assert (64, "") == (said.status, said.out)


def test_mistakes_in_json_are_values(worker, document):
    """Programs get each mistake as pointer, reason and what is expected."""
    said = worker("validate", "--json", document(FIVE_MISTAKES))

    answer = json.loads(said.out)
    assert answer["valid"] is False
    assert 5 == len(answer["errors"])
    assert {"pointer", "reason", "expected"} == set(answer["errors"][0])
    assert 64 == said.status


def test_a_document_comes_from_standard_input(worker, monkeypatch):
    """With - the document is what standard input holds, and messages say so."""
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1")))

    said = worker("validate", "-")

    assert "standard input: 1 error" in said.err
    assert 64 == said.status


def test_a_document_that_is_not_there_is_named(worker):
    """A file that can't be read is a wrong command line."""
    said = worker("validate", "nothing.json")

    assert "nothing.json: No such file or directory" in said.err
    assert 64 == said.status


def test_the_schema_is_json(worker):
    """The schema is a JSON document on standard output."""
    said = worker("schema")

    assert "$schema" in json.loads(said.out)
    assert 0 == said.status
