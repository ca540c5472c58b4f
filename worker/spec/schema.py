"""Schemas of the values in a document: each one parses a value and produces its JSON Schema.

One definition serves both, so that the parser and the published JSON Schema cannot disagree.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

import attrs

from worker.spec.document import SCHEMA_KEY, Pointer, Report, name_in, quoted
from worker.text import DURATION, parse_duration

MAX_SUGGESTIONS = 20
"""Errors up to which unknown keys get a suggestion, since comparing keys is slow."""
DECIMAL = r"[0-9]{1,18}(\.0+)?"
MAX_COMPARED = 64
"""Characters of a key up to which it gets a suggestion."""


class _Invalid:
    """Type of `INVALID`."""

    def __repr__(self) -> str:
        return "INVALID"


INVALID: Final = _Invalid()
"""Returned in place of a value that was rejected; the report then has an error."""


class Schema(Protocol):
    """The accepted form of one value."""

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the parsed *value*, or `INVALID` after adding an error to *report*."""

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""


def describe(value: Any, *, private: bool = False) -> str:
    """Return a phrase for *value* in an error message, without a *private* value itself."""
    if isinstance(value, str):
        return "a string" if private else f"the string {quoted(value)}"
    if isinstance(value, bool):
        return "a boolean" if private else f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return "a number" if private else f"the number {value}"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else "null"


@attrs.frozen
class String:
    """A string; not empty unless allowed, and a full match of *pattern* where one is given."""

    pattern: str = ""
    meaning: str = "a string"
    empty: bool = False
    private: bool = False
    """Whether the value may be a secret, which a message must not repeat."""

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the string."""
        if (
            isinstance(value, str)
            and (value or self.empty)
            and (not self.pattern or re.fullmatch(self.pattern, value))
        ):
            return value
        found = "an empty string" if value == "" else describe(value, private=self.private)
        hint = ": put it in quotes" if isinstance(value, bool | int | float) else ""
        report.error(at, f"found {found}", f"expected {self.meaning}{hint}")
        return INVALID

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        schema: dict[str, Any] = {"type": "string"}
        if self.pattern:
            schema["pattern"] = f"^(?:{self.pattern})$"
        elif not self.empty:
            schema["minLength"] = 1
        return schema


@attrs.frozen
class Boolean:
    """True or false."""

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the boolean."""
        if isinstance(value, bool):
            return value
        report.error(at, f"found {describe(value)}", "expected true or false, without quotes")
        return INVALID

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of a boolean."""
        return {"type": "boolean"}


@attrs.frozen
class Integer:
    """An integer in a closed interval, as a number or as a string of decimal digits.

    The JSON mapping of protocol buffers writes 64-bit integers as strings, and `pachctl` prints
    pipelines in it. It also reads numbers such as 3.0.
    """

    least: int
    most: int

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the integer."""
        is_decimal = isinstance(value, str) and re.fullmatch(DECIMAL, value)
        number = int(value.partition(".")[0]) if is_decimal else value
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        is_integer = isinstance(number, int) and not isinstance(number, bool)
        if is_integer and self.least <= number <= self.most:
            return number
        report.error(
            at, f"found {describe(value)}", f"expected an integer from {self.least} to {self.most}"
        )
        return INVALID

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of an integer or of its decimal digits."""
        return {
            "type": ["integer", "string"],
            "minimum": self.least,
            "maximum": self.most,
            "pattern": f"^{DECIMAL}$",
        }


@attrs.frozen
class Duration:
    """A positive duration in Go's syntax, parsed to seconds."""

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
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
        return INVALID

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of a string in Go's syntax."""
        return {"type": "string", "pattern": f"^{DURATION}$"}


@attrs.frozen
class Enumeration:
    """One of a few strings."""

    values: tuple[str, ...]

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the string."""
        if isinstance(value, str) and value in self.values:
            return value
        allowed = " or ".join(quoted(each) for each in self.values)
        report.error(at, f"found {describe(value)}", f"expected {allowed}")
        return INVALID

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of an enumeration."""
        return {"type": "string", "enum": list(self.values)}


@attrs.frozen
class Array:
    """A list of values of one schema, parsed to a tuple."""

    items: Schema
    least: int = 0
    meaning: str = "a list"
    private: bool = False
    """Whether a value of another type may be a secret, which the error must not repeat."""

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the items."""
        if not isinstance(value, list) or len(value) < self.least:
            found = "an empty list" if value == [] else describe(value, private=self.private)
            report.error(at, f"found {found}", f"expected {self.meaning}")
            return INVALID
        items = [self.items.parse(item, at / index, report) for index, item in enumerate(value)]
        return INVALID if INVALID in items else tuple(items)

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of an array."""
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.items.json_schema(), **least}


@attrs.frozen
class StringMap:
    """An object of strings with free keys, such as environment variables or labels."""

    key_pattern: str = r"[\s\S]+"
    key_meaning: str = "a name"
    private: bool = False
    """Whether the values may be secrets."""

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the strings by key."""
        if not isinstance(value, dict):
            found = describe(value, private=self.private)
            report.error(at, f"found {found}", "expected an object of strings")
            return INVALID
        parsed = {}
        schema = String(empty=True, private=self.private)
        for key, item in value.items():
            if not re.fullmatch(self.key_pattern, key):
                name = name_in(key)
                sign = {"": "", "=": " and an equals sign", ":": " and a colon"}
                found = f"{quoted(name)}{sign[key[len(name) : len(name) + 1]]}"
                report.error(at / key, f"found {found}", f"expected {self.key_meaning}")
            parsed[key] = schema.parse(item, at / key, report)
        return INVALID if INVALID in parsed.values() else parsed

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of an object of strings."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.key_pattern})$"},
            "additionalProperties": {"type": "string"},
        }


@attrs.frozen
class Anything:
    """Any value, returned unparsed; *described* is its JSON Schema where one is known."""

    described: Mapping[str, Any] = attrs.field(factory=dict)

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:  # noqa: ARG002 - a schema has these
        """Return *value*."""
        return value

    def json_schema(self) -> dict[str, Any]:
        """Return the known schema, or the empty schema."""
        return dict(self.described)


@attrs.frozen
class Field:
    """One key of an object."""

    name: str
    """In camelCase; the same name in snake_case is the same key."""
    schema: Schema = Anything()
    about: str = ""
    required: bool = False
    for_scheduler: bool = False
    """Whether only a scheduler can honour the key, so that its value is not parsed."""
    rejected: str = ""
    """Why the key is rejected, if it has a value; an empty object is one if the schema is `Object`.
    """
    snake_name: str = attrs.field(init=False)

    @snake_name.default
    def _in_snake_case(self) -> str:
        return re.sub("([A-Z])", r"_\1", self.name).lower()


ZERO_VALUES: list[Any] = [None, False, 0, "", [], {}]
"""Values that mean that an optional key was not given."""


def is_zero(value: Any, schema: Schema) -> bool:
    """Whether *value* means that its key was not given, as the zero values of proto3 do.

    These are null, false, 0, the empty string, list and object. Pachyderm reads pipelines as
    protocol buffers and prints them with such values. An object of a schema is parsed, and is then
    empty: protocol buffers distinguish an empty message from none, such as `"spout": {}`.
    """
    if isinstance(value, dict):
        return not value and not isinstance(schema, Object)
    return not value or (value == "0" and isinstance(schema, Integer))


@attrs.frozen
class Record:
    """A parsed object: its valid values by camelCase key."""

    at: Pointer = attrs.field(factory=Pointer)
    values: Mapping[str, Any] = attrs.field(factory=dict)
    pointers: Mapping[str, Pointer] = attrs.field(factory=dict)
    """Where each key is that has a value, valid or not."""
    valid: bool = True
    """Whether no value in the object was rejected."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of *name*, or *default* if it is absent or was rejected."""
        return self.values.get(name, default)

    def pointer(self, name: str) -> Pointer:
        """Return where *name* is, or where it would be."""
        return self.pointers.get(name, self.at / name)


@attrs.frozen
class Object:
    """An object with known keys, parsed to a `Record`."""

    fields: tuple[Field, ...]
    private: bool = False
    """Whether a value of another type may be a secret, which the error must not repeat."""
    _by_spelling: Mapping[str, Field] = attrs.field(init=False, repr=False)

    @_by_spelling.default
    def _index(self) -> Mapping[str, Field]:
        return {name: field for field in self.fields for name in (field.name, field.snake_name)}

    def parse(self, value: Any, at: Pointer, report: Report) -> Any:
        """Return the record; of a value that is not an object, an invalid record without values."""
        before = len(report.errors)
        values: dict[str, Any] = {}
        pointers: dict[str, Pointer] = {}
        if not isinstance(value, dict):
            report.error(at, f"found {describe(value, private=self.private)}", "expected an object")
            return Record(at, values, pointers, valid=False)
        for key, item in value.items():
            field = self._by_spelling.get(key)
            if field is None:
                report.error(at / key, "unknown key", self._suggestion(key, report))
            elif field.name in pointers:
                first = pointers[field.name].steps[-1]
                report.error(at / key, f"duplicate of `{first}`, which is the same key")
            elif item is not None and (field.required or not is_zero(item, field.schema)):
                pointers[field.name] = at / key
                if field.for_scheduler:
                    report.for_scheduler.append(str(at / key))
                    values[field.name] = item
                elif field.rejected:
                    report.error(at / key, field.rejected)
                elif (parsed := field.schema.parse(item, at / key, report)) is not INVALID:
                    values[field.name] = parsed
        for field in self.fields:
            if field.required and field.name not in pointers:
                report.error(at / field.name, "missing key", f"expected {field.about}")
        return Record(at, values, pointers, valid=len(report.errors) == before)

    def _suggestion(self, key: str, report: Report) -> str:
        if len(key) > MAX_COMPARED or len(report.errors) > MAX_SUGGESTIONS:
            return ""
        # In the author's own style: `s3out` suggests `s3Out`, `s3_output` suggests `s3_out`.
        names = [
            field.snake_name if "_" in key else field.name
            for field in self.fields
            if not field.rejected
        ]
        folded = {name.lower(): name for name in names}
        close = difflib.get_close_matches(key.lower(), folded, n=1, cutoff=0.6)
        if close:
            return f"did you mean `{folded[close[0]]}`?"
        return "known keys: " + ", ".join(f"`{name}`" for name in names)

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of an object with both spellings of each key, and no others."""
        properties: dict[str, Any] = {SCHEMA_KEY: {"description": "ignored"}}
        for field in self.fields:
            about = f"For the scheduler: {field.about}" if field.for_scheduler else field.about
            schema = {} if field.rejected else field.schema.json_schema()
            # An object with keys of its own may require some of them.
            zeros = ZERO_VALUES[:-1] if isinstance(field.schema, Object) else ZERO_VALUES
            if field.rejected or schema == {"type": "null"}:
                about, schema = field.rejected or about, {"enum": zeros}
            elif not field.required and schema:
                schema = {"anyOf": [schema, {"enum": zeros}]}
            described = {"description": about, **schema}
            properties |= {field.name: described, field.snake_name: described}
        required = [field.name for field in self.fields if field.required]
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
            **({"required": required} if required else {}),
        }
