"""Ancestry: which commits each commit was made from, and commits that were made from themselves."""

from collections.abc import Iterator, Mapping, Sequence

from worker.model import CommitName

MadeFrom = Mapping[CommitName, Sequence[CommitName]]
"""By commit: its parent and its inputs."""


def cycles(made_from: MadeFrom) -> Iterator[list[CommitName]]:
    """Yield the groups of commits of which each was made from each other; a sound store has none.

    They are the strongly connected components of the graph (Tarjan 1972), found in linear time and
    without recursion, since a history can have any length.
    """
    order: dict[CommitName, int] = {}
    """The commits that were visited, numbered."""
    lowest: dict[CommitName, int] = {}
    """The lowest number that is known to be in the same group."""
    open_commits: list[CommitName] = []
    is_open: set[CommitName] = set()
    for start in made_from:
        path: list[tuple[CommitName, Iterator[CommitName]]] = []
        following: CommitName | None = start if start not in order else None
        while path or following is not None:
            if following is not None:
                order[following] = lowest[following] = len(order)
                open_commits.append(following)
                is_open.add(following)
                path.append((following, iter(made_from[following])))
            name, others = path[-1]
            following = None
            for other in others:
                if other in is_open:
                    lowest[name] = min(lowest[name], order[other])
                elif other in made_from and other not in order:
                    following = other
                    break
            if following is not None:
                continue
            path.pop()
            if path:
                before = path[-1][0]
                lowest[before] = min(lowest[before], lowest[name])
            if lowest[name] == order[name]:
                group = _taken(open_commits, name)
                is_open.difference_update(group)
                if len(group) > 1 or name in made_from[name]:
                    yield group


def _taken(open_commits: list[CommitName], first: CommitName) -> list[CommitName]:
    """Remove and return the commits from *first* on."""
    group = [open_commits.pop()]
    while group[-1] != first:
        group.append(open_commits.pop())
    return group[::-1]
