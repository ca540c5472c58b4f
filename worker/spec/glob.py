"""Which paths of a commit a glob selects, in Pachyderm's meaning.

Paths begin with a slash; folders are paths too, without a slash behind them. ``*`` and ``?`` stop
at a slash, ``**`` does not; ``[a-z]``, ``[!a]`` and ``[[:alpha:]]`` are one character;
``{a,b}`` is either; ``@(a|b)`` once, ``?(…)`` at most once, ``*(…)`` any times, ``+(…)`` once or
more, ``!(…)`` anything else up to the next slash; a backslash makes the next character plain.
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
# The names of POSIX's classes, for ASCII, as Go's regular expressions have them.
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


class GlobWrong(Invalid):
    """A glob that no path can be compared with; *reason* says what is wrong with it."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"the glob {text!r}: {reason}")
        self.text = text
        self.reason = reason


@attrs.frozen
class Match:
    """What one datum takes of an input: a file, or a folder with all below it."""

    path: str
    """With a slash before it and none behind it; ``/`` is the whole commit."""
    folder: bool

    @property
    def prefix(self) -> str:
        """What the keys of a folder begin with, and no others; of a file, its key."""
        if not self.folder:
            return self.path[1:]
        return self.path[1:] + "/" if self.path != "/" else ""


@attrs.frozen
class Glob:
    """A glob that can be compared with paths."""

    text: str
    prefix: str
    """The keys that matter begin with this; all other keys need not be looked at."""
    depth: float
    """How many slashes a path that matches has at most; infinite if there is no bound."""
    _pattern: re.Pattern[str]

    def accepts(self, path: str) -> bool:
        """Return whether *path*, with a slash before it and none behind it, matches."""
        # The whole commit has an empty path, as Pachyderm compares it, and only `/` selects it.
        if path == "/":
            return self.text == "/"
        return self._pattern.fullmatch(path) is not None

    def select(self, keys: Iterable[str]) -> Iterator[Match]:
        """Yield the files and folders among *keys* that match, in the order of the keys.

        *keys* are sorted, without a slash before them, and read once; a folder is met at its first
        key. A key with a slash at its end stands for a folder and is no file.
        """
        if self.text == "/":
            yield Match("/", folder=True)
            return
        accepts, last = self._pattern.fullmatch, ""
        for key in keys:
            if not key.startswith(self.prefix):
                continue
            path = "/" + key
            end = path.rfind("/") + 1
            # The keys of a folder stand together, so a folder is new if the key before was not
            # in it.
            if end > 1 and path[:end] != last:
                for cut in self._folders(path, end):
                    if path[: cut + 1] != last[: cut + 1] and accepts(path, 0, cut):
                        yield Match(path[:cut], folder=True)
                last = path[:end]
            if end < len(path) and path.count("/") <= self.depth and accepts(path):
                yield Match(path, folder=False)

    def _folders(self, path: str, end: int) -> Iterator[int]:
        """Yield where each folder that *path* is in ends, down to the depth that can match."""
        depth, cut = 1, path.find("/", 1, end)
        while depth <= self.depth and cut > 0:
            yield cut
            depth, cut = depth + 1, path.find("/", cut + 1, end)


def clean(text: str) -> str:
    """Return *text* as Pachyderm cleans a path: one slash before it, none doubled or behind it."""
    return "/" + posixpath.normpath("/" + text).strip("/")


def compile_glob(text: str) -> Glob:
    """Return the glob that *text* means once it is cleaned; raise `GlobWrong` if it means none."""
    cleaned = clean(text)
    if len(cleaned) > MAX_LENGTH:
        raise GlobWrong(text, f"it has {len(cleaned)} characters, and at most {MAX_LENGTH} may be")
    piece = _Parser(cleaned).sequence()
    special = SPECIAL.search(cleaned)
    prefix = cleaned[: special.start()] if special else cleaned
    return Glob(cleaned, prefix[1:], piece.depth, re.compile(piece.render(True), re.DOTALL))


@attrs.frozen
class _Piece:
    """A part of a glob on its way to a regular expression.

    What ``!(…)`` means depends on whether anything follows it, so a piece is rendered once that is
    known: ``render(True)`` is the piece at the end of the path.
    """

    render: Callable[[bool], str]
    depth: float = 0


def _fixed(pattern: str, depth: float = 0) -> _Piece:
    return _Piece(lambda _at_end: pattern, depth)


ANY = _fixed("[^/]*")
SUPER = _fixed(".*", math.inf)
SINGLE = _fixed("[^/]")


@attrs.define
class _Parser:
    """Reads a glob from left to right."""

    text: str
    at: int = 0
    nesting: int = 0

    def sequence(self, stops: str = "") -> _Piece:
        """Return all up to one of *stops*, or up to the end."""
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
            raise self._wrong("it ends in a backslash, with nothing to escape")
        self.at += 1
        return self.text[self.at - 1]

    def _group(self, kind: str) -> _Piece:
        choices = self._alternatives("(", "|", ")")
        if kind != "!":
            return self._either(choices, REPEATS[kind])

        def render(at_end: bool) -> str:
            # Where more follows, Pachyderm refuses what only *begins* like an alternative, so
            # that `!(foo)*` does not match `foobar`; bash would.
            refused = "|".join(choice.render(at_end) for choice in choices)
            return f"(?!(?:{refused}){END if at_end else ''})[^/]*"

        return _Piece(render)

    def _either(self, choices: Sequence[_Piece], repeat: str) -> _Piece:
        def render(at_end: bool) -> str:
            return f"(?:{'|'.join(choice.render(at_end) for choice in choices)}){repeat}"

        depth = max(choice.depth for choice in choices)
        return _Piece(render, math.inf if depth and repeat in ("*", "+") else depth)

    def _alternatives(self, opening: str, between: str, closing: str) -> list[_Piece]:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self._wrong(f"its groups are nested deeper than {MAX_NESTING} levels")
        choices = [self.sequence(between + closing)]
        while self.text[self.at : self.at + 1] == between:
            self.at += 1
            choices.append(self.sequence(between + closing))
        if self.at == len(self.text):
            raise self._wrong(f"`{opening}` is not closed by `{closing}`")
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
            raise self._wrong("`[` is not closed by `]`")
        if not members:
            raise self._wrong("`[]` is a class without a character")
        self.at += 1
        one = f"(?:{'|'.join(members)})"
        return _fixed(f"(?!{one})[^/]" if negated else f"(?!/){one}")

    def _posix_class(self) -> str:
        found = re.compile(r"\[:(\^?)([a-z]+):\]").match(self.text, self.at)
        if found is None:
            return ""
        if found[2] not in CLASSES:
            raise self._wrong(f"`{found[0]}` is not a class of characters")
        self.at = found.end()
        return f"[{found[1]}{CLASSES[found[2]]}]"

    def _range(self) -> str:
        low = self._member()
        if self.text[self.at : self.at + 1] != "-" or self.text[self.at + 1 : self.at + 2] == "]":
            return f"[{re.escape(low)}]"
        self.at += 1
        if self.at == len(self.text):
            raise self._wrong("`[` is not closed by `]`")
        high = self._member()
        if high < low:
            raise self._wrong(f"the range `{low}-{high}` runs backwards")
        return f"[{re.escape(low)}-{re.escape(high)}]"

    def _member(self) -> str:
        self.at += 1
        char = self.text[self.at - 1]
        return self._escaped() if char == "\\" else char

    def _wrong(self, reason: str) -> GlobWrong:
        return GlobWrong(self.text, reason)


def _literal(char: str) -> _Piece:
    return _fixed(re.escape(char), char.count("/"))
