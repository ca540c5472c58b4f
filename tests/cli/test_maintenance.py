"""``verify`` and ``gc``: integrity of the store, and removal of unreachable objects."""

import json

import pytest
from builders import a_commit

from worker.store.blobs import Stage


@pytest.fixture
def garbage(store, tmp_path):
    """A commit, and a stage that never became one."""
    a_commit(store, {"a": b"1", "b": b"22"})
    stage = Stage(store.backend, "crashed-1", writer="x", scratch=tmp_path)
    stage.append(b"lost")
    stage.flush()


@pytest.mark.usefixtures("garbage")
def test_verify_of_an_intact_store_exits_with_0(worker):
    """Everything is read, and no defect is reported."""
    done = worker("verify")

    assert "1 commit, 3 bytes of files read: no defects\n" == done.out
    assert 0 == done.status


@pytest.mark.usefixtures("garbage")
def test_verify_reports_changed_bytes_and_exits_with_1(worker, place):
    """A byte that changed on disk is a defect."""
    blob = next(path for path in place.rglob("*") if path.is_file() and b"122" == path.read_bytes())
    blob.chmod(0o600)
    blob.write_bytes(b"132")

    done = worker("verify")

    assert "its bytes are not those that were stored\n  affects labresults@" in done.out
    assert done.out.splitlines()[1].endswith(":b")
    assert "1 defect\n" in done.out
    assert 1 == done.status


def test_verify_reports_the_range_of_files_that_a_lost_segment_affects(worker, store):
    """Their own names are lost with it."""
    commit = a_commit(store, {f"{number:05d}": b"1" for number in range(5000)})
    first, second, *_ = store.tree(commit).rows
    store.backend.delete(f"segments/{second.address.hex()}")

    done = worker("verify")

    files = f"{second.count:,} files after {first.last!r} to {second.last!r}"
    assert f"  affects {commit.name}: {files}\n" in done.out
    assert 1 == done.status


@pytest.mark.usefixtures("garbage")
def test_gc_removes_old_unreachable_objects(worker, place):
    """Objects of the commit stay."""
    done = json.loads(worker("gc", "--json", "--older-than", "0").out)

    assert 1 == done["blobs"]
    assert not [
        path for path in place.rglob("*") if path.is_file() and b"lost" == path.read_bytes()
    ]
    assert 0 == worker("verify").status


@pytest.mark.usefixtures("garbage")
def test_gc_keeps_young_objects(worker):
    """No commit reaches the objects of a running job yet."""
    done = worker("gc")

    assert "Removed 0 blobs, 0 trees and 0 leftovers: 0 bytes\n" == done.out


def test_gc_rejects_an_invalid_duration(worker):
    """The message shows the syntax of a duration."""
    done = worker("gc", "--older-than", "soon")

    assert 'expected a duration such as 10, "10s" or "1m30s", found \'soon\'' in done.err
    assert 64 == done.status


@pytest.mark.usefixtures("garbage")
@pytest.mark.parametrize(("age", "warns"), [("0s", True), ("23h", True), ("25h", False)])
def test_gc_of_young_objects_warns_of_running_jobs(worker, age, warns):
    done = worker("gc", "--older-than", age)

    assert 0 == done.status
    assert warns == ("make sure that there are none" in done.err)


@pytest.mark.parametrize("command", ["verify", "gc"])
def test_a_store_that_does_not_exist_is_not_reported_as_sound(worker, tmp_path, command):
    """Its path may be misspelled. Nothing is created."""
    done = worker(command, "--store", tmp_path / "lakee")

    assert (66, "") == (done.status, done.out)
    assert f"{tmp_path / 'lakee'}: there is no store" in done.err
    assert not (tmp_path / "lakee").exists()
