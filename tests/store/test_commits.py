"""Commits as JSON."""

import json

import pytest
from builders import an_id

from worker.errors import Unavailable
from worker.model import Commit, CommitName, InputRecord, Repo
from worker.store import commits

NAME = CommitName(Repo("p", "out"), an_id())
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


def test_gives_back_the_commit():
    """A commit survives being written and read."""
    assert COMMIT == commits.decode(commits.encode(COMMIT), NAME)


def test_is_json_for_people():
    """A commit is indented JSON, and says its format and who it is."""
    data = commits.encode(COMMIT)

    assert b'\n  "format": 1,\n' in data
    assert ("p", "out", NAME.id) == tuple(
        json.loads(data)[key] for key in ("project", "repo", "id")
    )


def test_passes_over_what_it_does_not_know():
    """A newer worker may say more; an older one reads what it knows."""
    said = json.loads(commits.encode(COMMIT))
    said["mood"] = "good"
    said["tree"]["height"] = 3
    said["inputs"][0]["colour"] = "blue"

    assert COMMIT == commits.decode(json.dumps(said).encode(), NAME)


def test_does_without_what_may_be_left_out():
    """Message, inputs and job may be missing."""
    said = json.loads(commits.encode(COMMIT))
    for key in ("message", "inputs", "job"):
        del said[key]

    assert ("", (), {}) == (
        (found := commits.decode(json.dumps(said).encode(), NAME)).message,
        found.inputs,
        found.job,
    )


def test_refuses_a_newer_format():
    """A format from the future is refused by its number, whatever else is there."""
    with pytest.raises(Unavailable, match="format 99"):
        commits.decode(b'{"format": 99, "tree": "elsewhere"}', NAME)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"format": 1}', commits.encode(COMMIT)[:-20]],
    ids=["nothing", "a brace", "a list", "an empty one", "only a format", "a torn one"],
)
def test_knows_what_is_no_commit(data):
    """What is not a commit is called damaged, with its name."""
    with pytest.raises(Unavailable, match=NAME.id):
        commits.decode(data, NAME)


def test_knows_the_commit_of_another_name():
    """A commit that lies under a wrong name is called damaged."""
    with pytest.raises(Unavailable, match="found the commit"):
        commits.decode(commits.encode(COMMIT), CommitName(Repo("p", "out"), an_id()))
