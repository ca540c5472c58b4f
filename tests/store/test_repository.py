"""Repos, branches, commits and where they came from."""

import attrs
import pytest
from builders import a_commit, an_id

from worker.errors import NotFound, Unavailable
from worker.store.model import BranchName, Commit, CommitName, InputRecord, Repo
from worker.store.repository import (
    Advance,
    AncestorMissing,
    BranchMissing,
    CommitMissing,
    Head,
    Move,
    RepoMissing,
)

LAB = Repo("default", "labresults")
MASTER = BranchName(LAB)


def commit_at(moment: float, *, of: Commit) -> Commit:
    """Return another commit of the same tree, finished at *moment*."""
    return attrs.evolve(of, name=CommitName(of.name.repo, an_id()), finished=moment)


def head_of(commit: Commit, slot: int) -> Head:
    return Head(slot, commit.name, commit.finished)


def test_an_empty_store_has_nothing(store):
    """A store that was never written to has no repos, branches and heads."""
    assert ([], [], None) == (list(store.repos()), list(store.branches(LAB)), store.head(MASTER))


def test_repos_are_there_with_their_first_commit(store):
    """Repos and branches are made by the first write, and listed in order."""
    for repo, branch in (("b", "dev"), ("a-b", "master"), ("a", "x"), ("b", "a"), ("a", "y")):
        a_commit(store, {"f": b"1"}, repo=repo, branch=branch)

    assert [Repo("default", name) for name in ("a", "a-b", "b")] == list(store.repos())
    assert ["a", "dev"] == [branch.name for branch in store.branches(Repo("default", "b"))]


def test_a_commit_is_found_by_its_name(store):
    """What was added can be read back, tree and all."""
    commit = a_commit(store, {"a/b": b"12", "c": b""})

    assert commit == store.commit(commit.name)
    assert [("a/b", 2), ("c", 0)] == [(e.key, e.size) for e in store.tree(commit).entries()]


def test_the_first_commit_of_a_name_stays(store):
    """Of two commits under one id, the second is told of the first, which stays."""
    first = a_commit(store, {"a": b"1"})
    second = attrs.evolve(first, message="another")

    assert first == store.add_commit(second)
    assert first == store.commit(first.name)


def test_names_what_is_missing(store):
    """Repo, branch and commit that are not there are told apart."""
    a_commit(store, {"a": b"1"})

    with pytest.raises(RepoMissing, match="nothing"):
        store.resolve("nothing")
    with pytest.raises(BranchMissing, match="labresults@dev"):
        store.resolve("labresults@dev")
    with pytest.raises(CommitMissing, match=r"f{32}"):
        store.resolve(f"labresults@{'f' * 32}")
    assert issubclass(RepoMissing, NotFound)


def test_resolves_refs(store):
    """A ref is a branch's head, an ancestor, or the commit of an id."""
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(3)]

    assert commits[2] == store.resolve("labresults")
    assert commits[2] == store.resolve("default/labresults@master:some/path")
    assert commits[1] == store.resolve("labresults^")
    assert commits[0] == store.resolve("labresults@master~2")
    assert commits[0] == store.resolve(f"labresults@{commits[1].name.id}^")
    with pytest.raises(AncestorMissing, match="only 2"):
        store.resolve("labresults~3")


def test_a_branch_can_be_called_like_an_id(store):
    """What has the form of an id is a branch if there is no such commit."""
    name = "ab" * 16
    commit = a_commit(store, {"a": b"1"}, branch=name)

    assert commit == store.resolve(f"labresults@{name}")


def test_a_log_goes_by_parents(store):
    """The log of a branch or a commit is itself, and then parent by parent."""
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(3)]

    assert commits[::-1] == list(store.log(MASTER))
    assert commits[1::-1] == list(store.log(commits[1].name))


def test_the_log_of_a_branch_has_commits_made_at_the_same_time(store):
    """Of two jobs that commit to a branch at once, both are in its log, whatever their parents."""
    first = a_commit(store, {"a": b"1"})
    both = [attrs.evolve(commit_at(2.0**40, of=first), parent=first.name.id) for _ in range(2)]
    for commit in both:
        store.add_commit(commit)
        store.advance(MASTER, commit)

    assert [both[1], both[0], first] == list(store.log(MASTER))
    assert [both[0], first] == list(store.history("labresults^"))


def test_a_branch_keeps_its_heads(store):
    """Each move is a slot of its own; the head is the newest."""
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(12)]

    assert head_of(commits[11], 11) == store.head(MASTER)
    assert [head_of(commits[n], n) for n in range(11, -1, -1)] == list(store.heads(MASTER))


def test_a_move_says_how_it_ended(store):
    """A branch moves to a newer commit, and says so; a second time, it is there already."""
    old = a_commit(store, {"a": b"1"})
    new = store.add_commit(commit_at(old.finished + 1, of=old))

    assert Advance(Move.MOVED, head_of(new, 1)) == store.advance(MASTER, new)
    assert Advance(Move.ALREADY, head_of(new, 1)) == store.advance(MASTER, new)
    assert store.advance(MASTER, new).arrived


def test_a_branch_never_goes_back(store):
    """A commit that finished before the head did stays off the branch: something newer is there."""
    new = a_commit(store, {"a": b"1"})
    old = store.add_commit(commit_at(new.finished - 1, of=new))
    ended = store.advance(MASTER, old)

    assert Advance(Move.NEWER, head_of(new, 0)) == ended
    assert not ended.arrived
    assert head_of(new, 0) == store.head(MASTER)


def test_a_branch_moves_only_from_the_expected_head(store):
    """A caller who built on a head is told when it is not the head any more."""
    first = a_commit(store, {"a": b"1"})
    built_on = store.head(MASTER)
    second = a_commit(store, {"a": b"2"})
    third = store.add_commit(commit_at(second.finished + 1, of=second))

    assert Advance(Move.CHANGED, head_of(second, 1)) == store.advance(
        MASTER, third, expected=built_on
    )
    assert Move.CHANGED == store.advance(MASTER, third, expected=None).move
    assert Move.MOVED == store.advance(MASTER, third, expected=store.head(MASTER)).move
    assert Move.MOVED == store.advance(BranchName(LAB, "new"), first, expected=None).move


def made_of(commit: Commit) -> tuple[InputRecord, ...]:
    return (InputRecord("labresults", commit.name, "master", s3=True),)


def test_knows_what_was_made_from_a_commit(store):
    """From an input one comes to its outputs, as from an output to its inputs."""
    lab = a_commit(store, {"a": b"1"})
    other = a_commit(store, {"a": b"2"})
    outputs = [
        a_commit(store, {"r": b"1"}, repo=repo, inputs=made_of(lab)) for repo in ("x", "y", "x")
    ]

    assert sorted(output.name for output in outputs) == list(store.made_from(lab.name))
    assert [] == list(store.made_from(other.name))


def test_a_marker_alone_is_no_provenance(store):
    """What a crash before the commit left behind does not count."""
    lab = a_commit(store, {"a": b"1"})
    output = a_commit(store, {"r": b"1"}, repo="out", inputs=made_of(lab))
    store.backend.delete(f"repos/default/out/commits/{output.name.id}")

    assert [] == list(store.made_from(lab.name))
    assert [output.name] == [marker.output for marker in store.markers(LAB)]


def test_the_longest_names_fit(store):
    """Names of 255 characters make no object that can't be stored."""
    lab = a_commit(store, {"a": b"1"}, repo="l" * 255, branch="b" * 255)
    output = a_commit(store, {"r": b"1"}, repo="o" * 255, inputs=made_of(lab))

    assert [output.name] == list(store.made_from(lab.name))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"commit": "../x", "finished": 1}'])
def test_knows_a_damaged_head(store, data):
    """A slot that names no commit is called damaged."""
    store.backend.put("repos/default/labresults/branches/master/999999999999", data)

    with pytest.raises(Unavailable, match="branches/master"):
        store.head(MASTER)
