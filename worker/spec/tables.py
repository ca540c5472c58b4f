"""Objects whose keys are known: a table of fields reads one, and makes its JSON Schema."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from worker.spec.problems import Place, Report
from worker.spec.shapes import WRONG, Shape, Unread, describe

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
