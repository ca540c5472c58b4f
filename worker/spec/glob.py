"""Pachyderm's globs: which files and folders of a commit a glob matches.

A path starts with a slash; a folder is a path too, without a trailing slash. ``*`` and ``?`` do
not match a slash, ``**`` does; ``[a-z]``, ``[!a]`` and ``[[:alpha:]]`` match one character;
``{a,b}`` matches either; ``@(a|b)`` one of them, ``?(…)`` at most one, ``*(…)`` any number,
``+(…)`` one or more, ``!(…)`` anything else up to the next slash; a backslash escapes a character.
"""

import math
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from worker.errors import Invalid
from worker.spec.automaton import Automaton, States

MAX_LENGTH = 4096
MAX_NESTING = 32
SPECIAL = re.compile(r"[*?\[\]{}!()@+^\\]")
# POSIX classes limited to ASCII, as in Go's regexp/syntax.
CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7f",
    "blank": "\\t ",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
KINDS = "@?*+!"
"""The characters before the parenthesis of a group."""


class InvalidGlob(Invalid):
    """The text is not a glob; *reason* says why."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"the glob {text!r}: {reason}")
        self.text = text
        self.reason = reason


@attrs.frozen
class Match:
    """A path selected for one datum: a file, or a folder with everything below it."""

    path: str
    """With a leading and no trailing slash; ``/`` is the whole commit."""
    folder: bool

    @property
    def prefix(self) -> str:
        """The prefix of exactly the keys in a folder; for a file, its key."""
        if not self.folder:
            return self.path[1:]
        return self.path[1:] + "/" if self.path != "/" else ""


@attrs.frozen
class Glob:
    """A compiled glob."""

    text: str
    prefix: str
    """Every key that can match starts with this, so a reader can skip all others."""
    depth: float
    """Maximum number of slashes in a path that matches, or infinity."""
    _automaton: Automaton

    def select(self, keys: Iterable[str]) -> Iterator[Match]:
        """Yield the files and folders among *keys* that match, in the order of the keys.

        *keys* are sorted, have no leading slash, and are consumed lazily and once; a folder is
        yielded at its first key. A key with a trailing slash is a folder, not a file.
        """
        # Pachyderm compares the root as an empty path, which no other glob matches.
        if self.text == "/":
            yield Match("/", folder=True)
            return
        matches, last = self._automaton.matches, ""
        for key in keys:
            if not key.startswith(self.prefix):
                continue
            path = "/" + key
            end = path.rfind("/") + 1
            # The keys of a folder are adjacent, so a folder is new if the previous key was not in
            # it.
            if end > 1 and path[:end] != last:
                for cut in self._folders(path, end):
                    if path[: cut + 1] != last[: cut + 1] and matches(path[:cut]):
                        yield Match(path[:cut], folder=True)
                last = path[:end]
            if end < len(path) and path.count("/") <= self.depth and matches(path):
                yield Match(path, folder=False)

    def _folders(self, path: str, end: int) -> Iterator[int]:
        """Yield the end of each parent folder in *path*, up to the depth that can match."""
        depth, cut = 1, path.find("/", 1, end)
        while depth <= self.depth and cut > 0:
            yield cut
            depth, cut = depth + 1, path.find("/", cut + 1, end)


def normalize(text: str) -> str:
    """Return *text* as a clean path: with a leading slash, and no double or trailing ones."""
    return "/" + posixpath.normpath("/" + text).strip("/")


def compile_glob(text: str) -> Glob:
    """Compile the normalized *text*; raise `InvalidGlob` if it is not a glob."""
    normalized = normalize(text)
    if len(normalized) > MAX_LENGTH:
        raise InvalidGlob(text, f"it has {len(normalized)} characters; the limit is {MAX_LENGTH}")
    piece = _Parser(normalized).sequence()
    special = SPECIAL.search(normalized)
    prefix = normalized[: special.start()] if special else normalized
    states = States()
    automaton = Automaton(states, piece.build(states, states.end(level=0), True))
    return Glob(normalized, prefix[1:], piece.depth, automaton)


Build = Callable[[States, int, bool], int]
"""Adds states that accept a piece and then are in the given one; returns the first of them.

The meaning of ``!(…)`` depends on whether anything follows it; the last argument says that nothing
does.
"""


@attrs.frozen
class _Piece:
    """A part of a glob."""

    build: Build
    depth: float = 0


def _is_not_slash(char: str) -> bool:
    return char != "/"


def _is_any(_char: str) -> bool:
    return True


def _one(accepts: Callable[[str], bool], depth: float = 0) -> _Piece:
    return _Piece(lambda states, follow, _at_end: states.read(accepts, follow), depth)


ANY = _Piece(lambda states, follow, _at_end: states.read_any_number(_is_not_slash, follow))
SUPER = _Piece(lambda states, follow, _at_end: states.read_any_number(_is_any, follow), math.inf)
SINGLE = _one(_is_not_slash)


@attrs.define
class _Parser:
    """A recursive-descent parser of the text of a glob."""

    text: str
    at: int = 0
    nesting: int = 0

    def sequence(self, stops: str = "") -> _Piece:
        """Parse up to one of the characters in *stops*, or to the end."""
        pieces = []
        while self.at < len(self.text) and self.text[self.at] not in stops:
            pieces.append(self._piece())

        def build(states: States, follow: int, at_end: bool) -> int:
            for piece in reversed(pieces):
                follow = piece.build(states, follow, at_end)
                at_end = False
            return follow

        return _Piece(build, sum(piece.depth for piece in pieces))

    def _piece(self) -> _Piece:
        char, follows = self.text[self.at], self.text[self.at + 1 : self.at + 2]
        self.at += 1
        if char == "\\":
            return _literal(self._escaped())
        if char in KINDS and follows == "(":
            self.at += 1
            return self._group(char)
        if char == "*" and follows == "*" and self.text[self.at + 1 : self.at + 2] != "(":
            self.at += 1
            return SUPER
        readers: Mapping[str, Callable[[], _Piece]] = {
            "*": lambda: ANY,
            "?": lambda: SINGLE,
            "[": self._class,
            "{": lambda: _either(self._alternatives("{", ",", "}")),
            "(": lambda: self._group("@"),
        }
        return readers[char]() if char in readers else _literal(char)

    def _escaped(self) -> str:
        if self.at == len(self.text):
            raise self._error("it ends in a backslash that escapes nothing")
        self.at += 1
        return self.text[self.at - 1]

    def _group(self, kind: str) -> _Piece:
        choices = self._alternatives("(", "|", ")")
        if kind == "!":
            return _none_of(choices)
        return _repeated(choices, kind) if kind in "*+" else _either(choices, kind)

    def _alternatives(self, opening: str, between: str, closing: str) -> list[_Piece]:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self._error(f"its groups are nested deeper than {MAX_NESTING} levels")
        choices = [self.sequence(between + closing)]
        while self.text[self.at : self.at + 1] == between:
            self.at += 1
            choices.append(self.sequence(between + closing))
        if self.at == len(self.text):
            raise self._error(f"`{opening}` is not closed by `{closing}`")
        self.at += 1
        self.nesting -= 1
        return choices

    def _class(self) -> _Piece:
        negated = self.text[self.at : self.at + 1] in ("!", "^")
        self.at += negated
        members = []
        while self.at < len(self.text) and self.text[self.at] != "]":
            members.append(self._posix_class() or self._range())
        if self.at == len(self.text):
            raise self._error("`[` is not closed by `]`")
        if not members:
            raise self._error("`[]` is an empty class")
        self.at += 1
        one = re.compile("|".join(members)).fullmatch
        return _one(lambda char: char != "/" and (one(char) is None) is negated)

    def _posix_class(self) -> str:
        found = re.compile(r"\[:(\^?)([a-z]+):\]").match(self.text, self.at)
        if found is None:
            return ""
        if found[2] not in CLASSES:
            raise self._error(f"`{found[0]}` is not a POSIX character class")
        self.at = found.end()
        return f"[{found[1]}{CLASSES[found[2]]}]"

    def _range(self) -> str:
        low = self._member()
        if self.text[self.at : self.at + 1] != "-" or self.text[self.at + 1 : self.at + 2] == "]":
            return f"[{re.escape(low)}]"
        self.at += 1
        if self.at == len(self.text):
            raise self._error("`[` is not closed by `]`")
        high = self._member()
        if high < low:
            raise self._error(f"the range `{low}-{high}` is reversed")
        return f"[{re.escape(low)}-{re.escape(high)}]"

    def _member(self) -> str:
        self.at += 1
        char = self.text[self.at - 1]
        return self._escaped() if char == "\\" else char

    def _error(self, reason: str) -> InvalidGlob:
        return InvalidGlob(self.text, reason)


def _literal(char: str) -> _Piece:
    return _one(char.__eq__, char.count("/"))


def _either(choices: Sequence[_Piece], kind: str = "@") -> _Piece:
    """Return a piece that matches one of *choices*, or with the *kind* ``?`` also nothing."""

    def build(states: States, follow: int, at_end: bool) -> int:
        first = [choice.build(states, follow, at_end) for choice in choices]
        return states.choose([*first, follow] if kind == "?" else first)

    return _Piece(build, max(choice.depth for choice in choices))


def _repeated(choices: Sequence[_Piece], kind: str) -> _Piece:
    """Return a piece that matches *choices* one or more times, or with the *kind* ``*`` any."""

    def build(states: States, follow: int, at_end: bool) -> int:
        # The state after each repetition, in which there may be a further one.
        repeated = states.choose([follow])
        first = [choice.build(states, repeated, at_end) for choice in choices]
        states.also(repeated, first)
        return repeated if kind == "*" else states.choose(first)

    return _Piece(build, math.inf if any(choice.depth for choice in choices) else 0)


def _none_of(choices: Sequence[_Piece]) -> _Piece:
    """Return a piece that matches what none of *choices* does, up to the next slash."""

    def build(states: States, follow: int, at_end: bool) -> int:
        # Before another piece, Pachyderm also excludes what only *starts* like an alternative:
        # `!(foo)*` does not match `foobar`, other than in bash.
        level = states.levels[follow] + 1
        rest = states.end(level) if at_end else states.anything(level)
        excluded = states.choose([choice.build(states, rest, at_end) for choice in choices])
        return states.exclude(excluded, ANY.build(states, follow, False))

    return _Piece(build)
