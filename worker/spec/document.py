"""Documents: JSON or YAML read into plain values, and problems with their places."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import yaml

from worker.errors import Invalid
from worker.text import escape_control

SHOWN = 100  # a document of a million mistakes is not helped by a million lines
LONGEST = 60  # characters of a value that a message repeats
LONGEST_POINTER = 500


def quoted(text: str) -> str:
    """Return *text* as a message repeats it: in quotes, on one line, and not too long."""
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return escape_control(json.dumps(short, ensure_ascii=False))


@attrs.frozen
class Problem:
    """One thing to say about one place of a document."""

    pointer: str
    """A JSON pointer (RFC 6901) in the keys as the author spelled them; empty for the whole."""
    reason: str
    """What was found and why it cannot be."""
    expected: str = ""
    """What would be right, as far as that can be said."""

    def __str__(self) -> str:
        where = escape_control(self.pointer[:LONGEST_POINTER]) or "the document"
        return f"{where}: {self.reason}" + (f"; {self.expected}" if self.expected else "")


class DocumentErrors(Invalid):
    """The document is wrong; *problems* are all of its mistakes."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        lines = [f"{source or 'the job document'}: {count} mistake{'s' if count > 1 else ''}"]
        lines += [f"  {problem}" for problem in self.problems[:SHOWN]]
        if count > SHOWN:
            lines.append(f"  and {count - SHOWN} more")
        super().__init__("\n".join(lines))


@attrs.frozen
class Place:
    """Where in a document a reader stands: the keys and indices that lead there."""

    steps: tuple[str | int, ...] = ()

    def __truediv__(self, step: str | int) -> "Place":
        return Place((*self.steps, step))

    def __str__(self) -> str:
        escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)
        return "".join(f"/{step}" for step in escaped)


@attrs.define
class Report:
    """Collects what the readers of one document have to say, so that all of it is told at once."""

    errors: list[Problem] = attrs.field(factory=list)
    warnings: list[Problem] = attrs.field(factory=list)
    for_scheduler: list[str] = attrs.field(factory=list)

    def error(self, at: Place, reason: str, expected: str = "") -> None:
        """Note a mistake at *at*: what was found, and what would be right."""
        self.errors.append(Problem(str(at), reason, expected))

    def warn(self, at: Place, reason: str, expected: str = "") -> None:
        """Note something that will run, and may surprise."""
        self.warnings.append(Problem(str(at), reason, expected))

    def leave_to_scheduler(self, at: Place) -> None:
        """Note a key that is known, and that only a scheduler can honour."""
        self.for_scheduler.append(str(at))


MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000
"""Of a YAML document with its aliases written out: a page of aliases can mean billions of them."""
MAX_DIGITS = 18


def _whole(text: str) -> int | float:
    # int() of many thousand digits is refused by Python, and no field here takes a longer number.
    return int(text) if len(text) <= MAX_DIGITS else float(text)


# libyaml is about ten times as fast. Only its *events* are used: building values from them recurses
# in C, where a deeply nested document is a crash.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
STRING_TAGS = ("!", "tag:yaml.org,2002:str")
# The core schema of YAML 1.2, in which `yes`, `on` and `22:22` are text. YAML 1.1 made booleans and
# base-60 numbers of them, to nobody's joy.
PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda _text: None),
    (re.compile(r"true|True|TRUE"), lambda _text: True),
    (re.compile(r"false|False|FALSE"), lambda _text: False),
    (re.compile(r"[-+]?[0-9]+"), _whole),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)


class _Unreadable(Exception):
    """The text is neither JSON nor YAML, or more than we take; says why and what would be right."""

    def __init__(self, reason: str, expected: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected


@attrs.frozen
class _Pairs:
    """An object as it stands in the text, where a key can stand twice."""

    items: tuple[tuple[str, Any], ...]


def read(text: str | bytes, report: Report) -> Any:
    """Return the plain value that *text* holds, or None after saying in *report* why not.

    Objects become dicts. Of a key that stands twice, which is a mistake, the first value counts.
    """
    try:
        raw = _parse(_decode(text))
    except _Unreadable as error:
        report.error(Place(), error.reason, error.expected)
        return None
    return _plain(raw, Place(), report)


def _decode(text: str | bytes) -> str:
    try:
        data = text.encode() if isinstance(text, str) else text
        decoded = data.decode("utf-8-sig")
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise _Unreadable(f"the text is no UTF-8 ({error.reason} at {error.start})") from None
    if len(data) > MAX_BYTES:
        raise _Unreadable(f"the text has {len(data)} bytes", f"at most {MAX_BYTES} are read")
    if not decoded.strip():
        raise _Unreadable("the text is empty", "expected a job document in JSON or YAML")
    return decoded


def _parse(text: str) -> Any:
    # What begins like JSON is read as JSON; when that fails it may still be YAML (a comment, a
    # trailing comma), and if it is not, the mistake in the JSON is the one to tell.
    if text.lstrip()[0] not in "{[":
        return _parse_yaml(text)
    try:
        return _parse_json(text)
    except _Unreadable as error:
        try:
            return _parse_yaml(text)
        except _Unreadable:
            raise error from None


def _parse_json(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: _Pairs(tuple(pairs)),
            parse_int=_whole,
            parse_constant=_no_number,
        )
    except json.JSONDecodeError as error:
        raise _Unreadable(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _too_deep() from None


def _no_number(name: str) -> Any:
    raise _Unreadable(f"{name} is no number that JSON knows")


def _too_deep() -> _Unreadable:
    return _Unreadable(f"the document is nested deeper than {MAX_DEPTH} levels")


def _parse_yaml(text: str) -> Any:
    try:
        return _build(yaml.parse(text, Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _Unreadable(f"{where}{error.problem}") from None
    # The slower reader of PyYAML lets the errors of int() and chr() through, for a version or an
    # escape that is out of all range.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _Unreadable(f"neither JSON nor YAML: {str(error).splitlines()[0]}") from None


@attrs.define
class _Open:
    """A list or an object that has begun, and the nodes below it so far."""

    is_object: bool
    anchor: str | None
    children: list[Any] = attrs.field(factory=list)
    nodes: int = 1

    def close(self) -> Any:
        if not self.is_object:
            return list(self.children)
        keys, values = self.children[::2], self.children[1::2]
        return _Pairs(tuple(zip(map(_key, keys), values, strict=True)))


@attrs.frozen
class _Scalar:
    """A scalar as it stands in the text: as a key it is that text, as a value what it means."""

    text: str
    value: Any


def _key(node: Any) -> str:
    if not isinstance(node, _Scalar):
        raise _Unreadable("a key of an object is a list or an object", "expected text")
    return node.text


def _build(events: Iterator[Any]) -> Any:
    top = _Open(is_object=False, anchor=None)
    stack = [top]
    anchors: dict[str, tuple[Any, int]] = {}
    documents = 0

    def add(node: Any, nodes: int, anchor: str | None) -> None:
        stack[-1].children.append(node)
        stack[-1].nodes += nodes
        if anchor is not None:
            anchors[anchor] = (node, nodes)
        # Every list below the top counts here while it is open, so that a bomb stops as it is lit.
        if sum(each.nodes for each in stack) > MAX_NODES:
            raise _Unreadable(f"the document has more than {MAX_NODES} values, aliases included")

    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Unreadable("the text holds several documents", "expected one")
        elif isinstance(event, yaml.ScalarEvent):
            add(_scalar(event), 1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise _Unreadable(f"the alias *{event.anchor} comes before its anchor")
            node, nodes = anchors[event.anchor]
            add(node, nodes, None)
        elif isinstance(event, yaml.CollectionStartEvent):
            _refuse_tag(event)
            if len(stack) > MAX_DEPTH:
                raise _too_deep()
            stack.append(_Open(isinstance(event, yaml.MappingStartEvent), event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            add(done.close(), done.nodes, done.anchor)
    return top.children[0] if top.children else None


def _refuse_tag(event: Any) -> None:
    if event.tag not in (None, "!"):
        raise _Unreadable(f"the tag {quoted(event.tag)} is not read", "expected plain YAML")


def _scalar(event: Any) -> _Scalar:
    text = event.value
    if event.tag in STRING_TAGS or (event.tag is None and not event.implicit[0]):
        return _Scalar(text, text)
    _refuse_tag(event)
    return _Scalar(text, next((make(text) for form, make in PLAIN if form.fullmatch(text)), text))


def _plain(raw: Any, at: Place, report: Report) -> Any:
    """Return *raw* as dicts, lists and scalars; notes keys that stand twice and impossible text."""
    raw = raw.value if isinstance(raw, _Scalar) else raw
    if isinstance(raw, str):
        return _text(raw, at, report)
    if len(at.steps) > MAX_DEPTH:
        report.error(at, _too_deep().reason)
        return None
    if isinstance(raw, list):
        return [_plain(item, at / index, report) for index, item in enumerate(raw)]
    if isinstance(raw, _Pairs):
        plain: dict[str, Any] = {}
        for key, value in raw.items:
            key = _text(key, at, report)
            if key in plain:
                report.error(at / key, "the key stands here twice", "keep one of the two")
            else:
                plain[key] = _plain(value, at / key, report)
        return plain
    return raw


def _text(text: str, at: Place, report: Report) -> str:
    # Neither can be part of an argument, a variable, a path or a UTF-8 file.
    clean = "".join(c for c in text if c != "\0" and not "\ud800" <= c <= "\udfff")
    if clean != text:
        report.error(at, f"the text {quoted(clean)} holds U+0000 or half of a surrogate pair")
    return clean
