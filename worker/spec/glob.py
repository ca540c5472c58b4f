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

MAX_LENGTH = 4096
MAX_NESTING = 32
END = r"\Z"
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
REPEATS = {"@": "", "?": "?", "*": "*", "+": "+"}


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
    _pattern: re.Pattern[str]

    def select(self, keys: Iterable[str]) -> Iterator[Match]:
        """Yield the files and folders among *keys* that match, in the order of the keys.

        *keys* are sorted, have no leading slash, and are consumed lazily and once; a folder is
        yielded at its first key. A key with a trailing slash is a folder, not a file.
        """
        # Pachyderm compares the root as an empty path, which no other glob matches.
        if self.text == "/":
            yield Match("/", folder=True)
            return
        fullmatch, last = self._pattern.fullmatch, ""
        for key in keys:
            if not key.startswith(self.prefix):
                continue
            path = "/" + key
            end = path.rfind("/") + 1
            # The keys of a folder are adjacent, so a folder is new if the previous key was not in
            # it.
            if end > 1 and path[:end] != last:
                for cut in self._folders(path, end):
                    if path[: cut + 1] != last[: cut + 1] and fullmatch(path, 0, cut):
                        yield Match(path[:cut], folder=True)
                last = path[:end]
            if end < len(path) and path.count("/") <= self.depth and fullmatch(path):
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
    return Glob(normalized, prefix[1:], piece.depth, re.compile(piece.render(True), re.DOTALL))


@attrs.frozen
class _Piece:
    """A part of a glob that renders to a regular expression.

    The meaning of ``!(…)`` depends on whether anything follows it, so a piece is rendered when that
    is known: ``render(True)`` is for the last piece of a glob.
    """

    render: Callable[[bool], str]
    depth: float = 0


ANY = _Piece(lambda _at_end: "[^/]*")
SUPER = _Piece(lambda _at_end: ".*", math.inf)
SINGLE = _Piece(lambda _at_end: "[^/]")


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

        def render(at_end: bool) -> str:
            final = len(pieces) - 1
            return "".join(p.render(at_end and i == final) for i, p in enumerate(pieces))

        return _Piece(render, sum(piece.depth for piece in pieces))

    def _piece(self) -> _Piece:
        char, follows = self.text[self.at], self.text[self.at + 1 : self.at + 2]
        self.at += 1
        if char == "\\":
            return _literal(self._escaped())
        if char in "*?@+!" and follows == "(":
            self.at += 1
            return self._group(char)
        if char == "*" and follows == "*" and self.text[self.at + 1 : self.at + 2] != "(":
            self.at += 1
            return SUPER
        readers: Mapping[str, Callable[[], _Piece]] = {
            "*": lambda: ANY,
            "?": lambda: SINGLE,
            "[": self._class,
            "{": lambda: self._either(self._alternatives("{", ",", "}"), ""),
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
        if kind != "!":
            return self._either(choices, REPEATS[kind])

        def render(at_end: bool) -> str:
            # Before another piece, Pachyderm also excludes what only *starts* like an alternative:
            # `!(foo)*` does not match `foobar`, other than in bash.
            excluded = "|".join(choice.render(at_end) for choice in choices)
            return f"(?!(?:{excluded}){END if at_end else ''})[^/]*"

        return _Piece(render)

    def _either(self, choices: Sequence[_Piece], repeat: str) -> _Piece:
        def render(at_end: bool) -> str:
            return f"(?:{'|'.join(choice.render(at_end) for choice in choices)}){repeat}"

        depth = max(choice.depth for choice in choices)
        return _Piece(render, math.inf if depth and repeat in ("*", "+") else depth)

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
        one = f"(?:{'|'.join(members)})"
        pattern = f"(?!{one})[^/]" if negated else f"(?!/){one}"
        return _Piece(lambda _at_end: pattern)

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
    pattern = re.escape(char)
    return _Piece(lambda _at_end: pattern, char.count("/"))
