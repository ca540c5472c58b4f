"""Verification of a store."""

import hashlib
import os
import tracemalloc

import attrs
import msgspec
import pytest
from builders import a_commit, an_entry, an_id

from worker.model import Commit, CommitName, Repo
from worker.store import segments
from worker.store.blobs import Stage
from worker.store.repository import Store
from worker.store.trees import apply
from worker.store.verify import _Verification, verify

FILES = {"a": b"1" * 10, "b/c": b"2" * 20, "empty": b""}


def names(store, prefix="") -> list[str]:
    return [listed.name for listed in store.backend.list_from(prefix)]


def flip(store, name: str) -> None:
    """Change the last byte of an object."""
    data = store.backend.get(name)
    store.backend.put(name, data[:-1] + bytes([data[-1] ^ 1]))


def test_verify_finds_no_defects_in_a_whole_store(store):
    """What commits share is read once."""
    a_commit(store, FILES)
    commit = a_commit(store, {**FILES, "d": b"3"})
    seen = []
    found = verify(store, progress=seen.append)

    assert (2, 2, ()) == (found.commits, found.segments, found.defects)
    assert 30 + 31 == found.size
    assert commit.name in seen


@pytest.mark.parametrize("folder", ["blobs/", "segments/", "trees/"])
def test_verify_finds_a_changed_byte(store, folder):
    """A blob, a segment or a root."""
    a_commit(store, FILES)
    flip(store, names(store, folder)[0])

    assert 1 == len(verify(store).defects)


@pytest.mark.parametrize("folder", ["blobs/", "segments/", "trees/", "repos/default/labresults/c"])
def test_verify_finds_a_missing_object(store, folder):
    """A blob, a segment, a root or a commit."""
    a_commit(store, FILES)
    gone = next(name for name in names(store) if name.startswith(folder))
    store.backend.delete(gone)

    defects = verify(store).defects
    assert defects
    assert gone.rpartition("/")[2] in str(defects)


def test_verify_finds_a_truncated_blob_and_checks_the_rest(local):
    a_commit(local, FILES)
    a_commit(local, {"other": b"4"}, repo="other")
    blob = names(local, "blobs/")[0]
    os.truncate(local.backend.path(blob), 15)
    found = verify(local)

    assert 2 == found.commits
    (defect,) = found.defects
    assert blob == defect.name
    assert [("b/c",)] == [affected.paths for affected in defect.affected]


@pytest.mark.parametrize("folder", ["blobs/", "segments/"])
@pytest.mark.parametrize("harm", ["flip", "delete"])
@pytest.mark.parametrize("size", [10, 70_000], ids=["small", "large"])
def test_a_damaged_object_is_reported_once_with_all_that_it_affects(store, folder, harm, size):
    """Each commit with its files, also of another repo that shares the payload."""
    first = a_commit(store, {"a": b"1" * size, "b": b"2" * size})
    tree = store.tree(first)
    store.add_commit(attrs.evolve(first, name=CommitName(Repo("default", "same"), an_id())))
    linked = apply(store.empty_tree(), [("link", attrs.evolve(tree.entry("a"), key="link"))])
    other = attrs.evolve(
        first,
        name=CommitName(Repo("default", "other"), an_id()),
        root=linked.root,
        digest=linked.digest,
        files=1,
        size=size,
    )
    store.add_commit(other)
    name = f"segments/{tree.rows[0].address.hex()}"
    if folder == "blobs/":
        blob = f"blobs/{tree.entry('a').extents[0].blob}"
        (name,) = [each for each in names(store, "blobs/") if each.startswith(blob)]
    if harm == "flip":
        # The first byte, which is of the file `a`.
        data = store.backend.get(name)
        store.backend.put(name, bytes([data[0] ^ 1]) + data[1:])
    else:
        store.backend.delete(name)

    (defect,) = verify(store).defects
    assert name.startswith(defect.name)
    found = {
        each.commit: (each.paths, each.after, each.last, each.count) for each in defect.affected
    }
    same = next(store.commits(Repo("default", "same")))
    if folder == "segments/":
        assert {str(first.name): ((), None, "b", 2), str(same): ((), None, "b", 2)} == found
        return
    paths = ("a", "b") if harm == "delete" else ("a",)
    assert (paths, None, None, len(paths)) == found[str(first.name)] == found[str(same)]
    assert (("link",), None, None, 1) == found[str(other.name)]


def test_an_unreadable_segment_affects_a_range_of_paths(store):
    """Its own keys are lost; the root has the last key of each segment."""
    keys = [f"{number:05d}" for number in range(5000)]
    commit = a_commit(store, dict.fromkeys(keys, b"1"))
    rows = store.tree(commit).rows
    assert len(rows) > 2
    store.backend.delete(f"segments/{rows[1].address.hex()}")

    (defect,) = verify(store).defects
    (affected,) = defect.affected
    assert (rows[0].last, rows[1].last, rows[1].count) == (
        affected.after,
        affected.last,
        affected.count,
    )


def test_verify_finds_a_commit_that_disagrees_with_its_tree(store):
    """In the number of files, their size or the digest."""
    commit = a_commit(store, FILES)
    wrong = attrs.evolve(
        commit, name=CommitName(commit.name.repo, an_id()), files=9, size=9, digest="00" * 32
    )
    store.add_commit(wrong)

    assert {str(wrong.name)} == {defect.name for defect in verify(store).defects}
    assert 3 == len(verify(store).defects)


def test_verify_finds_an_entry_whose_extents_do_not_add_up_to_its_size(store):
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

    assert 1 == len(verify(store).defects)


def test_verify_needs_the_same_memory_for_many_small_files(store, tmp_path):

    def peak(count: int) -> int:
        stage = Stage(store.backend, f"many-{count}", writer="w", scratch=tmp_path / str(count))
        changes = []
        for number in range(count):
            data = b"%d" % number
            changes.append(
                (f"{number:06d}", an_entry(f"{number:06d}", data, (stage.append(data),)))
            )
        stage.flush()
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
        verification = _Verification(Store(store.backend))
        tracemalloc.start()
        verification.check_commit(commit.name)
        found, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (count, ()) == (verification.result().runs, verification.result().defects)
        return found

    assert peak(20_000) < peak(2_000) + (200 << 10)


def test_verify_reads_large_runs_that_segments_share_once(store):
    """Large is 64 KiB and more."""
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
    found = verify(store)

    assert (2, ()) == (found.commits, found.defects)
    assert (64 << 10) + 3 == found.size


def test_verify_finds_a_link_in_the_place_of_a_commit_and_checks_the_rest(local):
    commit = a_commit(local, FILES)
    a_commit(local, {"d": b"4"})
    a_commit(local, FILES, repo="other")
    path = local.backend.path(f"repos/default/labresults/commits/{commit.name.id}")
    path.unlink()
    path.symlink_to("nothing")
    found = verify(local)

    assert 3 == found.commits
    assert commit.name.id in str(found.defects)


def test_verify_finds_a_damaged_entry_and_a_root_that_disagrees_in_one_segment(store):
    commit = a_commit(store, {"a": b"123", "b": b"4"})
    tree = store.tree(commit)
    wrong = attrs.evolve(tree.entry("a"), size=4)
    forged = apply(store.empty_tree(), [("a", wrong), ("b", tree.entry("b"))])
    row = attrs.evolve(forged.rows[0], last="z")
    data = segments.compress(msgspec.msgpack.encode((2, b"", [attrs.astuple(row)])))
    root = hashlib.sha256(data).hexdigest()
    store.backend.put(f"trees/{root}", data)
    name = CommitName(commit.name.repo, an_id())
    store.add_commit(attrs.evolve(commit, name=name, root=root))
    found = str(verify(store).defects)

    assert f"trees/{root} does not agree" in found
    assert "do not add up" in found
