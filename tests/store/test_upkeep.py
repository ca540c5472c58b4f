"""Verify and gc."""

import os
import time
import tracemalloc

import attrs
import pytest
from builders import a_commit, an_entry, an_id

from worker.errors import Unavailable
from worker.model import BranchName, Commit, CommitName, InputRecord, Repo
from worker.store.backends.local import TEMPORARY
from worker.store.blobs import BlobReader, Stage
from worker.store.gc import GRACE_PERIOD, collect_garbage
from worker.store.repository import Store
from worker.store.trees import apply
from worker.store.verify import _Verifier, verify_store

FILES = {"a": b"1" * 10, "b/c": b"2" * 20, "empty": b""}
LATER = GRACE_PERIOD + 60


def names(store, prefix="") -> list[str]:
    return [listed.name for listed in store.backend.list_from(prefix)]


def spoil(store, name: str) -> None:
    """Change the last byte of an object."""
    data = store.backend.get(name)
    store.backend.put(name, data[:-1] + bytes([data[-1] ^ 1]))


def test_finds_nothing_wrong(store):
    """A whole store is read through, what commits share once."""
    a_commit(store, FILES)
    commit = a_commit(store, {**FILES, "d": b"3"})
    seen = []
    found = verify_store(store, progress=seen.append)

    assert (2, 2, ()) == (found.commits, found.segments, found.defects)
    assert 30 + 31 == found.size
    assert commit.name in seen


@pytest.mark.parametrize("folder", ["blobs/", "segments/", "trees/"])
def test_finds_what_was_changed(store, folder):
    """A changed byte in a blob, a segment or a root is found."""
    a_commit(store, FILES)
    spoil(store, names(store, folder)[0])

    assert 1 == len(verify_store(store).defects)


@pytest.mark.parametrize("folder", ["blobs/", "segments/", "trees/", "repos/default/labresults/c"])
def test_finds_what_is_gone(store, folder):
    """A blob, segment, root or commit that is missing is found."""
    a_commit(store, FILES)
    gone = next(name for name in names(store) if name.startswith(folder))
    store.backend.delete(gone)

    defects = verify_store(store).defects
    assert defects
    assert gone.rpartition("/")[2] in str(defects)


def test_finds_a_blob_that_was_cut(local):
    """A blob that ends too soon is found, and the rest is still checked."""
    a_commit(local, FILES)
    a_commit(local, {"other": b"4"}, repo="other")
    blob = names(local, "blobs/")[0]
    os.truncate(local.backend.path(blob), 15)
    found = verify_store(local)

    assert 2 == found.commits
    assert ["b/c" in defect.found for defect in found.defects] == [True]


def test_finds_a_commit_that_says_too_much(store):
    """A commit whose figures are not those of its tree is found."""
    commit = a_commit(store, FILES)
    lying = attrs.evolve(
        commit, name=CommitName(commit.name.repo, an_id()), files=9, size=9, digest="00" * 32
    )
    store.add_commit(lying)

    assert {str(lying.name)} == {defect.name for defect in verify_store(store).defects}
    assert 3 == len(verify_store(store).defects)


def test_finds_an_entry_whose_bytes_do_not_add_up(store):
    """An entry with another size than its extents have is found."""
    commit = a_commit(store, {"a": b"123"})
    entry = store.tree(commit).entry("a")
    tree = apply(store.empty_tree(), [("a", attrs.evolve(entry, size=4))])
    store.add_commit(
        attrs.evolve(
            commit,
            name=CommitName(commit.name.repo, an_id()),
            root=tree.root,
            digest=tree.digest,
            size=4,
        )
    )

    assert 1 == len(verify_store(store).defects)


def test_removes_what_no_commit_reaches(store, tmp_path):
    """Stages that never committed, and trees of no commit, go when they are old enough."""
    a_commit(store, FILES)
    before = names(store)
    stage = Stage(store.backend, "abandoned", writer="w", scratch=tmp_path)
    extent = stage.append(b"garbage")
    stage.settle()
    entry = attrs.evolve(store.tree(store.resolve("labresults")).entry("a"), extents=(extent,))
    apply(store.empty_tree(), [("garbage", attrs.evolve(entry, size=7))])
    now = time.time()
    early = collect_garbage(store, now=now + GRACE_PERIOD - 60)
    late = collect_garbage(store, now=now + LATER)

    assert (0, 0) == (early.blobs, early.trees)
    assert (1, 2) == (late.blobs, late.trees)
    assert before == names(store)
    assert () == verify_store(store).defects


def test_keeps_what_is_shared(store):
    """A blob of one repo that a commit of another shares stays."""
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
    store.backend.delete(f"repos/default/labresults/commits/{lab.name.id}")
    collect_garbage(store, now=time.time() + LATER)

    assert b"2" * 20 == b"".join(BlobReader(store.backend).pieces(shared.extents))


def test_removes_unused_blobs_of_a_stage_that_committed(local, tmp_path):
    """A blob of a committed stage that the commit does not use goes, too."""
    commit = a_commit(local, FILES)
    used = names(local, "blobs/")
    stage_id = local.tree(commit).entry("a").extents[0].blob.partition("/")[0]
    stage = Stage(local.backend, stage_id, writer="other", scratch=tmp_path)
    stage.append(b"overwritten before the commit")
    stage.settle()
    collect_garbage(local, now=time.time() + LATER)

    assert used == names(local, "blobs/")


def test_a_stage_is_as_old_as_its_newest_blob(local, tmp_path):
    """A job that runs for long keeps what it wrote at first, as long as it goes on writing."""
    stage = Stage(local.backend, "running", writer="w", scratch=tmp_path)
    first, second = stage.open(), stage.open()
    for each in (first, second):
        each.write(b"1")
        each.seal(b"\0" * 32)
    long_ago = time.time() - 30 * 24 * 3600
    os.utime(local.backend.path(f"blobs/{first.blob}"), (long_ago, long_ago))

    assert 0 == collect_garbage(local).blobs
    assert 2 == collect_garbage(local, now=time.time() + LATER).blobs


def test_removes_nothing_when_a_commit_can_not_be_read(store, tmp_path):
    """What a damaged commit stands on is not known, so everything stays."""
    commit = a_commit(store, FILES)
    stage = Stage(store.backend, "abandoned", writer="w", scratch=tmp_path)
    stage.append(b"garbage")
    stage.settle()
    store.backend.put(f"repos/default/labresults/commits/{commit.name.id}", b"{")
    before = names(store)

    with pytest.raises(Unavailable):
        collect_garbage(store, now=time.time() + LATER)
    assert before == names(store)


def test_removes_what_interrupted_writes_left(local):
    """Temporary files and markers of commits that never came go, those of others stay."""
    lab = a_commit(local, FILES)
    record = InputRecord("labresults", lab.name, "master", s3=True)
    never = a_commit(local, {"x": b"1"}, repo="out", inputs=(record,))
    there = a_commit(local, {"x": b"1"}, repo="out", inputs=(record,))
    local.backend.delete(f"repos/default/out/commits/{never.name.id}")
    left = local.backend.root / "segments" / f"{TEMPORARY}1"
    left.write_bytes(b"half")
    found = collect_garbage(local, now=time.time() + LATER)

    assert 2 == found.leftovers
    assert [there.name] == [marker.output for marker in local.markers(lab.name.repo)]
    assert not left.exists()
    assert BranchName(lab.name.repo) in list(local.branches(lab.name.repo))


def test_verify_takes_the_same_memory_for_many_small_files(store, tmp_path):
    """Of ten times as many files it remembers no more."""

    def peak(count: int) -> int:
        stage = Stage(store.backend, f"many-{count}", writer="w", scratch=tmp_path / str(count))
        changes = []
        for number in range(count):
            data = b"%d" % number
            changes.append(
                (f"{number:06d}", an_entry(f"{number:06d}", data, (stage.append(data),)))
            )
        stage.settle()
        tree = apply(store.empty_tree(), changes)
        commit = Commit(
            CommitName(Repo("default", f"many{count}"), an_id()),
            "master",
            None,
            0.0,
            0.0,
            tree.root,
            tree.digest,
            tree.count,
            tree.size,
        )
        store.add_commit(commit)
        check = _Verifier(Store(store.backend))
        tracemalloc.start()
        check.verify_commit(commit.name)
        found, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (count, ()) == (check.result().runs, check.result().defects)
        return found

    assert peak(20_000) < peak(2_000) + (200 << 10)


def test_large_runs_that_commits_share_are_read_once(store):
    """A file of 64 KiB and more that two commits hold is read once."""
    commit = a_commit(store, {"large": b"1" * (64 << 10), "small": b"2"})
    tree = apply(
        store.tree(commit),
        [("other", attrs.evolve(store.tree(commit).entry("small"), key="other"))],
    )
    store.add_commit(
        attrs.evolve(
            commit,
            name=CommitName(commit.name.repo, an_id()),
            root=tree.root,
            digest=tree.digest,
            files=tree.count,
            size=tree.size,
        )
    )
    found = verify_store(store)

    assert (2, ()) == (found.commits, found.defects)
    assert (64 << 10) + 3 == found.size
