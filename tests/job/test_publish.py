import attrs
import pytest
from builders import a_commit, an_id

from worker.job.publish import Draft, finish, keep, publish
from worker.store.model import BranchName, CommitName, InputRecord, Repo

OUT = BranchName(Repo("default", "copy"))


@pytest.fixture
def given(store):
    return a_commit(store, {"a": b"1", "b": b"2"})


def draft(given, run: str = "1", finished: float = 10.0) -> Draft:
    return Draft(
        name=CommitName(OUT.repo, an_id()),
        branch=OUT,
        inputs=(InputRecord("labresults", given.name, "master", s3=True),),
        job={"run": run},
        started=1.0,
        finished=finished,
    )


def test_the_entries_become_a_commit_on_its_branch(store, given):
    """With provenance, which can be asked from both ends."""
    wanted = draft(given)
    found = publish(store, wanted, store.tree(given).entries())

    assert (True, True) == (found.ours, found.branch_moved)
    assert wanted.name == store.head(OUT).commit
    assert given.digest == found.commit.digest
    assert [wanted.name] == list(store.made_from(given.name))


def test_of_two_runs_the_first_is_there(store, given):
    """The second is told whose commit it is."""
    first = draft(given)
    publish(store, first, store.tree(given).entries())
    second = publish(store, attrs.evolve(first, job={"run": "2"}), [])

    assert (False, 2) == (second.ours, second.commit.files)


def test_a_branch_does_not_go_back(store, given):
    """What finished before the head stays off the branch."""
    newer = publish(store, draft(given, finished=20.0), [])
    late = attrs.evolve(store.commit(newer.commit.name), name=CommitName(OUT.repo, an_id()))
    store.add_commit(attrs.evolve(late, finished=5.0))
    found = finish(store, attrs.evolve(late, finished=5.0))

    assert not found.branch_moved
    assert newer.commit.name == store.head(OUT).commit


def test_a_clock_that_is_behind_does_not_keep_a_branch_back(store, given):
    """A commit made after the head finishes after it, whatever the clock says."""
    publish(store, draft(given, finished=1e12), [])
    found = publish(store, draft(given, finished=10.0), [])

    assert found.branch_moved


def test_what_is_kept_is_on_no_branch(store, given):
    """It can be looked at, and nothing follows from it."""
    kept = keep(store, draft(given), store.tree(given).entries())

    assert kept == store.commit(kept.name)
    assert store.head(OUT) is None
