"""What is wrong with a document: each problem with its place, the reason and what would be right."""

from collections.abc import Iterable

import attrs

from worker.errors import Invalid


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
        where = self.pointer or "the document"
        return f"{where}: {self.reason}" + (f"; {self.expected}" if self.expected else "")


class DocumentErrors(Invalid):
    """The document is wrong; *problems* are all of its mistakes, in the order of its text."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        title = f"{source or 'the job document'}: {count} mistake{'s' if count > 1 else ''}"
        super().__init__("\n".join([title, *(f"  {problem}" for problem in self.problems)]))


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
