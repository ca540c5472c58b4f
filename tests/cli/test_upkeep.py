"""``verify`` and ``gc``: whether the store is whole, and what of it nobody needs."""

import json

import pytest
from builders import a_commit

from worker.store.blobs import Stage


@pytest.fixture
def litter(store, tmp_path):
    """A commit, and a stage that never became one."""
    a_commit(store, {"a": b"1", "b": b"22"})
    stage = Stage(store.backend, "crashed-1", writer="x", scratch=tmp_path)
    stage.append(b"lost")
    stage.settle()


@pytest.mark.usefixtures("litter")
def test_verify_of_a_whole_store_finds_nothing(worker):
    """Everything is read, and nothing is wrong."""
    said = worker("verify")

    assert "1 commit, 3 bytes of files read: no defects\n" == said.out
    assert 0 == said.status


@pytest.mark.usefixtures("litter")
def test_verify_names_damage(worker, place):
    """A byte that changed on disk is found and named; the status is 1."""
    blob = next(path for path in place.rglob("*") if path.is_file() and b"122" == path.read_bytes())
    blob.chmod(0o600)
    blob.write_bytes(b"132")

    said = worker("verify")

    assert "does not match its digest" in said.out
    assert "1 defect\n" in said.out
    assert 1 == said.status


@pytest.mark.usefixtures("litter")
def test_gc_removes_what_no_commit_reaches(worker, place):
    """What is older than the grace and in no commit goes; the commit stays."""
    said = json.loads(worker("gc", "--json", "--older-than", "0").out)

    assert 1 == said["blobs"]
    assert not [
        path for path in place.rglob("*") if path.is_file() and b"lost" == path.read_bytes()
    ]
    assert 0 == worker("verify").status


@pytest.mark.usefixtures("litter")
def test_gc_leaves_what_is_young(worker):
    """A running job's bytes are in no commit yet."""
    said = worker("gc")

    assert "Removed 0 blobs, 0 trees, 0 leftovers: 0 bytes\n" == said.out


def test_a_wrong_duration_is_a_wrong_command_line(worker):
    """What is no duration is refused with what one looks like."""
    said = worker("gc", "--older-than", "soon")

    assert 'expected a duration such as 10, "10s" or "1m30s", found \'soon\'' in said.err
    assert 64 == said.status
