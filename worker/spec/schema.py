"""Schema of a document: shapes of values, and tables of the fields of an object."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import attrs

from worker.spec.document import Place, Report, quoted
from worker.text import DURATION, parse_duration


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
        if seconds:
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


SUGGESTIONS = 20  # comparing keys is slow, and past so many mistakes nobody reads them


@attrs.frozen
class Field:
    """One key of an object."""

    name: str
    """In camelCase; snake_case is the same key."""
    shape: Shape
    about: str
    required: bool = False
    for_scheduler: bool = False
    refused: str = ""
    """Why the key is refused, if it is; false and null mean that it is not used."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """The one or two ways to write the key."""
        snake = snake_case(self.name)
        return (self.name,) if snake == self.name else (self.name, snake)


def scheduler(name: str, about: str) -> Field:
    """Return the field of a key that only a scheduler can honour."""
    return Field(name, Unread(), about, for_scheduler=True)


def refused(name: str, why: str) -> Field:
    """Return the field of a key that is known and cannot be honoured."""
    return Field(name, Unread(), why, refused=why)


def snake_case(name: str) -> str:
    """Return a camelCase key in snake_case: ``s3Out`` is ``s3_out``."""
    return re.sub("[A-Z]", lambda match: "_" + match[0].lower(), name)


@attrs.frozen
class Record:
    """An object that was read by a table: values by camelCase key, and what went wrong."""

    at: Place
    values: Mapping[str, Any]
    places: Mapping[str, Place]
    """Where each key stands that was given and is not null, whether it was read well or not."""
    broken: bool = False
    """Whether anything in the object was refused."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return what *name* was given as, or *default* where it was left out or refused."""
        return self.values.get(name, default)

    def wrong(self, name: str) -> bool:
        """Return whether *name* was given and refused, so that nothing more is said about it."""
        return name in self.places and name not in self.values

    def place(self, name: str) -> Place:
        """Return where *name* stands, or would stand."""
        return self.places.get(name, self.at / name)


@attrs.frozen
class Table:
    """An object whose keys are known."""

    fields: tuple[Field, ...]
    _by_spelling: Mapping[str, Field] = attrs.field(init=False, repr=False)

    @_by_spelling.default
    def _spell(self) -> Mapping[str, Field]:
        return {spelling: field for field in self.fields for spelling in field.spellings}

    def read(self, value: Any, at: Place, report: Report) -> Any:
        """Return the object as a `Record`; a `Record` of nothing when it is no object."""
        before = len(report.errors)
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        if not isinstance(value, dict):
            report.error(at, f"found {describe(value)}", "expected an object")
            return Record(at, values, places, broken=True)
        for key, item in value.items():
            field = self._by_spelling.get(key)
            if field is None:
                report.error(at / key, "the key is unknown", self._suggestion(key, report))
            elif field.name in places:
                first = places[field.name].steps[-1]
                report.error(at / key, f"the key is the same as `{first}`, which is here already")
            elif item is not None and not (field.refused and item is False):
                places[field.name] = at / key
                _read_field(field, item, at / key, report, values)
        for field in self.fields:
            if field.required and field.name not in places:
                report.error(at / field.name, "the key is missing", f"expected {field.about}")
        return Record(at, values, places, broken=len(report.errors) > before)

    def _suggestion(self, key: str, report: Report) -> str:
        if len(key) > 64 or len(report.errors) > SUGGESTIONS:
            return ""
        # Spellings in the author's own style come first, so `s3out` becomes `s3Out` and not both.
        names: Collection[str] = [
            field.spellings[-1] if "_" in key else field.name
            for field in self.fields
            if not field.refused
        ]
        folded = {name.lower(): name for name in names}
        close = difflib.get_close_matches(key.lower(), folded, n=1, cutoff=0.6)
        if close:
            return f"did you mean `{folded[close[0]]}`?"
        return "known here: " + ", ".join(f"`{name}`" for name in names)

    def schema(self) -> dict[str, Any]:
        """Return the schema of an object with both spellings of each key, and no others."""
        properties: dict[str, Any] = {}
        for field in self.fields:
            if field.refused:
                continue
            about = f"For the scheduler: {field.about}" if field.for_scheduler else field.about
            shape = field.shape.schema()
            schema = {"description": about, **(shape if field.required else _or_null(shape))}
            properties |= dict.fromkeys(field.spellings, schema)
        required = [field.name for field in self.fields if field.required]
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
            **({"required": required} if required else {}),
        }


def _read_field(field: Field, item: Any, at: Place, report: Report, values: dict[str, Any]) -> None:
    if field.for_scheduler:
        report.leave_to_scheduler(at)
    elif field.refused:
        report.error(at, field.refused)
    elif (read := field.shape.read(item, at, report)) is not WRONG:
        values[field.name] = read


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    null = {"type": "null"}
    return schema if schema in ({}, null) else {"anyOf": [schema, null]}
