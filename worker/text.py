"""Text rules that occur once: durations, control characters, names of secrets."""

import re
from decimal import Decimal

UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),  # U+03BC, where the line above has U+00B5
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
AMOUNT = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
DURATION = f"({AMOUNT})+"
MAX_SECONDS = Decimal(2**63 - 1) / 10**9
"""The longest duration: Go stores nanoseconds in a signed integer of 64 bits."""
MAX_DURATION_LENGTH = 64

HIDDEN = "***"
"""Replaces the value of a secret wherever it would be shown."""

SECRET_NAME = re.compile(
    r"(secrets?|passw(or)?d|passphrase|token|credentials?|authorization|signature"
    r"|(api|access|private|secret|signing)_?key)$",
    re.IGNORECASE,
)
"""Matches names of variables and log fields whose values are secrets."""

# Controls, and the marks that reorder a line of text (bidirectional overrides).
_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
_ANSI_COLOR = r"\x1b\[[0-9;]*m"
_ESCAPED = {
    (False, False): re.compile(_CONTROL),
    (True, False): re.compile(_CONTROL.replace(r"\x0a", r"\x0b")),
    (False, True): re.compile(f"{_ANSI_COLOR}|{_CONTROL}"),
}


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration in Go's syntax (``1h30m``, ``1.5s``); None if it is none.

    The syntax is that of Go's ``time.ParseDuration`` without a sign.
    """
    if len(text) > MAX_DURATION_LENGTH or not re.fullmatch(DURATION, text):
        return None
    seconds = sum(Decimal(number) * UNITS[unit] for number, unit in re.findall(AMOUNT, text))
    return float(seconds) if seconds <= MAX_SECONDS else None


def format_duration(seconds: float) -> str:
    """Return *seconds* in a form that Go and `parse_duration` accept: ``5400s``, ``1.5s``."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def escape_control(text: str, *, lines: bool = False, colors: bool = False) -> str:
    """Return *text* with control characters escaped, so that it cannot control a terminal.

    Tabs are kept; line feeds are kept with *lines*, ANSI colours with *colors*.
    """
    return _ESCAPED[lines, colors].sub(
        lambda match: match[0] if len(match[0]) > 1 else match[0].encode("unicode_escape").decode(),
        text,
    )
