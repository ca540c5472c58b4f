"""The format of commits."""

import json

import pytest
from builders import an_id

from worker.errors import Unavailable
from worker.model import Commit, CommitName, InputRecord, Repo
from worker.store import commits

NAME = CommitName(Repo("p", "out"), an_id())
STORED = f"repos/p/out/commits/{NAME.id}"
COMMIT = Commit(
    name=NAME,
    branch="master",
    parent=an_id(),
    started=1700000000.25,
    finished=1700000001.5,
    root="ab" * 32,
    digest="cd" * 32,
    files=3,
    size=12345,
    message="ünï",
    inputs=(InputRecord("lab", CommitName(Repo("p", "lab"), an_id()), "dev", s3=True),),
    job={"id": NAME.id, "command": ["sh", "-c", "true"], "nested": {"a": [1, 2.5, None]}},
)


def test_decode_returns_the_encoded_commit():
    assert COMMIT == commits.decode(commits.encode(COMMIT), NAME, STORED)


def test_a_commit_is_indented_json_with_its_format_and_name():
    data = commits.encode(COMMIT)

    assert b'\n  "format": 1,\n' in data
    assert ("p", "out", NAME.id) == tuple(
        json.loads(data)[key] for key in ("project", "repo", "id")
    )


def test_unknown_fields_are_ignored():
    """A newer worker can add fields."""
    fields = json.loads(commits.encode(COMMIT))
    fields["priority"] = "high"
    fields["tree"]["height"] = 3
    fields["inputs"][0]["color"] = "blue"

    assert COMMIT == commits.decode(json.dumps(fields).encode(), NAME, STORED)


def test_message_inputs_and_job_are_optional():
    fields = json.loads(commits.encode(COMMIT))
    for key in ("message", "inputs", "job"):
        del fields[key]

    assert ("", (), {}) == (
        (found := commits.decode(json.dumps(fields).encode(), NAME, STORED)).message,
        found.inputs,
        found.job,
    )


def test_a_newer_format_is_rejected_whatever_its_other_fields_are():
    with pytest.raises(Unavailable, match="format 99"):
        commits.decode(b'{"format": 99, "tree": "elsewhere"}', NAME, STORED)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"format": 1}', commits.encode(COMMIT)[:-20]],
    ids=["empty", "brace", "list", "empty object", "only a format", "truncated"],
)
def test_other_data_is_damaged(data):
    with pytest.raises(Unavailable, match=NAME.id):
        commits.decode(data, NAME, STORED)


def test_a_commit_under_the_wrong_name_is_damaged():
    with pytest.raises(Unavailable, match="found the commit"):
        commits.decode(commits.encode(COMMIT), CommitName(Repo("p", "out"), an_id()), STORED)
