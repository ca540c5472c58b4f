"""Publishing: what stays and what goes when a write fails, is interrupted or gets no answer."""

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
def given(store):
    return a_commit(store, {"a": b"1", "b": b"2"})


def draft(given, finished: float = 10.0) -> Draft:
    return Draft(
        name=CommitName(OUT.repo, an_id()),
        branch=OUT,
        inputs=(InputRecord("labresults", given.name, "master", s3=True),),
        started=1.0,
        finished=finished,
    )


@pytest.fixture
def stage(store, tmp_path):
    return Stage(store.backend, f"job-{an_id()}", writer="w", scratch=tmp_path / "scratch")


def written(store, stage, data: bytes = b"output"):
    """Return the tree of one file that *stage* holds."""
    return apply(store.empty_tree(), [("f", an_entry("f", data, (stage.append(data),)))])


def names(store) -> list[str]:
    return [listed.name for listed in store.backend.list_from("")]


def contents(store, commit) -> dict[str, bytes]:
    reader = BlobReader(store.backend)
    return {e.key: b"".join(reader.pieces(e.extents)) for e in store.tree(commit).entries()}


def test_the_entries_become_a_commit_on_its_branch(store, given, stage):
    """With provenance, which can be asked from both ends."""
    wanted = draft(given)
    found = publish(store, stage, written(store, stage), wanted)

    assert (True, True) == (found.ours, found.on_branch)
    assert wanted.name == store.head(OUT).commit
    assert {"f": b"output"} == contents(store, found.commit)
    assert [wanted.name] == list(store.made_from(given.name))
    stage.drop()
    assert () == verify(store).defects


def test_of_two_runs_the_first_is_there(store, given, stage, tmp_path):
    """The second gets the commit of the first, and leaves nothing of its own."""
    first = draft(given)
    publish(store, stage, written(store, stage), first)
    before = names(store)
    other = Stage(store.backend, "other", writer="w", scratch=tmp_path / "other")
    second = publish(store, other, written(store, other, b"other"), first)
    other.drop()

    assert (False, Move.ALREADY) == (second.ours, second.advance.move)
    assert {"f": b"output"} == contents(store, second.commit)
    assert before == [name for name in names(store) if "/made/" not in name or name in before]


def test_jobs_that_end_together_are_all_on_the_branch(store, given, stage):
    """Whichever clock says what: the order of the log is that of the publications."""
    drafts = [draft(given, finished) for finished in (30.0, 10.0, 20.0)]
    for each in drafts:
        publish(store, stage, written(store, stage), each)

    assert [each.name for each in reversed(drafts)] == [h.commit for h in store.heads(OUT)]


def test_a_branch_that_was_not_moved_is_finished_later(store, given):
    """A commit without its slot is appended by the next run of the same job."""
    store.add_commit(attrs.evolve(given, name=CommitName(OUT.repo, "a" * 32)))
    found = finish(store, store.commit(CommitName(OUT.repo, "a" * 32)))

    assert Move.MOVED == found.advance.move
    assert "a" * 32 == store.head(OUT).commit.id


def test_what_is_kept_is_on_no_branch(store, given, stage):
    """It can be looked at, and nothing follows from it."""
    kept = keep(store, stage, written(store, stage), draft(given))

    assert kept == store.commit(kept.name)
    assert store.head(OUT) is None


def failing_at(store, prefix: str, error: Exception, *, carried_out: bool) -> Store:
    """Return *store* with put_new below *prefix* raising *error*, carried out or not."""

    def fault(verb, name, request):
        if verb == "put_new" and name.startswith(prefix):
            if carried_out:
                request()
            raise error
        return request()

    return Store(FailingBackend(store.backend, fault))


NO_SPACE = StoreUnavailable("writing", "No space left on device (ENOSPC)", errno=errno.ENOSPC)
UNANSWERED = WriteUncertain("writing", "error sending request")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (NO_SPACE, StoreUnavailable),
        (NoPutIfAbsent("memory://", "501 Not Implemented"), Misconfigured),
    ],
    ids=["no space", "no put-if-absent"],
)
def test_a_commit_that_is_certainly_not_there_leaves_nothing(store, given, stage, error, raised):
    """Blobs, segments and root are deleted: a full disk does not stay full."""
    before = names(store)
    failing = failing_at(store, COMMIT, error, carried_out=False)
    with pytest.raises(raised):
        publish(failing, stage, written(failing, stage), draft(given))
    stage.drop()

    assert before == [name for name in names(store) if "/made/" not in name]


@pytest.mark.parametrize("carried_out", [True, False], ids=["carried out", "lost"])
def test_a_commit_that_may_be_there_keeps_its_blobs(store, given, stage, carried_out):
    """It is called uncertain; if the write lands later, the commit is whole."""
    failing = failing_at(store, COMMIT, UNANSWERED, carried_out=carried_out)
    wanted = draft(given)
    tree = written(failing, stage)
    with pytest.raises(PublicationUncertain, match=wanted.name.id):
        publish(failing, stage, tree, wanted)
    stage.drop()

    assert carried_out == store.has(wanted.name)
    if not carried_out:
        store.add_commit(
            attrs.evolve(
                given,
                name=wanted.name,
                root=tree.root,
                digest=tree.digest,
                files=tree.count,
                size=tree.size,
            )
        )
    assert {"f": b"output"} == contents(store, store.commit(wanted.name))
    assert () == verify(store).defects
    # The same job again comes to its end.
    assert finish(store, store.commit(wanted.name)).on_branch


@pytest.mark.parametrize("error", [NO_SPACE, UNANSWERED], ids=["no space", "no answer"])
@pytest.mark.parametrize("carried_out", [True, False], ids=["carried out", "not carried out"])
def test_a_branch_that_could_not_be_moved_is_told(store, given, stage, error, carried_out):
    """The error says that the commit is there; its blobs stay, and a later run moves the branch."""
    failing = failing_at(store, SLOT, error, carried_out=carried_out)
    wanted = draft(given)
    with pytest.raises(BranchNotMoved, match="is published, but the branch copy@master") as caught:
        publish(failing, stage, written(failing, stage), wanted)
    stage.drop()

    assert (wanted.name, error.errno) == (caught.value.commit.name, caught.value.errno)
    assert {"f": b"output"} == contents(store, store.commit(wanted.name))
    finish(store, store.commit(wanted.name))
    assert [wanted.name] == [head.commit for head in store.heads(OUT)]


@pytest.mark.parametrize("verb", ["put", "put_new"])
@pytest.mark.parametrize("carried_out", [True, False], ids=["after", "before"])
def test_an_interrupt_never_damages_a_commit(store, given, tmp_path, verb, carried_out):
    """Interrupted before or after any write: no commit, or a whole one; the same again succeeds."""
    interrupted_at = 0
    while True:
        interrupted_at += 1
        count = 0

        def fault(found, _name, request):
            nonlocal count
            count += found == verb
            if found == verb and count == interrupted_at:  # noqa: B023 - called in this round
                if carried_out:
                    request()
                raise KeyboardInterrupt
            return request()

        failing = Store(FailingBackend(store.backend, fault))
        stage = Stage(failing.backend, f"i-{an_id()}", writer="w", scratch=tmp_path / an_id())
        wanted = draft(given)
        try:
            publish(failing, stage, written(failing, stage), wanted)
        except KeyboardInterrupt:
            done = False
        else:
            done = True
        stage.drop()
        if store.has(wanted.name):
            assert {"f": b"output"} == contents(store, store.commit(wanted.name))
        assert () == verify(store).defects
        again = Stage(store.backend, f"i-{an_id()}", writer="w", scratch=tmp_path / an_id())
        found = publish(store, again, written(store, again), wanted)
        again.drop()
        assert found.on_branch
        assert {"f": b"output"} == contents(store, found.commit)
        if done:
            break
    assert interrupted_at > 2
    assert () == verify(store).defects
    heads = [head.commit for head in store.heads(OUT)]
    assert len(heads) == len(set(heads)) == interrupted_at


def test_blobs_of_a_lost_race_stay_with_their_commit(store, given, stage):
    """A stage that one commit names is kept although the next commit is refused."""
    publish(store, stage, written(store, stage), draft(given))
    failing = failing_at(store, COMMIT, NO_SPACE, carried_out=False)
    with pytest.raises(StoreUnavailable):
        publish(failing, stage, written(failing, stage), draft(given))
    stage.drop()

    assert () == verify(store).defects


def test_the_guard_is_held_from_the_commit_to_the_branch(store, given, stage):
    """What others can see changes only inside of it."""
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
    publish(failing, stage, written(failing, stage), draft(given), guard=Guard)

    assert [(COMMIT, True), (SLOT, True)] == seen
    assert [] == held


def test_another_object_is_no_answer_to_ours(store):
    """A conflict with another writer's object raises AlreadyThere."""
    store.backend.put_new("slot", b"theirs")
    with pytest.raises(AlreadyThere):
        store.backend.put_new("slot", b"ours")
