"""What is wrong with a document: each mistake by its place, why, and what would be right."""

import json
from collections.abc import Iterable

import attrs

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
