"""Publishing, also when a write fails, is interrupted or gets no response."""

import errno

import attrs
import pytest
from builders import a_commit, an_entry, an_id
from store.failing import FailingBackend

from worker.errors import Misconfigured
from worker.model import BranchName, CommitName, InputRecord, Repo
from worker.store.backends.base import (
    AlreadyThere,
    NoPutIfAbsent,
    StoreUnavailable,
    WriteUncertain,
)
from worker.store.blobs import BlobReader, Stage
from worker.store.publish import (
    BranchNotMoved,
    Draft,
    PublicationUncertain,
    finish,
    keep,
    publish,
)
from worker.store.repository import Move, Store
from worker.store.trees import apply
from worker.store.verify import verify

OUT = BranchName(Repo("default", "copy"))
COMMIT = "repos/default/copy/commits/"
SLOT = "repos/default/copy/branches/master/"


@pytest.fixture
def source(store):
    return a_commit(store, {"a": b"1", "b": b"2"})


def draft(source, finished: float = 10.0) -> Draft:
    return Draft(
        name=CommitName(OUT.repo, an_id()),
        branch=OUT,
        inputs=(InputRecord("labresults", source.name, "master", s3=True),),
        started=1.0,
        finished=finished,
    )


@pytest.fixture
def stage(store, tmp_path):
    return Stage(store.backend, f"job-{an_id()}", writer="w", scratch=tmp_path / "scratch")


def written(store, stage, data: bytes = b"output"):
    """Return a tree of one file in *stage*."""
    return apply(store.empty_tree(), [("f", an_entry("f", data, (stage.append(data),)))])


def names(store) -> list[str]:
    return [listed.name for listed in store.backend.list_from("")]


def contents(store, commit) -> dict[str, bytes]:
    reader = BlobReader(store.backend)
    return {e.key: b"".join(reader.pieces(e.extents)) for e in store.tree(commit).entries()}


def test_publish_commits_the_tree_and_moves_the_branch(store, source, stage):
    """Provenance can be followed from the input and from the output."""
    wanted = draft(source)
    found = publish(store, stage, written(store, stage), wanted)

    assert (True, True) == (found.ours, found.on_branch)
    assert wanted.name == store.head(OUT).commit
    assert {"f": b"output"} == contents(store, found.commit)
    assert [wanted.name] == list(store.made_from(source.name))
    stage.drop()
    assert () == verify(store).defects


def test_publish_returns_the_existing_commit_of_an_earlier_run(store, source, stage, tmp_path):
    """The second run leaves no objects."""
    first = draft(source)
    publish(store, stage, written(store, stage), first)
    before = names(store)
    other = Stage(store.backend, "other", writer="w", scratch=tmp_path / "other")
    second = publish(store, other, written(store, other, b"other"), first)
    other.drop()

    assert (False, Move.ALREADY) == (second.ours, second.advance.move)
    assert {"f": b"output"} == contents(store, second.commit)
    assert before == [name for name in names(store) if "/made/" not in name or name in before]


def test_commits_with_the_same_parent_are_all_in_the_log(store, source, stage):
    """The order is that of publication, regardless of clocks."""
    drafts = [draft(source, finished) for finished in (30.0, 10.0, 20.0)]
    for each in drafts:
        publish(store, stage, written(store, stage), each)

    assert [each.name for each in reversed(drafts)] == [h.commit for h in store.heads(OUT)]


def test_finish_appends_a_published_commit_to_its_branch(store, source):
    """The next run of the same job does so."""
    store.add_commit(attrs.evolve(source, name=CommitName(OUT.repo, "a" * 32)))
    found = finish(store, store.commit(CommitName(OUT.repo, "a" * 32)))

    assert Move.MOVED == found.advance.move
    assert "a" * 32 == store.head(OUT).commit.id


def test_keep_publishes_a_commit_on_no_branch(store, source, stage):
    kept = keep(store, stage, written(store, stage), draft(source))

    assert kept == store.commit(kept.name)
    assert store.head(OUT) is None


def failing_at(store, prefix: str, error: Exception, *, carried_out: bool) -> Store:
    """Return *store* with a put_new that raises *error* below *prefix*, carried out or not."""

    def fault(verb, name, request):
        if verb == "put_new" and name.startswith(prefix):
            if carried_out:
                request()
            raise error
        return request()

    return Store(FailingBackend(store.backend, fault))


NO_SPACE = StoreUnavailable("writing", "No space left on device (ENOSPC)", errno=errno.ENOSPC)
NO_RESPONSE = WriteUncertain("writing", "error sending request")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (NO_SPACE, StoreUnavailable),
        (NoPutIfAbsent("memory://", "501 Not Implemented"), Misconfigured),
    ],
    ids=["no space", "no put-if-absent"],
)
def test_an_unpublished_commit_leaves_no_objects(store, source, stage, error, raised):
    """Blobs, segments and root are deleted, so a full disk does not stay full."""
    before = names(store)
    failing = failing_at(store, COMMIT, error, carried_out=False)
    with pytest.raises(raised):
        publish(failing, stage, written(failing, stage), draft(source))
    stage.drop()

    assert before == [name for name in names(store) if "/made/" not in name]


@pytest.mark.parametrize("carried_out", [True, False], ids=["carried out", "lost"])
def test_an_uncertain_commit_keeps_its_blobs(store, source, stage, carried_out):
    """If the write is carried out later, the commit is complete."""
    failing = failing_at(store, COMMIT, NO_RESPONSE, carried_out=carried_out)
    wanted = draft(source)
    tree = written(failing, stage)
    with pytest.raises(PublicationUncertain, match=wanted.name.id):
        publish(failing, stage, tree, wanted)
    stage.drop()

    assert carried_out == store.has(wanted.name)
    if not carried_out:
        store.add_commit(
            attrs.evolve(
                source,
                name=wanted.name,
                root=tree.root,
                digest=tree.digest,
                files=tree.count,
                size=tree.size,
            )
        )
    assert {"f": b"output"} == contents(store, store.commit(wanted.name))
    assert () == verify(store).defects
    # The same job, run again, moves the branch.
    assert finish(store, store.commit(wanted.name)).on_branch


@pytest.mark.parametrize("error", [NO_SPACE, NO_RESPONSE], ids=["no space", "no response"])
@pytest.mark.parametrize("carried_out", [True, False], ids=["carried out", "not carried out"])
def test_branch_not_moved_has_the_published_commit(store, source, stage, error, carried_out):
    """Its blobs are kept, and a later run moves the branch."""
    failing = failing_at(store, SLOT, error, carried_out=carried_out)
    wanted = draft(source)
    with pytest.raises(BranchNotMoved, match="is published, but the branch copy@master") as caught:
        publish(failing, stage, written(failing, stage), wanted)
    stage.drop()

    assert (wanted.name, error.errno) == (caught.value.commit.name, caught.value.errno)
    assert {"f": b"output"} == contents(store, store.commit(wanted.name))
    finish(store, store.commit(wanted.name))
    assert [wanted.name] == [head.commit for head in store.heads(OUT)]


@pytest.mark.parametrize("verb", ["put", "put_new"])
@pytest.mark.parametrize("carried_out", [True, False], ids=["after", "before"])
def test_an_interrupt_at_any_write_leaves_no_damaged_commit(
    store, source, tmp_path, verb, carried_out
):
    """There is a complete commit or none, and a repetition succeeds."""
    interrupted_at = 0
    while True:
        interrupted_at += 1
        count = 0

        def fault(found, _name, request):
            nonlocal count
            count += found == verb
            if found == verb and count == interrupted_at:  # noqa: B023 - called only in this iteration
                if carried_out:
                    request()
                raise KeyboardInterrupt
            return request()

        failing = Store(FailingBackend(store.backend, fault))
        stage = Stage(failing.backend, f"i-{an_id()}", writer="w", scratch=tmp_path / an_id())
        wanted = draft(source)
        try:
            publish(failing, stage, written(failing, stage), wanted)
        except KeyboardInterrupt:
            is_complete = False
        else:
            is_complete = True
        stage.drop()
        if store.has(wanted.name):
            assert {"f": b"output"} == contents(store, store.commit(wanted.name))
        assert () == verify(store).defects
        again = Stage(store.backend, f"i-{an_id()}", writer="w", scratch=tmp_path / an_id())
        found = publish(store, again, written(store, again), wanted)
        again.drop()
        assert found.on_branch
        assert {"f": b"output"} == contents(store, found.commit)
        if is_complete:
            break
    assert interrupted_at > 2
    assert () == verify(store).defects
    heads = [head.commit for head in store.heads(OUT)]
    assert len(heads) == len(set(heads)) == interrupted_at


def test_a_stage_that_a_commit_names_is_kept_when_the_next_commit_fails(store, source, stage):
    publish(store, stage, written(store, stage), draft(source))
    failing = failing_at(store, COMMIT, NO_SPACE, carried_out=False)
    with pytest.raises(StoreUnavailable):
        publish(failing, stage, written(failing, stage), draft(source))
    stage.drop()

    assert () == verify(store).defects


def test_publish_holds_the_guard_from_the_commit_to_the_branch(store, source, stage):
    """No write before or after it is visible to other processes."""
    held = []
    seen = []

    class Guard:
        def __enter__(self):
            held.append(True)

        def __exit__(self, *_):
            held.pop()

    def fault(verb, name, request):
        if verb == "put_new":
            seen.append((name.rpartition("/")[0] + "/", bool(held)))
        return request()

    failing = Store(FailingBackend(store.backend, fault))
    publish(failing, stage, written(failing, stage), draft(source), guard=Guard)

    assert [(COMMIT, True), (SLOT, True)] == seen
    assert [] == held


def test_put_new_raises_already_there_for_the_object_of_another_writer(store):
    store.backend.put_new("slot", b"other")
    with pytest.raises(AlreadyThere):
        store.backend.put_new("slot", b"own")
