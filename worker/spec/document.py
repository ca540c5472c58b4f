"""Documents: JSON and YAML read with bounded size, and their errors with JSON pointers."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import yaml

from worker.errors import Invalid
from worker.text import escape_controls

MAX_PROBLEMS_IN_MESSAGE = 100
MAX_ERRORS = 1000
"""Errors of a document that are collected."""
MAX_QUOTED = 60
"""Characters of a value that a message repeats."""
MAX_POINTER = 500
"""Characters of a pointer that a message repeats."""


def quoted(text: str) -> str:
    """Quote *text* for a message: as a JSON string on one line, shortened, without controls."""
    short = text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
    return escape_controls(json.dumps(short, ensure_ascii=False))


@attrs.frozen
class Problem:
    """An error or a warning about one value of a document."""

    pointer: str
    """JSON pointer (RFC 6901) with the keys as spelled in the document; empty for its root."""
    reason: str
    """What was found, and why it is rejected."""
    expected: str = ""
    """What is accepted instead, where a message can say so."""

    def __str__(self) -> str:
        where = escape_controls(self.pointer[:MAX_POINTER]) or "the document"
        return f"{where}: {self.reason}" + (f"; {self.expected}" if self.expected else "")


class DocumentErrors(Invalid):
    """A document is invalid; *problems* lists all of its errors."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        found = f"{count} error{'s' if count > 1 else ''}"
        if count >= MAX_ERRORS:
            found = f"at least {found}"
        lines = [f"{source or 'the job document'}: {found}"]
        lines += [f"  {problem}" for problem in self.problems[:MAX_PROBLEMS_IN_MESSAGE]]
        if count > MAX_PROBLEMS_IN_MESSAGE:
            lines.append(f"  and {count - MAX_PROBLEMS_IN_MESSAGE} more")
        super().__init__("\n".join(lines))


def name_in(key: str) -> str:
    """Return *key* up to an equals sign or a colon; what follows may be the value of a variable.

    So in YAML, where ``{TOKEN=value}`` and ``{TOKEN:value}`` are keys. Messages do not repeat it.
    """
    return re.split("[=:]", key, maxsplit=1)[0]


@attrs.frozen
class Pointer:
    """A JSON pointer (RFC 6901): the keys and indices from the root to a value.

    Its text has keys as `name_in`.
    """

    steps: tuple[str | int, ...] = ()

    def __truediv__(self, step: str | int) -> "Pointer":
        return Pointer((*self.steps, step))

    def __str__(self) -> str:
        names = (name_in(step) if isinstance(step, str) else str(step) for step in self.steps)
        escaped = (name.replace("~", "~0").replace("/", "~1") for name in names)
        return "".join(f"/{step}" for step in escaped)


@attrs.define
class Report:
    """Collects the problems of one document, so that all of them are reported at once."""

    errors: list[Problem] = attrs.field(factory=list)
    warnings: list[Problem] = attrs.field(factory=list)
    for_scheduler: list[str] = attrs.field(factory=list)
    """Pointers of the keys that only a scheduler can honour."""

    def error(self, at: Pointer, reason: str, expected: str = "") -> None:
        """Add an error: the document is rejected. Beyond `MAX_ERRORS`, nothing is added."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(Problem(str(at), reason, expected))

    def warn(self, at: Pointer, reason: str, expected: str = "") -> None:
        """Add a warning: the document is accepted, but probably not meant this way."""
        self.warnings.append(Problem(str(at), reason, expected))


UNUSABLE = re.compile("[\\0\ud800-\udfff]")
SCHEMA_KEY = "$schema"
"""A key by which editors find the schema of a document. It is ignored in every object."""
MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_KEY = 1024
"""Characters of a key: pointers to all values below it repeat it."""
MAX_DIRECTIVES = 16
"""Lines of a YAML document that start like a directive. libyaml compares each with all before."""
MAX_VALUES = 100_000
"""Limit for a YAML document with its aliases expanded: one page of them can mean billions."""
MAX_CHARACTERS = MAX_BYTES
"""Limit for the strings of a YAML document with its aliases expanded, so that an alias is no way
around that of the text."""
MAX_DIGITS = 18


def _integer(text: str) -> int | float:
    # Python's int() rejects thousands of digits, and no field accepts a longer number.
    return int(text) if len(text) <= MAX_DIGITS else float(text)


# libyaml is about ten times as fast. Only its *events* are used: it builds values by recursion in
# C, where a deeply nested document overflows the stack.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DIRECTIVE = re.compile("^%", re.MULTILINE)
STRING_TAGS = ("!", "tag:yaml.org,2002:str")
# The core schema of YAML 1.2 (section 10.3), in which `yes`, `on` and `22:22` are strings. YAML 1.1
# reads booleans and base-60 integers there, which surprises authors. Hexadecimal and octal numbers
# are left out on purpose: no field needs them.
PLAIN_SCALARS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda _text: None),
    (re.compile(r"true|True|TRUE"), lambda _text: True),
    (re.compile(r"false|False|FALSE"), lambda _text: False),
    (re.compile(r"[-+]?[0-9]+"), _integer),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)


class _Unreadable(Exception):
    """The text is neither JSON nor YAML, or exceeds a limit."""

    def __init__(self, reason: str, expected: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected


JSON_COMMENTS = ("//", "/*")


class _CommentInJson(_Unreadable):
    """A text in JSON has a comment of JavaScript. One of YAML makes it YAML."""

    def __init__(self, line: int, column: int) -> None:
        super().__init__(
            f"line {line}, column {column}: JSON has no comments",
            "remove it, or write the document in YAML, whose comments start with #",
        )


@attrs.frozen
class _Pairs:
    """The members of an object in the order of the text, duplicate keys included."""

    items: list[tuple[str, Any]]


def read(text: str | bytes, report: Report) -> Any:
    """Return the value of *text* as dicts, lists and scalars.

    Returns None and adds an error to *report* if *text* is unreadable. Of duplicate keys, which are
    errors, the first value is kept.
    """
    try:
        raw = _parse(text)
    except _Unreadable as error:
        report.error(Pointer(), error.reason, error.expected)
        return None
    return _clean(raw, Pointer(), report)


def _parse(text: str | bytes) -> Any:
    try:
        data = text.encode() if isinstance(text, str) else text
        decoded = data.decode("utf-8-sig")
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise _Unreadable(f"the text is not UTF-8 ({error.reason} at {error.start})") from None
    if len(data) > MAX_BYTES:
        raise _Unreadable("the text is too long", f"the limit is {MAX_BYTES} bytes")
    start = decoded.lstrip()[:1]
    if not start:
        raise _Unreadable("the text is empty", "expected a job document in JSON or YAML")
    if start not in "{[":
        if decoded.lstrip().startswith(JSON_COMMENTS):
            before = decoded[: decoded.index(start)]
            raise _CommentInJson(before.count("\n") + 1, len(before) - before.rfind("\n"))
        return _parse_yaml(decoded)
    # The text starts like JSON. If it is not JSON it may still be YAML (a comment, a trailing
    # comma); if it is neither, the position of the JSON error helps the author more.
    try:
        return _parse_json(decoded)
    except _CommentInJson:
        # As YAML, a comment would become a part of the key or value beside it.
        raise
    except _Unreadable as error:
        try:
            return _parse_yaml(decoded)
        except _Unreadable:
            raise error from None


def _parse_json(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_Pairs, parse_int=_integer, parse_constant=_reject_constant
        )
    except json.JSONDecodeError as error:
        if text.startswith(JSON_COMMENTS, error.pos):
            raise _CommentInJson(error.lineno, error.colno) from None
        if text.startswith(("{", "["), error.pos) and _is_json(text[: error.pos]):
            raise _several() from None
        raise _Unreadable(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _too_deep() from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _several() -> _Unreadable:
    return _Unreadable("the text holds several documents", "expected one")


def _reject_constant(name: str) -> Any:
    raise _Unreadable(f"{name} is not a JSON number")


def _too_deep() -> _Unreadable:
    return _Unreadable(f"the document is nested deeper than {MAX_DEPTH} levels")


def _parse_yaml(text: str) -> Any:
    if len(DIRECTIVE.findall(text)) > MAX_DIRECTIVES:
        raise _Unreadable("the text has many lines that start with %", "expected no directives")
    try:
        return _compose(yaml.parse(text, Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _Unreadable(f"{where}{error.problem}") from None
    # PyYAML's own parser passes errors of int() and chr() on, for a version or an escape that is
    # out of range.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _Unreadable(f"neither JSON nor YAML: {str(error).splitlines()[0]}") from None


@attrs.define
class _Size:
    """How many values a part of a document has, and characters in its strings, aliases expanded."""

    values: int = 0
    characters: int = 0

    def add(self, values: int, characters: int = 0) -> None:
        """Add to both; raise _Unreadable beyond their limits."""
        self.values += values
        self.characters += characters
        if self.values > MAX_VALUES:
            raise _Unreadable(f"the document has more than {MAX_VALUES} values, aliases expanded")
        if self.characters > MAX_CHARACTERS:
            raise _Unreadable(
                f"the strings of the document have more than {MAX_CHARACTERS} characters, "
                "aliases expanded"
            )

    def since(self, before: "_Size") -> "_Size":
        """Return the size of what was added after *before*."""
        return _Size(self.values - before.values, self.characters - before.characters)


@attrs.define
class _Collection:
    """A list or an object that is being read, and its children so far."""

    is_object: bool
    anchor: str | None
    before: _Size
    """The size of the document up to it."""
    children: list[Any] = attrs.field(factory=list)

    def close(self) -> Any:
        """Return the list or the object."""
        if not self.is_object:
            return self.children
        keys, values = self.children[::2], self.children[1::2]
        return _Pairs(list(zip(map(_key, keys), values, strict=True)))


@attrs.frozen
class _Scalar:
    """A YAML scalar: a key is its text, a value is what the text resolves to."""

    text: str
    value: Any


def _key(node: Any) -> str:
    if not isinstance(node, _Scalar):
        raise _Unreadable("a key of an object is a list or an object", "expected a string")
    return node.text


def _compose(events: Iterator[Any]) -> Any:
    """Build the value of a YAML document from parser events; the stack is a list, not recursion."""
    size = _Size()
    top = _Collection(is_object=False, anchor=None, before=size)
    stack = [top]
    anchors: dict[str, tuple[Any, _Size]] = {}
    documents = 0

    def add(node: Any, anchor: str | None, before: _Size) -> None:
        stack[-1].children.append(node)
        if anchor is not None:
            anchors[anchor] = (node, size.since(before))

    for event in events:
        before = attrs.evolve(size)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _several()
        elif isinstance(event, yaml.ScalarEvent):
            size.add(1, len(event.value))
            add(_scalar(event), event.anchor, before)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise _at(event, "the alias precedes its anchor", "put a string with * in quotes")
            node, expanded = anchors[event.anchor]
            size.add(expanded.values, expanded.characters)
            add(node, None, before)
        elif isinstance(event, yaml.CollectionStartEvent):
            _reject_tag(event)
            if len(stack) > MAX_DEPTH:
                raise _too_deep()
            size.add(1)
            is_object = isinstance(event, yaml.MappingStartEvent)
            stack.append(_Collection(is_object, event.anchor, before))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            add(done.close(), done.anchor, done.before)
    return top.children[0] if top.children else None


def _at(event: Any, reason: str, expected: str) -> _Unreadable:
    """Return an error with the place of *event*, without its text, which may be a secret."""
    mark = event.start_mark
    return _Unreadable(f"line {mark.line + 1}, column {mark.column + 1}: {reason}", expected)


def _reject_tag(event: Any) -> None:
    if event.tag not in (None, "!"):
        expected = "expected plain YAML; put a string that starts with ! in quotes"
        raise _at(event, "the tag is not supported", expected)


def _scalar(event: Any) -> _Scalar:
    text = event.value
    if event.tag in STRING_TAGS or (event.tag is None and not event.implicit[0]):
        return _Scalar(text, text)
    _reject_tag(event)
    convert = next((make for form, make in PLAIN_SCALARS if form.fullmatch(text)), str)
    return _Scalar(text, convert(text))


def _clean(raw: Any, at: Pointer, report: Report) -> Any:
    """Return *raw* as dicts, lists and scalars; report duplicate keys and invalid strings."""
    raw = raw.value if isinstance(raw, _Scalar) else raw
    if isinstance(raw, str):
        return _clean_string(raw, at, report, "the string")
    if len(at.steps) > MAX_DEPTH:
        report.error(at, _too_deep().reason)
        return None
    if isinstance(raw, list):
        return [_clean(item, at / index, report) for index, item in enumerate(raw)]
    if isinstance(raw, _Pairs):
        plain: dict[str, Any] = {}
        for key, value in raw.items:
            key = _clean_string(key, at, report, "a key")
            if key == SCHEMA_KEY:
                continue
            if len(key) > MAX_KEY:
                found = f"the key {quoted(name_in(key))} has {len(key)} characters"
                report.error(at, found, f"the limit is {MAX_KEY}")
            elif key in plain:
                report.error(at / key, "duplicate key", "keep one of the two")
            else:
                plain[key] = _clean(value, at / key, report)
        return plain
    return raw


def _clean_string(text: str, at: Pointer, report: Report, what: str) -> str:
    # Neither character can be part of an argument, a variable, a path or a UTF-8 file. The text is
    # not repeated: it may be a secret.
    clean = UNUSABLE.sub("", text)
    if clean != text:
        report.error(at, f"{what} holds U+0000 or an unpaired surrogate")
    return clean
