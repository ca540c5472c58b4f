"""Durations as Go writes them: `10m`, `1h30m`, `1.5s`."""

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
LONGEST = Decimal(2**63 - 1) / 10**9  # Go counts nanoseconds in 64 bits
MAX_LENGTH = 64


def parse_duration(text: str) -> float | None:
    """Return the seconds that *text* means, or None if it is no positive duration."""
    if len(text) > MAX_LENGTH or not re.fullmatch(DURATION, text):
        return None
    seconds = sum(Decimal(number) * UNITS[unit] for number, unit in re.findall(AMOUNT, text))
    return float(seconds) if 0 < seconds <= LONGEST else None


def format_duration(seconds: float) -> str:
    """Return *seconds* in a form that Go and `parse_duration` read: ``5400s``, ``1.5s``."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
