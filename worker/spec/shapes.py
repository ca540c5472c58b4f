"""What a value of a document may look like: each shape reads a value, and describes itself.

The same shape reads and makes the JSON Schema, so the two cannot disagree.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from worker.spec.durations import DURATION, parse_duration
from worker.spec.problems import Place, Report, quoted


class _Wrong:
    """What a shape returns for a value that it has refused."""

    def __repr__(self) -> str:
        return "WRONG"


WRONG = _Wrong()


class Shape(Protocol):
    """What a value may look like."""

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return *value* as this program keeps it, or `WRONG` after noting why in *report*."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of such a value."""


def describe(value: Any) -> str:
    """Return what *value* is, in the words of a message."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else "nothing"


@attrs.frozen
class Text:
    """Text that is not empty and, where a *form* is given, matches it as a whole."""

    form: str = ""
    meaning: str = "text"
    empty: bool = False
    private: bool = False
    """Whether the value may be a secret, which no message repeats."""

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the text."""
        found = "a value of another kind" if self.private else describe(value)
        if isinstance(value, bool | int | float):
            report.error(at, f"found {found}", f"expected {self.meaning}: put it in quotes")
        elif not isinstance(value, str):
            report.error(at, f"found {found}", f"expected {self.meaning}")
        elif not value and not self.empty:
            report.error(at, "found an empty text", f"expected {self.meaning}")
        elif self.form and not re.fullmatch(self.form, value):
            report.error(at, f"found {quoted(value)}", f"expected {self.meaning}")
        else:
            return value
        return WRONG

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        schema: dict[str, Any] = {"type": "string"}
        if self.form:
            schema["pattern"] = f"^(?:{self.form})$"
        elif not self.empty:
            schema["minLength"] = 1
        return schema


@attrs.frozen
class Flag:
    """True or false."""

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the truth value."""
        if isinstance(value, bool):
            return value
        report.error(at, f"found {describe(value)}", "expected true or false, without quotes")
        return WRONG

    def schema(self) -> dict[str, Any]:
        """Return the schema of a boolean."""
        return {"type": "boolean"}


@attrs.frozen
class Whole:
    """A whole number between two bounds.

    In quotes as well, which is how the JSON of protocol buffers writes 64 bits, and so how
    `pachctl` prints a pipeline.
    """

    least: int
    most: int

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the number."""
        number = int(value) if isinstance(value, str) and _is_decimal(value) else value
        counts = isinstance(number, int) and not isinstance(number, bool)
        if counts and self.least <= number <= self.most:
            return number
        report.error(
            at,
            f"found {describe(value)}",
            f"expected a whole number from {self.least} to {self.most}",
        )
        return WRONG

    def schema(self) -> dict[str, Any]:
        """Return the schema of an integer, or of its decimal digits."""
        return {
            "type": ["integer", "string"],
            "minimum": self.least,
            "maximum": self.most,
            "pattern": "^[0-9]{1,18}$",
        }


def _is_decimal(text: str) -> bool:
    return re.fullmatch("[0-9]{1,18}", text) is not None


@attrs.frozen
class Duration:
    """A positive duration in Go's syntax, kept in seconds."""

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the seconds."""
        seconds = parse_duration(value) if isinstance(value, str) else None
        if seconds is not None:
            return seconds
        hint = ""
        if isinstance(value, int) and not isinstance(value, bool):
            hint = f'; for {value} seconds write "{value}s"'
        report.error(
            at,
            f"found {describe(value)}",
            f'expected a positive duration such as "10m" or "1h30m"{hint}',
        )
        return WRONG

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string in Go's syntax."""
        return {"type": "string", "pattern": f"^{DURATION}$"}


@attrs.frozen
class Choice:
    """One of a few texts."""

    of: tuple[str, ...]

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the text."""
        if isinstance(value, str) and value in self.of:
            return value
        allowed = " or ".join(quoted(each) for each in self.of)
        report.error(at, f"found {describe(value)}", f"expected {allowed}")
        return WRONG

    def schema(self) -> dict[str, Any]:
        """Return the schema of an enumeration."""
        return {"type": "string", "enum": list(self.of)}


@attrs.frozen
class Items:
    """A list whose items all have one shape, kept as a tuple."""

    shape: Shape
    least: int = 0
    meaning: str = "a list"

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the items."""
        if not isinstance(value, list):
            report.error(at, f"found {describe(value)}", f"expected {self.meaning}")
            return WRONG
        if len(value) < self.least:
            report.error(at, "found an empty list", f"expected {self.meaning}")
            return WRONG
        items = [self.shape.read(item, at / index, report) for index, item in enumerate(value)]
        return WRONG if WRONG in items else tuple(items)

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array."""
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.shape.schema(), **least}


@attrs.frozen
class Texts:
    """An object of texts by free names, such as variables or labels."""

    form: str = r"[\s\S]+"
    meaning: str = "a name"
    private: bool = False

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the texts by name."""
        if not isinstance(value, dict):
            report.error(at, f"found {describe(value)}", "expected an object of texts")
            return WRONG
        texts = {}
        shape = Text(empty=True, private=self.private)
        for name, text in value.items():
            if not re.fullmatch(self.form, name):
                report.error(at / name, f"found {quoted(name)}", f"expected {self.meaning}")
            texts[name] = shape.read(text, at / name, report)
        return WRONG if WRONG in texts.values() else texts

    def schema(self) -> dict[str, Any]:
        """Return the schema of an object of strings."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.form})$"},
            "additionalProperties": {"type": "string"},
        }


@attrs.frozen
class Unread:
    """A value that is taken as it stands and read later, or never."""

    described: Mapping[str, Any] = attrs.field(factory=dict)

    def read(self, value: Any, at: Place, report: Report) -> Any:  # noqa: ARG002
        """Return the value."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return what is known of it."""
        return dict(self.described)
