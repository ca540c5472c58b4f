"""Rules for text that apply everywhere: durations, numbers, terminals, secrets, kinds of files."""

import json
import re
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

# --- durations ------------------------------------------------------------------------------------

UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # U+00B5 MICRO SIGN
    "μs": Decimal("1e-6"),  # U+03BC GREEK SMALL LETTER MU
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
AMOUNT = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
DURATION = f"({AMOUNT})+"
"""Regular expression of a duration without a sign in Go's syntax (Go's ``time.ParseDuration``)."""
LONGEST_DURATION = Decimal(2**63 - 1) / 10**9
"""Seconds. Go counts nanoseconds in 64 bits."""
LONGEST_TEXT = 64


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as ``10m`` or ``1h30m``; None if *text* is none.

    The syntax is Go's. The result is zero or positive.
    """
    if len(text) > LONGEST_TEXT or not re.fullmatch(DURATION, text):
        return None
    seconds = sum(Decimal(number) * UNITS[unit] for number, unit in re.findall(AMOUNT, text))
    return float(seconds) if seconds <= LONGEST_DURATION else None


def format_duration(seconds: float) -> str:
    """Return *seconds* as ``parse_duration`` and Go read them: ``5400s``, ``1.5s``."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


# --- lists ----------------------------------------------------------------------------------------


def join_first(texts: Sequence[str], limit: int, separator: str = ", ") -> str:
    """Return the first *limit* of *texts* in a line, and the number of further ones."""
    more = len(texts) - limit
    return separator.join(texts[:limit]) + (f"{separator}and {more:,} more" if more > 0 else "")


# --- numbers --------------------------------------------------------------------------------------


def parse_integer(text: str, *, signs: str = "", digits: int = 20) -> int | None:
    """Return the integer in *text*, of at most so many ASCII *digits*; None for anything else.

    It may start with one of *signs*. ``int`` accepts spaces, underscores and the digits of all
    scripts, and takes quadratic time for many of them.
    """
    unsigned = text[1:] if signs and text.startswith(tuple(signs)) else text
    valid = unsigned.isascii() and unsigned.isdigit() and len(unsigned) <= digits
    return int(text) if valid else None


# --- terminals ------------------------------------------------------------------------------------


def shows_colors(environment: Mapping[str, str]) -> bool:
    """Whether a terminal with these variables is to show colors and styles.

    By https://no-color.org, and not on a terminal that interprets no control sequences.
    """
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def cut_to_width(text: str, columns: int) -> str:
    """Return as much of *text* as fits into *columns* of a terminal."""
    if text.isascii():
        return text[:columns]
    from wcwidth import wcwidth  # Most processes show nothing on a terminal.

    used = 0
    for index, character in enumerate(text):
        used += max(0, wcwidth(character))
        if used > columns:
            return text[:index]
    return text


# --- control characters ---------------------------------------------------------------------------

# C0 and C1 controls, line separators, bidirectional marks and overrides, invisible characters that
# separate, annotate or tag text, and lone surrogates. The joiners U+200C and U+200D stay: scripts
# and emoji need them.
_CONTROLS = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
)
_CONTROL = re.compile(f"[{_CONTROLS}]")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_./:=,@+ ]")
COLOR = re.compile(r"(\x1b\[[0-9;]*m)")
"""Matches an ANSI color sequence."""


def escape_controls(text: str, *, keep: str = "\t", colors: bool = False) -> str:
    """Return *text* with control characters escaped (``\\x1b``): it cannot drive a terminal.

    The characters in *keep* stay as they are. With *colors*, so do ANSI color sequences.
    """
    if not _CONTROL.search(text):
        return text
    if colors:
        pieces = COLOR.split(text)
        # Every second piece is a color sequence.
        pieces[::2] = [escape_controls(piece, keep=keep) for piece in pieces[::2]]
        return "".join(pieces)
    return _CONTROL.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(),
        text,
    )


def escape_json(text: str) -> str:
    """Return the text of a JSON value with control characters escaped in its strings.

    The value is the same. JSON requires an escape for a part of them only (RFC 8259, section 7).
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] == "\n" else _in_json(found[0]), text)


def _in_json(character: str) -> str:
    return json.dumps(character)[1:-1]


def shell_line(words: Iterable[str]) -> str:
    """Return a line that a shell splits into *words*, without control characters.

    A word that has some is quoted as ``$'…'`` (POSIX.1-2024; bash, zsh and ksh), any other one as
    by ``shlex``.
    """
    return " ".join(map(shell_word, words))


def shell_word(word: str) -> str:
    """Return *word* as a word of ``shell_line``."""
    if not _CONTROL.search(word):
        return shlex.quote(word)
    shown = re.sub(r"[\\']", r"\\\g<0>", word)
    return f"$'{_CONTROL.sub(_octal, shown)}'"


def export_line(name: str, value: str) -> str:
    """Return a line by which any POSIX shell exports a variable; *name* is a name for a shell.

    It is one line without control characters, also for a value that has some: ``printf`` interprets
    octal escapes in every shell, and ``$'…'`` is a part of some shells only.
    """
    if not _CONTROL.search(value):
        return f"export {name}={shlex.quote(value)}"
    # Without the point, the substitution would remove line feeds at the end.
    text = _NOT_PLAIN.sub(_octal, value)
    return f"""export {name}="$(printf '{text}.')"; {name}="${{{name}%.}}\""""


def _octal(found: re.Match[str]) -> str:
    # A byte of a name of a file that is not UTF-8, or else a surrogate that is none.
    errors = "surrogateescape" if "\udc80" <= found[0] <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in found[0].encode(errors=errors))


def reset_colors(text: str) -> str:
    """Return *text* so that the colors of a line are not those of the next one, nor remain."""
    if "\x1b" not in text:
        return text
    return "\n".join([line + "\x1b[0m" * ("\x1b" in line) for line in text.split("\n")])


# --- names of secrets -----------------------------------------------------------------------------

SECRET_NAME = re.compile(
    r"(secrets?|passw(or)?d|passphrase|token|credentials?|authorization|signature"
    r"|(account|api|access|private|secret|signing)_?key|connection_?string|(^|_)pass|_pwd)$",
    re.I,
)
"""Matches (by ``search``) the names of variables, settings and log fields whose values are secret,
such as ``AWS_SECRET_ACCESS_KEY``."""


# --- files ----------------------------------------------------------------------------------------

KINDS_OF_FILES = {
    stat.S_IFREG: "a regular file",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
}


def kind_of_file(mode: int) -> str:
    """Return a phrase for the kind of a file with this ``st_mode``."""
    kind = stat.S_IFMT(mode)
    return KINDS_OF_FILES.get(kind, f"a file of the unknown type {kind:o}")
