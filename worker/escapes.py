"""Escape sequences of text formats: found in a text and decoded, with their places."""

import html
import re
from bisect import bisect_right

import attrs

_HEX = rb"[0-9A-Fa-f]"
# Longer forms first. A surrogate pair of JSON is one character (RFC 8259, section 7). The quotes
# are those that POSIX shells need for a quote inside of quotes, those around a part in $'…' inside
# of quotes, as GNU programs write it, and the doubled ones those of SQL and CSV. Each alternative
# starts with a literal character, for which re has a fast search.
ESCAPE = re.compile(
    rb"""
    \\u(?P<high>[dD][89abAB]HH)\\u(?P<low>[dD][c-fC-F]HH)
  | \\u(?P<u4>HHHH)
  | \\[ux]\{(?P<brace>H{1,6})\}
  | \\U(?P<u8>00HHHHHH)
  | \\x(?P<x2>HH)
  | \\(?P<octal>[0-3]?[0-7]{1,2})
  | \\(?P<simple>[\s\S])
  | %(?P<percent>HH)
  | &\#[xX]0{0,6}(?P<reference>H{1,6});
  | &\#0{0,6}(?P<number>[0-9]{1,7});
  | &(?P<name>[A-Za-z][A-Za-z0-9]{1,9});
  | '(?P<ansi>\$'(?=\\{1,4}(?:[0-7]|L))|(?:(?<=\\[0-7]{3}')|(?<=(?:\$'|[0-7]{2}|\\L)\\L'))')
  | '(?P<single>"'"'|\\''|'(?!"'"'|\\''))
  | "(?P<double>")
    """.replace(b"H", _HEX).replace(b"L", b"[abefnrtv]"),
    re.VERBOSE,
)
"""Matches one escape sequence."""
START = re.compile(
    rb"""
    (?: \\ (?: u (?: [dD][89abAB]HH (?: \\ (?:u[dD]?[c-fC-F]?H?)? )? | H{0,3} | \{H{0,6} )
             | U H{0,7} | x (?: H? | \{H{0,6} ) | [0-3]?[0-7]? )?
      | % H?
      | & (?: \#[xX]?H{0,13} | [A-Za-z][A-Za-z0-9]{0,9} )?
      | '{1,2} (?: "(?:'"?)? | \\'? )?
      | '\$ (?: '\\{0,4} )?
      | "
    ) \Z
    """.replace(b"H", _HEX),
    re.VERBOSE,
)
"""Matches what may be the start of an escape sequence at the end of the data."""
LONGEST = 18
"""Bytes of the longest escape sequence."""
CONTROLS = {
    b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"a": b"\a",
    b"e": b"\x1b", b"E": b"\x1b",
}  # fmt: skip
"""What ``\\n`` and the like mean in JSON, Python, C and ``$'…'``; any other character is itself."""
MERGED = bytes.maketrans(b"+", b" ")
"""A form of a URL has ``+`` for a space, so the two are one character where texts are compared."""


@attrs.frozen
class Decoded:
    """A text whose escape sequences are decoded once."""

    data: bytes
    _starts: list[int]
    """Where the escape sequences are in `data`, as are the next ones."""
    _ends: list[int]
    _source_starts: list[int]
    """Where they are in the source, as are the next ones."""
    _source_ends: list[int]
    rest: int
    """Where the source has what may be the start of an escape sequence; else its length."""

    @property
    def has_escapes(self) -> bool:
        """Whether the source has an escape sequence."""
        return bool(self._starts)

    def start(self, position: int) -> int:
        """Return where the source of the byte at *position* starts."""
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return position
        if position < self._ends[index]:
            return self._source_starts[index]
        return self._source_ends[index] + position - self._ends[index]

    def end(self, position: int) -> int:
        """Return where the source of the bytes before *position* ends; *position* is not 0."""
        index = bisect_right(self._starts, position - 1) - 1
        if index >= 0 and position <= self._ends[index]:
            return self._source_ends[index]
        return self.start(position - 1) + 1


def decode(data: bytes, *, whole: bool = True) -> Decoded:
    """Return *data* with its escape sequences decoded once, and ``+`` as a space.

    These are the ones of JSON, Python, C and POSIX shells, of URLs, HTML and XML, SQL and CSV. A
    character that has no byte of its own becomes UTF-8, and ``\\xe9`` the byte. Unless *data* is
    the *whole* text, what may be the start of an escape sequence at its end is left out.
    """
    pieces: list[bytes] = []
    starts: list[int] = []
    ends: list[int] = []
    source_starts: list[int] = []
    source_ends: list[int] = []
    length = position = 0
    rest = len(data)
    end_part = rest if whole else max(0, rest - LONGEST)
    for found in ESCAPE.finditer(data):
        start, end = found.span()
        if end > end_part and (rest := _start_of_rest(data, max(position, end_part))) <= start:
            break
        value = _value(found)
        pieces += data[position:start], value
        length += start - position
        starts.append(length)
        length += len(value)
        ends.append(length)
        source_starts.append(start)
        source_ends.append(end)
        position = end
    else:
        if not whole:
            rest = _start_of_rest(data, max(position, end_part))
    pieces.append(data[position:rest])
    text = b"".join(pieces).translate(MERGED)
    return Decoded(text, starts, ends, source_starts, source_ends, rest)


def _start_of_rest(data: bytes, position: int) -> int:
    """Return where, not before *position*, an escape sequence may start; else the length."""
    found = START.search(data, position)
    return found.start() if found else len(data)


def _value(found: re.Match[bytes]) -> bytes:
    kind, text = found.lastgroup, found[found.lastgroup or 0]
    if kind == "simple":
        return CONTROLS.get(text, text)
    if kind == "ansi":
        return b""
    if kind in ("single", "double"):
        return found[0][:1]
    if kind in ("percent", "x2"):
        return bytes([int(text, 16)])
    if kind == "octal":
        return bytes([int(text, 8)])
    if kind == "name":
        # The same if it is no name.
        return html.unescape(f"&{text.decode()};").encode()
    if kind == "low":
        high, low = int(found["high"], 16), int(text, 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).encode()
    code = int(text, 10 if kind == "number" else 16)
    return chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else b"?"
