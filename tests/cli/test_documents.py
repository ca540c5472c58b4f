"""``validate`` and ``schema``: check a job document, and print its JSON Schema."""

import json

import pytest
from builders import a_commit, a_job


@pytest.fixture
def document(tmp_path):
    """A function that writes a job document and returns its path."""

    def write(value):
        path = tmp_path / "job.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return write


def test_validate_accepts_a_valid_document(worker, document):
    """One line is printed, and the exit status is 0."""
    path = document(a_job("true"))

    done = worker("validate", path)

    assert (0, f"{path}: no errors\n") == (done.status, done.out)


def test_validate_lists_keys_for_the_scheduler(worker, document):
    """They are accepted and not used."""
    done = worker("validate", document(a_job("true", autoscaling=True)))

    assert "  for the scheduler: /autoscaling\n" in done.out
    assert 0 == done.status


FIVE_ERRORS = {
    "pipeline": {},
    "input": {"pfs": {"repo": "labresults", "glob": "/*", "s3": True}},
    "transform": {"cmd": []},
    "s3Ot": True,
    "datumTries": -1,
}


def test_validate_reports_all_errors_at_once(worker, document):
    """Each has a JSON pointer, and the exit status is 64."""
    done = worker("validate", document(FIVE_ERRORS))

    for pointer in ("/pipeline/name", "/input/pfs/glob", "/transform/cmd", "/s3Ot", "/datumTries"):
        assert f"{pointer}: " in done.err
    assert "5 errors" in done.err
    assert (64, "") == (done.status, done.out)


def test_validate_json_has_pointer_reason_and_expectation(worker, document):
    """A program gets each error as an object."""
    done = worker("validate", "--json", document(FIVE_ERRORS))

    answer = json.loads(done.out)
    assert answer["valid"] is False
    assert 5 == len(answer["errors"])
    assert {"pointer", "reason", "expected"} == set(answer["errors"][0])
    assert 64 == done.status


def test_validate_reads_standard_input(worker, monkeypatch):
    """Messages name standard input as the source."""
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1")))

    done = worker("validate", "-")

    assert "standard input: 1 error" in done.err
    assert 64 == done.status


def test_validate_of_a_missing_file_exits_with_64(worker):
    """The message names the file."""
    done = worker("validate", "nothing.json")

    assert "nothing.json: No such file or directory" in done.err
    assert 64 == done.status


def test_schema_prints_a_json_schema(worker):
    """It is a JSON document on standard output."""
    done = worker("schema")

    assert "$schema" in json.loads(done.out)
    assert 0 == done.status


@pytest.mark.parametrize("comment", ["// why\n", "/* why */"], ids=["line", "block"])
@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{{"pipeline": {{"name": "p"}},\n  {}"s3Out": true}}', 2, 3),
        ('{{"pipeline": {{"name": "p"}}, {} "s3Out": true}}', 1, 29),
        ('{{"pipeline": {{"name": "p" {} }}, "s3Out": true}}', 1, 27),
        ('\n {}{{"pipeline": {{"name": "p"}}}}', 2, 2),
    ],
    ids=["before a key", "in a line", "after a value", "at the start"],
)
def test_a_comment_in_json_is_named(worker, document, comment, text, line, column):
    """Also where the text would be YAML, in which the comment is a part of a key or value."""
    done = worker("validate", document(text.format(comment)))

    assert 64 == done.status
    assert f"line {line}, column {column}: JSON has no comments; remove it, or" in done.err


def test_plan_takes_the_document_as_an_argument_or_a_flag(worker, document, store):
    a_commit(store, {"a": b"1"})
    path = document(
        json.dumps(
            {
                "pipeline": {"name": "p"},
                "transform": {"cmd": ["true"]},
                "input": {"pfs": {"repo": "labresults", "s3": True}},
            }
        )
    )

    assert worker("plan", path, "--json").out == worker("plan", "--job", path, "--json").out != ""
    both, none = worker("plan", path, "--job", path), worker("plan")
    assert (64, 64) == (both.status, none.status)
    assert "both were given" in both.err
    assert "neither was given" in none.err
