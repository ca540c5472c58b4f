"""Finite automata with negation: whether a text matches, in time linear in its length.

A backtracking matcher takes exponential time for some patterns. This one reads a text once, from
its end to its start, and computes which states accept the rest of the text (Thompson's simulation,
reversed). It reads backwards because a negation is then decided by states that are known already.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

import attrs

MAX_CACHED = 100_000
"""States and transitions of the cached rows of an automaton. Beyond these, the cache is cleared."""

Accepts = Callable[[str], bool]
"""Whether a character is accepted."""


@attrs.define(eq=False, repr=False)
class States:
    """The states of a nondeterministic automaton, added from the end of a text to its start.

    A state is a number. Each has a level: the number of negations around it. What a negation
    excludes is one level deeper, and has an accepting state of its own.
    """

    levels: list[int] = attrs.field(factory=list)
    """The level of each state."""
    readers: dict[int, list[tuple[int, Accepts]]] = attrs.field(factory=lambda: defaultdict(list))
    """By state, the states that read a character and then are in it."""
    choices: dict[int, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    """By state, the states that accept all that it accepts."""
    negations: dict[int, list[tuple[int, int]]] = attrs.field(factory=lambda: defaultdict(list))
    """By state, the states that accept what it accepts unless another state accepts it too."""
    ends: list[int] = attrs.field(factory=list)
    """The states that accept the end of the text."""
    anywhere: list[int] = attrs.field(factory=list)
    """The states that accept every rest of the text."""

    def end(self, level: int) -> int:
        """Return a new state that accepts the end of the text."""
        self.ends.append(self._add(level))
        return self.ends[-1]

    def anything(self, level: int) -> int:
        """Return a new state that accepts every rest of the text."""
        self.anywhere.append(self._add(level))
        return self.anywhere[-1]

    def read(self, accepts: Accepts, follow: int) -> int:
        """Return a new state that reads one accepted character, and then is in *follow*."""
        state = self._add(self.levels[follow])
        self.readers[follow].append((state, accepts))
        return state

    def read_any_number(self, accepts: Accepts, follow: int) -> int:
        """Return a new state that reads accepted characters, and then is in *follow*."""
        loop = self.choose([follow])
        self.also(loop, [self.read(accepts, loop)])
        return loop

    def choose(self, follows: Iterable[int]) -> int:
        """Return a new state that accepts what one of *follows* accepts; they are not empty."""
        follows = list(follows)
        state = self._add(self.levels[follows[0]])
        self.also(state, follows)
        return state

    def also(self, choice: int, follows: Iterable[int]) -> None:
        """Let *choice* accept what one of *follows* accepts, which may lead to it."""
        for follow in follows:
            self.choices[follow].append(choice)

    def exclude(self, excluded: int, follow: int) -> int:
        """Return a new state that accepts what *follow* accepts and *excluded* does not."""
        state = self._add(self.levels[follow])
        self.negations[follow].append((state, excluded))
        return state

    def _add(self, level: int) -> int:
        self.levels.append(level)
        return len(self.levels) - 1


@attrs.define(eq=False, repr=False)
class _Row:
    """The states that accept a rest of a text, and the rows of the rests with one more character.

    It is a state of the deterministic automaton, which is built as far as texts need it.
    """

    states: frozenset[int]
    accepts: bool
    before: dict[str, "_Row"] = attrs.field(factory=dict)


@attrs.define(eq=False, repr=False)
class Automaton:
    """An automaton that is in the state *start* before it has read anything."""

    _states: States
    _start: int
    _by_states: dict[frozenset[int], _Row] = attrs.field(factory=dict, init=False)
    _end: _Row | None = attrs.field(default=None, init=False)
    cached: int = attrs.field(default=0, init=False)
    """States and transitions of the cached rows."""

    def matches(self, text: str) -> bool:
        """Whether the whole *text* is accepted.

        Each character takes at most the time to visit every state once.
        """
        row = self._end
        if row is None:
            row = self._end = self._row([*self._states.ends, *self._states.anywhere])
        for char in reversed(text):
            row = row.before.get(char) or self._extend(row, char)
        return row.accepts

    def _extend(self, row: _Row, char: str) -> _Row:
        """Return the row of the rest with *char* before it."""
        seeds = [
            state
            for follow in row.states
            for state, accepts in self._states.readers.get(follow, ())
            if accepts(char)
        ]
        if self.cached > MAX_CACHED:
            self._by_states.clear()
            self._end, self.cached = None, 0
        found = row.before[char] = self._row([*seeds, *self._states.anywhere])
        self.cached += 1
        return found

    def _row(self, seeds: list[int]) -> _Row:
        """Return the row of *seeds* and of the states that accept the same without a character."""
        closed = self._close(seeds)
        row = self._by_states.get(closed)
        if row is None:
            row = self._by_states[closed] = _Row(closed, self._start in closed)
            self.cached += len(closed)
        return row

    def _close(self, seeds: Iterable[int]) -> frozenset[int]:
        found: set[int] = set()
        waiting: dict[int, list[int]] = defaultdict(list)
        for state in seeds:
            waiting[self._states.levels[state]].append(state)
        # What a negation excludes is deeper, so it is complete before the negation is evaluated.
        for level in sorted(waiting, reverse=True):
            pending = waiting[level]
            while pending:
                state = pending.pop()
                if state in found:
                    continue
                found.add(state)
                pending += self._states.choices.get(state, ())
                pending += [
                    before
                    for before, excluded in self._states.negations.get(state, ())
                    if excluded not in found
                ]
        return frozenset(found)
