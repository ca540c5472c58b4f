"""Garbage collection."""

import os
import time

import attrs
import pytest
from builders import a_commit, an_id

from worker.errors import Unavailable
from worker.model import BranchName, CommitName, InputRecord, Repo
from worker.store.backends.base import Listed
from worker.store.backends.local import TEMPORARY, LocalBackend
from worker.store.blobs import BlobReader, Stage
from worker.store.gc import DAY, GRACE, gc
from worker.store.repository import Store
from worker.store.trees import apply
from worker.store.verify import verify

FILES = {"a": b"1" * 10, "b/c": b"2" * 20, "empty": b""}
LATER = GRACE + 60


def names(store, prefix="") -> list[str]:
    return [listed.name for listed in store.backend.list_from(prefix)]


def test_gc_removes_old_objects_that_no_commit_reaches(store, tmp_path):
    """Stages that were never committed, and trees of no commit."""
    a_commit(store, FILES)
    before = names(store)
    stage = Stage(store.backend, "abandoned", writer="w", scratch=tmp_path)
    extent = stage.append(b"garbage")
    stage.flush()
    entry = attrs.evolve(store.tree(store.resolve("labresults")).entry("a"), extents=(extent,))
    apply(store.empty_tree(), [("garbage", attrs.evolve(entry, size=7))])
    now = time.time()
    early = gc(store, now=now + GRACE - 60)
    late = gc(store, now=now + LATER)

    assert (0, 0) == (early.blobs, early.trees)
    assert (1, 2) == (late.blobs, late.trees)
    assert before == names(store)
    assert () == verify(store).defects


def test_gc_keeps_a_blob_that_a_commit_of_another_repo_shares(store):
    lab = a_commit(store, FILES)
    shared = store.tree(lab).entry("b/c")
    tree = apply(store.empty_tree(), [("copy", attrs.evolve(shared, key="copy"))])
    copy = attrs.evolve(
        lab,
        name=CommitName(Repo("other", "copies"), an_id()),
        root=tree.root,
        digest=tree.digest,
        files=1,
        size=20,
    )
    store.add_commit(copy)
    for each in names(store, "repos/default/labresults/"):
        store.backend.delete(each)
    gc(store, now=time.time() + LATER)

    assert b"2" * 20 == b"".join(BlobReader(store.backend).pieces(shared.extents))


def test_gc_removes_blobs_of_a_committed_stage_that_the_commit_does_not_use(local, tmp_path):
    commit = a_commit(local, FILES)
    used = names(local, "blobs/")
    stage_id = local.tree(commit).entry("a").extents[0].blob.partition("/")[0]
    stage = Stage(local.backend, stage_id, writer="other", scratch=tmp_path)
    stage.append(b"overwritten before the commit")
    stage.flush()
    gc(local, now=time.time() + LATER)

    assert used == names(local, "blobs/")


def test_gc_takes_a_stage_to_be_as_old_as_its_newest_blob(local, tmp_path):
    """So a long job keeps its first blobs as long as it continues to write."""
    stage = Stage(local.backend, "running", writer="w", scratch=tmp_path)
    first, second = stage.open(), stage.open()
    for each in (first, second):
        each.write(b"1")
        each.seal(b"\0" * 32)
    long_ago = time.time() - 30 * DAY
    os.utime(local.backend.path(f"blobs/{first.blob}"), (long_ago, long_ago))

    assert 0 == gc(local).blobs
    assert 2 == gc(local, now=time.time() + LATER).blobs


def test_gc_removes_nothing_if_a_commit_cannot_be_read(store, tmp_path):
    """Then it is unknown what that commit reaches."""
    commit = a_commit(store, FILES)
    stage = Stage(store.backend, "abandoned", writer="w", scratch=tmp_path)
    stage.append(b"garbage")
    stage.flush()
    store.backend.put(f"repos/default/labresults/commits/{commit.name.id}", b"{")
    before = names(store)

    with pytest.raises(Unavailable):
        gc(store, now=time.time() + LATER)
    assert before == names(store)


def test_gc_removes_what_interrupted_writes_left(local):
    """Temporary files, and markers of commits that were never published."""
    lab = a_commit(local, FILES)
    record = InputRecord("labresults", lab.name, "master", s3=True)
    unpublished = a_commit(local, {"x": b"1"}, repo="gone", inputs=(record,))
    published = a_commit(local, {"x": b"1"}, repo="out", inputs=(record,))
    for each in names(local, "repos/default/gone/"):
        local.backend.delete(each)
    assert unpublished.name in [marker.output for marker in local.markers(lab.name.repo)]
    leftover = local.backend.root / "segments" / f"{TEMPORARY}1"
    leftover.write_bytes(b"half")
    found = gc(local, now=time.time() + LATER)

    assert 2 == found.leftovers
    assert [published.name] == [marker.output for marker in local.markers(lab.name.repo)]
    assert not leftover.exists()
    assert BranchName(lab.name.repo) in list(local.branches(lab.name.repo))


def test_gc_keeps_a_link_in_the_place_of_a_stage(local, tmp_path):
    """Another program may have moved its blobs, which are in use."""
    a_commit(local, FILES)
    (blob,) = names(local, "blobs/")
    stage = local.backend.path(blob).parent
    stage.rename(tmp_path / "moved")
    stage.symlink_to(tmp_path / "moved")
    gc(local, now=time.time() + LATER)

    assert stage.is_symlink()


class Forgetful(LocalBackend):
    """A backend whose listings lack some names, or have names of other folders."""

    lacks = "nothing"
    foreign: tuple[str, ...] = ()

    def list_from(self, prefix, after=""):
        for listed in super().list_from(prefix, after):
            if not listed.name.startswith(self.lacks):
                yield listed
        for name in self.foreign if prefix in ("blobs/", "segments/", "trees/") else ():
            yield Listed(name, 1, 0.0)


@pytest.mark.parametrize("lacks", ["repos/default/labresults/commits/", "the first commit"])
def test_gc_removes_nothing_if_a_commit_exists_that_is_not_listed(local, lacks):
    """A proxy can answer a listing with a document that the client takes for an empty one."""
    first = a_commit(local, FILES)
    a_commit(local, {"d": b"4"})
    before = names(local)
    backend = Forgetful(local.backend.root)
    backend.lacks = lacks.replace(
        "the first commit", f"repos/default/labresults/commits/{first.name.id}"
    )

    with pytest.raises(Unavailable, match="exists and is not listed"):
        gc(Store(backend), now=time.time() + LATER)
    assert before == names(local)


def test_gc_removes_only_what_a_store_writes(local):
    a_commit(local, FILES)
    backend = Forgetful(local.backend.root)
    for name in ("zzz/other", "repos/x", "blobs/stage", "trees/x", "segments/" + "A" * 64):
        backend.put(name, b"1")
    before = names(local)
    backend.foreign = tuple(name for name in before if not name.startswith(("blobs/", "trees/")))
    gc(Store(backend), now=time.time() + LATER)

    assert before == names(local)
