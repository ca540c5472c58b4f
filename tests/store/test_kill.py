"""A put that is killed at each of its steps."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.model import BranchName, Repo
from worker.store import ingest
from worker.store.blobs import BlobReader
from worker.store.checkin import put_directory
from worker.store.gc import GRACE, gc
from worker.store.opening import open_store
from worker.store.verify import verify

LAB = BranchName(Repo("default", "lab"))
ROOT = Path(__file__).parents[2]


def contents(store) -> dict[str, bytes]:
    reader = BlobReader(store.backend)
    tree = store.tree(store.resolve("lab"))
    return {entry.key: b"".join(reader.pieces(entry.extents)) for entry in tree.entries()}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A changed folder, its contents before and after, and the stores that killed puts left."""
    scene = tmp_path_factory.mktemp("killed")
    folder = scene / "folder"
    folder.mkdir()
    (folder / "same").write_bytes(b"same")
    (folder / "small").write_bytes(b"old")
    store = open_store(scene / "store")
    put_directory(store, LAB, folder)
    before = contents(store)
    (folder / "small").write_bytes(b"new")
    (folder / "large").write_bytes(b"1" * (ingest.SMALL + 1))
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = [sys.executable, str(Path(__file__).with_name("dying.py"))]
    subprocess.run(
        [*command, scene / "store", folder, scene / "results"],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scene)},
    )
    return folder, before, after, sorted((scene / "results").iterdir())


def test_there_is_a_step_for_each_call_that_changes_the_disk(scene):
    *_, results = scene

    assert 25 < len(results) < 100


def test_a_killed_put_leaves_the_old_state_or_the_new_one(scene):
    """All steps after the commit point leave the new one."""
    _, before, after, results = scene
    found = [contents(open_store(result)) for result in results]

    assert all(each in (before, after) for each in found)
    assert sorted(found, key=lambda each: each == after) == found
    assert (before, after) == (found[0], found[-1])


def test_a_killed_put_leaves_no_damage(scene):
    *_, results = scene

    assert [()] * len(results) == [verify(open_store(result)).defects for result in results]


def test_gc_removes_what_a_killed_put_left(scene):
    """After the grace period nothing unreachable remains, and a second gc finds nothing."""
    _, before, after, results = scene
    for result in results:
        store = open_store(result)
        gc(store, now=time.time() + GRACE + 60)
        again = gc(store, now=time.time() + GRACE + 60)

        assert (0, 0, 0) == (again.blobs, again.trees, again.leftovers)
        assert contents(store) in (before, after)
        assert () == verify(store).defects
        assert not [path for path in result.rglob(".*") if path.is_file()]


def test_a_killed_put_can_be_repeated(scene):
    folder, _, after, results = scene
    for result in results:
        store = open_store(result)
        commit = put_directory(store, LAB, folder)

        assert after == contents(store)
        assert commit.name == store.head(LAB).commit
