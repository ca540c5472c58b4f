"""Errors and warnings of a document, each with a JSON pointer, a reason and what is expected."""

import json
from collections.abc import Iterable

import attrs

from worker.errors import Invalid
from worker.text import escape_controls

MAX_PROBLEMS_IN_MESSAGE = 100
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
        lines = [f"{source or 'the job document'}: {count} error{'s' if count > 1 else ''}"]
        lines += [f"  {problem}" for problem in self.problems[:MAX_PROBLEMS_IN_MESSAGE]]
        if count > MAX_PROBLEMS_IN_MESSAGE:
            lines.append(f"  and {count - MAX_PROBLEMS_IN_MESSAGE} more")
        super().__init__("\n".join(lines))


@attrs.frozen
class Pointer:
    """A JSON pointer (RFC 6901): the keys and indices from the root to a value."""

    steps: tuple[str | int, ...] = ()

    def __truediv__(self, step: str | int) -> "Pointer":
        return Pointer((*self.steps, step))

    def __str__(self) -> str:
        escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)
        return "".join(f"/{step}" for step in escaped)


@attrs.define
class Report:
    """Collects the problems of one document, so that all of them are reported at once."""

    errors: list[Problem] = attrs.field(factory=list)
    warnings: list[Problem] = attrs.field(factory=list)
    for_scheduler: list[str] = attrs.field(factory=list)
    """Pointers of the keys that only a scheduler can honour."""

    def error(self, at: Pointer, reason: str, expected: str = "") -> None:
        """Add an error: the document is rejected."""
        self.errors.append(Problem(str(at), reason, expected))

    def warn(self, at: Pointer, reason: str, expected: str = "") -> None:
        """Add a warning: the document is accepted, but probably not meant this way."""
        self.warnings.append(Problem(str(at), reason, expected))
