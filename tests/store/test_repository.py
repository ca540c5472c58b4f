"""Repos, branches, commits and where they came from."""

import attrs
import pytest
from builders import a_commit, an_id

from worker.errors import NotFound, Unavailable
from worker.model import BranchName, Commit, CommitName, InputRecord, Repo
from worker.store.backends.base import Damaged
from worker.store.repository import (
    Advance,
    AncestorMissing,
    BranchMissing,
    CommitMissing,
    Head,
    Move,
    RepoMissing,
    Store,
)

LAB = Repo("default", "labresults")
MASTER = BranchName(LAB)


def commit_at(moment: float, *, of: Commit) -> Commit:
    """Return another commit of the same tree, finished at *moment*."""
    return attrs.evolve(of, name=CommitName(of.name.repo, an_id()), finished=moment)


def head_of(commit: Commit, slot: int) -> Head:
    return Head(slot, commit.name)


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


def test_no_clock_keeps_a_commit_off_a_branch(store):
    """A commit that says that it finished before the head did is the next head all the same."""
    new = a_commit(store, {"a": b"1"})
    old = store.add_commit(commit_at(new.finished - 1, of=new))

    assert Advance(Move.MOVED, head_of(old, 1)) == store.advance(MASTER, old)
    assert [old, new] == list(store.log(MASTER))


def test_a_commit_is_in_a_log_once(store):
    """A commit that is appended again, also after others, keeps its place."""
    first = a_commit(store, {"a": b"0"})
    made = [attrs.evolve(commit_at(1.0, of=first), parent=first.name.id) for _ in range(5)]
    for commit in made:
        store.add_commit(commit)
        store.advance(MASTER, commit)

    for slot, commit in enumerate([first, *made]):
        assert Advance(Move.ALREADY, head_of(commit, slot)) == store.advance(MASTER, commit)
    assert 6 == len(list(store.heads(MASTER)))


@pytest.mark.parametrize("hint", [None, b"0", b"3", b"29", b"30", b"9999", b"-1", b"", b"x"])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 30])
def test_the_head_is_found_whatever_the_hint_says(store, length, hint):
    """A hint that is missing, old, ahead or garbage costs time, and is never believed."""
    name = "repos/default/labresults/heads/master"
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(length)]
    store.backend.delete(name)
    if hint is not None:
        store.backend.put(name, hint)

    expected = head_of(commits[-1], length - 1) if commits else None
    assert expected == store.head(MASTER)
    assert length == len(list(store.heads(MASTER)))


def test_a_gap_in_a_log_is_damage(store):
    """A missing slot raises Damaged with its name."""
    for n in range(3):
        a_commit(store, {"a": b"%d" % n})
    store.backend.delete("repos/default/labresults/branches/master/000000000001")

    with pytest.raises(Damaged, match="branches/master/000000000001"):
        list(store.heads(MASTER))


class Counting:
    """A backend that counts the requests it is sent."""

    def __init__(self, backend):
        self._backend = backend
        self.count = 0

    def __getattr__(self, name):
        found = getattr(self._backend, name)
        if not callable(found) or name == "path":
            return found

        def counted(*arguments, **named):
            self.count += 1
            return found(*arguments, **named)

        return counted


def test_a_head_costs_the_same_however_long_the_log_is(store):
    """Three requests look up a head, and six append to a log, at 2 commits as at 200."""
    counting = Counting(store.backend)
    counted = Store(counting)
    commit = a_commit(store, {"a": b"1"})
    costs = []
    for n in range(200):
        following = attrs.evolve(
            commit, name=CommitName(LAB, an_id()), parent=commit.name.id, message=str(n)
        )
        store.add_commit(following)
        counting.count = 0
        counted.advance(MASTER, following)
        appended, counting.count = counting.count, 0
        counted.head(MASTER)
        costs.append((appended, counting.count))
        commit = following

    assert {(5, 3)} == set(costs)


def test_repos_and_branches_cost_a_listing_each(store):
    """The number of requests grows with the number of repos, not with what is in them."""
    for n in range(20):
        a_commit(store, {"a": b"1"}, repo=f"r{n:02d}")
        for _ in range(n % 3):
            a_commit(store, {"a": b"2"}, repo=f"r{n:02d}")
    counting = Counting(store.backend)
    counted = Store(counting)
    repos = list(counted.repos())

    assert (20, 2) == (len(repos), counting.count)
    assert 20 == sum(len(list(counted.branches(repo))) for repo in repos)
    assert 22 == counting.count


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


def test_attempts_at_a_job_are_one_output(store):
    """Each attempt marks the input; each output is listed once."""
    lab = a_commit(store, {"a": b"1"})
    output = a_commit(store, {"r": b"1"}, repo="out", inputs=made_of(lab))
    store.add_commit(output)

    assert 2 == len(list(store.markers(LAB)))
    assert [output.name] == list(store.made_from(lab.name))


def test_the_longest_names_fit(store):
    """Names of 255 characters make no object that can't be stored."""
    lab = a_commit(store, {"a": b"1"}, repo="l" * 255, branch="b" * 255)
    output = a_commit(store, {"r": b"1"}, repo="o" * 255, inputs=made_of(lab))

    assert [output.name] == list(store.made_from(lab.name))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"commit": "../x"}', b'{"commit": 1}'])
def test_knows_a_damaged_head(store, data):
    """A slot that names no commit is called damaged."""
    store.backend.put("repos/default/labresults/branches/master/000000000000", data)

    with pytest.raises(Unavailable, match="branches/master"):
        store.head(MASTER)
