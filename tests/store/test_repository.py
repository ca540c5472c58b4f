"""Repos, branches, commits and their provenance."""

import attrs
import pytest
from builders import a_commit, an_id
from store.failing import FailingBackend

from worker.errors import NotFound, Unavailable
from worker.model import BranchName, Commit, CommitName, InputRecord, Repo
from worker.store.backends.base import Damaged
from worker.store.missing import AncestorMissing, BranchMissing, CommitMissing, RepoMissing
from worker.store.repository import Advance, Head, Move, Store

LAB = Repo("default", "labresults")
MASTER = BranchName(LAB)


def commit_at(moment: float, *, of: Commit) -> Commit:
    """Return another commit of the same tree, finished at *moment*."""
    return attrs.evolve(of, name=CommitName(of.name.repo, an_id()), finished=moment)


def head_of(commit: Commit, slot: int) -> Head:
    return Head(slot, commit.name)


def test_a_new_store_has_no_repos_branches_or_heads(store):
    assert ([], [], None) == (list(store.repos()), list(store.branches(LAB)), store.head(MASTER))


def test_the_first_commit_creates_repo_and_branch(store):
    """Both are listed in order."""
    for repo, branch in (("b", "dev"), ("a-b", "master"), ("a", "x"), ("b", "a"), ("a", "y")):
        a_commit(store, {"f": b"1"}, repo=repo, branch=branch)

    assert [Repo("default", name) for name in ("a", "a-b", "b")] == list(store.repos())
    assert ["a", "dev"] == [branch.name for branch in store.branches(Repo("default", "b"))]


def test_an_added_commit_can_be_read_with_its_tree(store):
    commit = a_commit(store, {"a/b": b"12", "c": b""})

    assert commit == store.commit(commit.name)
    assert [("a/b", 2), ("c", 0)] == [(e.key, e.size) for e in store.tree(commit).entries()]


def test_has_does_not_read_the_commit(store):
    commit = a_commit(store, {"a": b"1"})
    requests = []

    def record(verb, _name, request):
        requests.append(verb)
        return request()

    failing = Store(FailingBackend(store.backend, record))
    missing = CommitName(LAB, "f" * 32)

    assert (True, False) == (failing.has(commit.name), failing.has(missing))
    assert ["exists"] * 2 == requests


def test_add_commit_returns_the_existing_commit_of_the_name(store):
    first = a_commit(store, {"a": b"1"})
    second = attrs.evolve(first, message="another")

    assert first == store.add_commit(second)
    assert first == store.commit(first.name)


def test_a_missing_repo_branch_or_commit_raises_its_own_error(store):
    a_commit(store, {"a": b"1"})

    with pytest.raises(RepoMissing, match="nothing"):
        store.resolve("nothing")
    with pytest.raises(BranchMissing, match="labresults@dev"):
        store.resolve("labresults@dev")
    with pytest.raises(CommitMissing, match=r"f{32}"):
        store.resolve(f"labresults@{'f' * 32}")
    assert issubclass(RepoMissing, NotFound)


def test_resolve_returns_a_head_an_ancestor_or_a_commit_by_id(store):
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(3)]

    assert commits[2] == store.resolve("labresults")
    assert commits[2] == store.resolve("default/labresults@master:some/path")
    assert commits[1] == store.resolve("labresults^")
    assert commits[0] == store.resolve("labresults@master~2")
    assert commits[0] == store.resolve(f"labresults@{commits[1].name.id}^")
    with pytest.raises(AncestorMissing, match="only 2"):
        store.resolve("labresults~3")


def test_a_ref_in_the_form_of_an_id_is_a_branch_if_there_is_no_such_commit(store):
    name = "ab" * 16
    commit = a_commit(store, {"a": b"1"}, branch=name)

    assert commit == store.resolve(f"labresults@{name}")


def test_the_log_of_a_commit_follows_parents(store):
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(3)]

    assert commits[::-1] == list(store.log(MASTER))
    assert commits[1::-1] == list(store.log(commits[1].name))


def test_the_log_of_a_branch_has_commits_with_the_same_parent(store):
    """Two jobs that commit at the same time are both in it."""
    first = a_commit(store, {"a": b"1"})
    both = [attrs.evolve(commit_at(2.0**32, of=first), parent=first.name.id) for _ in range(2)]
    for commit in both:
        store.add_commit(commit)
        store.advance(MASTER, commit)

    assert [both[1], both[0], first] == list(store.log(MASTER))
    assert [both[0], first] == list(store.history("labresults^"))


def test_each_move_of_a_branch_is_a_slot_and_the_head_is_the_last(store):
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(12)]

    assert head_of(commits[11], 11) == store.head(MASTER)
    assert [head_of(commits[n], n) for n in range(11, -1, -1)] == list(store.heads(MASTER))


def test_advance_returns_moved_and_then_already(store):
    old = a_commit(store, {"a": b"1"})
    new = store.add_commit(commit_at(old.finished + 1, of=old))

    assert Advance(Move.MOVED, head_of(new, 1)) == store.advance(MASTER, new)
    assert Advance(Move.ALREADY, head_of(new, 1)) == store.advance(MASTER, new)


def test_advance_accepts_a_commit_that_finished_before_the_head(store):
    first = a_commit(store, {"a": b"0"})
    new = a_commit(store, {"a": b"1"})
    old = store.add_commit(commit_at(new.finished - 1, of=new))

    assert Advance(Move.MOVED, head_of(old, 2)) == store.advance(MASTER, old)
    assert [old, new, first] == list(store.log(MASTER))


def test_a_commit_keeps_its_place_when_it_is_appended_again(store):
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
def test_head_is_correct_with_a_missing_old_or_wrong_hint(store, length, hint):
    name = "repos/default/labresults/heads/master"
    commits = [a_commit(store, {"a": b"%d" % n}) for n in range(length)]
    store.backend.delete(name)
    if hint is not None:
        store.backend.put(name, hint)

    expected = head_of(commits[-1], length - 1) if commits else None
    assert expected == store.head(MASTER)
    assert length == len(list(store.heads(MASTER)))


def test_a_gap_in_a_log_is_damaged(store):
    for n in range(3):
        a_commit(store, {"a": b"%d" % n})
    store.backend.delete("repos/default/labresults/branches/master/000000000001")

    with pytest.raises(Damaged, match="branches/master/000000000001"):
        list(store.heads(MASTER))


class Counting:
    """A backend that counts its requests."""

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


def test_head_and_advance_need_the_same_requests_for_any_length_of_the_log(store):
    """Three for a head, and five for an advance."""
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


def test_listing_repos_and_branches_needs_one_request_each(store):
    """It does not depend on the number of commits."""
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


def test_advance_moves_only_from_the_expected_head(store):
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


def record_of(commit: Commit) -> tuple[InputRecord, ...]:
    return (InputRecord("labresults", commit.name, "master", s3=True),)


def test_made_from_yields_the_outputs_of_an_input(store):
    lab = a_commit(store, {"a": b"1"})
    other = a_commit(store, {"a": b"2"})
    outputs = [
        a_commit(store, {"r": b"1"}, repo=repo, inputs=record_of(lab)) for repo in ("x", "y", "x")
    ]

    assert sorted(output.name for output in outputs) == list(store.made_from(lab.name))
    assert [] == list(store.made_from(other.name))


def test_made_from_ignores_markers_of_unpublished_commits(store):
    """A crash before the commit leaves such a marker."""
    lab = a_commit(store, {"a": b"1"})
    output = a_commit(store, {"r": b"1"}, repo="out", inputs=record_of(lab))
    store.backend.delete(f"repos/default/out/commits/{output.name.id}")

    assert [] == list(store.made_from(lab.name))
    assert [output.name] == [marker.output for marker in store.markers(LAB)]


def test_made_from_yields_an_output_of_several_attempts_once(store):
    lab = a_commit(store, {"a": b"1"})
    output = a_commit(store, {"r": b"1"}, repo="out", inputs=record_of(lab))
    store.add_commit(output)

    assert 2 == len(list(store.markers(LAB)))
    assert [output.name] == list(store.made_from(lab.name))


def test_names_of_255_characters_can_be_stored(store):
    lab = a_commit(store, {"a": b"1"}, repo="l" * 255, branch="b" * 255)
    output = a_commit(store, {"r": b"1"}, repo="o" * 255, inputs=record_of(lab))

    assert [output.name] == list(store.made_from(lab.name))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"commit": "../x"}', b'{"commit": 1}'])
def test_a_slot_without_a_commit_id_is_damaged(store, data):
    store.backend.put("repos/default/labresults/branches/master/000000000000", data)

    with pytest.raises(Unavailable, match="branches/master"):
        store.head(MASTER)
