"""Ancestry: commits that were made from themselves."""

import sys
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.model import CommitName, Repo
from worker.store.ancestry import cycles


def a_name(number: int) -> CommitName:
    return CommitName(Repo("default", "lab"), f"{number:032x}")


numbers = st.integers(0, 7)


def reached(graph, start):
    """Return what *start* was made from, by any number of steps."""
    found: set[int] = set()
    left = list(graph[start])
    while left:
        number = left.pop()
        if number not in found:
            found.add(number)
            left += graph.get(number, ())
    return found


@given(st.dictionaries(numbers, st.lists(numbers, max_size=3), max_size=8))
def test_the_groups_are_the_commits_that_were_made_from_each_other(graph):
    """Also if some of what commits were made from does not exist."""
    made_from = {a_name(n): [a_name(m) for m in before] for n, before in graph.items()}
    ancestors = {number: reached(graph, number) for number in graph}
    expected = {
        frozenset(m for m in graph if m in ancestors[n] and n in ancestors[m])
        for n in graph
        if n in ancestors[n]
    }
    found = [[int(name.id, 16) for name in group] for group in cycles(made_from)]

    assert expected == set(map(frozenset, found))
    assert len(expected) == len(found)


def test_a_history_can_have_any_length():
    names = [a_name(number) for number in range(3 * sys.getrecursionlimit())]
    line = {after: [before] for before, after in pairwise(names)} | {names[0]: []}

    assert [] == list(cycles(line))
    assert [len(names)] == [len(group) for group in cycles(line | {names[0]: [names[-1]]})]
