"""Results of datums, their counts, and the reason of a job of which some datums failed."""

from collections.abc import Mapping, Sequence

import attrs

from worker.job.recorded import recorded
from worker.text import escape_controls

MAX_DATUMS = 1000
"""Datums that a commit describes one by one; further ones are only counted."""
MAX_PATHS = 1 << 21
"""Characters of their paths and names of inputs: a commit of more could not be read again."""
MAX_REASONS = 5
"""Failed datums that the reason of a job names; further ones are only counted."""
MAX_REASON = 300
"""Characters of the reason of one datum; the log has all of it."""
MAX_NAME = 100
"""Characters of the name of a datum, which has the paths of all inputs."""


def shorten(text: str, limit: int) -> str:
    """Return *text*, or *limit* characters of its start and its end with an ellipsis between."""
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end]}…{text[-end:]}"


def _short_reason(text: str) -> str:
    return shorten(recorded(text), MAX_REASON)  # Half a secret could not be redacted.


def _recorded_paths(paths: Mapping[str, str]) -> dict[str, str]:
    return {name: recorded(path) for name, path in paths.items()}


@attrs.frozen
class DatumResult:
    """The result of one datum."""

    number: int
    """Counted from 1, in the order of processing."""
    id: str
    state: str
    """``success``, ``recovered`` or ``failure``."""
    tries: int
    seconds: float
    exit_code: int | None = None
    """The exit code of the last command; None if a signal ended it or it did not start."""
    reason: str = attrs.field(default="", converter=_short_reason)
    paths: Mapping[str, str] = attrs.field(factory=dict, converter=_recorded_paths)
    """The path of the datum in each input, by the input's name."""


@attrs.frozen
class DatumCounts:
    """The number of a run's datums in each state. Pachyderm's job info has the same counts."""

    total: int = 0
    processed: int = 0
    """Datums whose command succeeded."""
    recovered: int = 0
    """Datums whose command failed and whose error command (``errCmd``) succeeded."""
    failed: int = 0

    @property
    def not_completed(self) -> int:
        """Datums that were not started, or were interrupted by the end of the run."""
        return self.total - self.processed - self.recovered - self.failed

    def __str__(self) -> str:
        """Return ``2 of 9 datums failed (5 processed, 1 recovered, 1 not completed)``."""
        others = f"{self.processed:,} processed, {self.recovered:,} recovered"
        if self.not_completed:
            others += f", {self.not_completed:,} not completed"
        return f"{self.failed:,} of {self.total:,} datums failed ({others})"


def datum_name(number: int, paths: Mapping[str, str]) -> str:
    """Return the number of a datum with its paths, such as ``2 (labresults:/b.csv)``."""
    # Escaped, since a line feed in a path would look like the reason of another datum. Redacted
    # before it is cut.
    selected = ", ".join(
        f"{name}:{escape_controls(recorded(path), keep='')}"
        for name, path in paths.items()
        if path != "/"
    )
    return f"{number} ({shorten(selected, MAX_NAME)})" if selected else str(number)


def explain(counts: DatumCounts, failed: Sequence[DatumResult]) -> str:
    """Return the counts and the first of the *failed* datums with their reasons, in lines."""
    lines = [f"{counts}:"]
    for each in failed[:MAX_REASONS]:
        name = datum_name(each.number, each.paths)
        lines.append(f"datum {name}, id {each.id[:12]}: {each.reason}")
    if counts.failed > MAX_REASONS:
        lines.append(f"and {counts.failed - MAX_REASONS:,} more")
    return "\n".join(lines)


def described(results: Sequence[DatumResult]) -> list[DatumResult]:
    """Return as many of *results* as a commit has; those that succeeded are left out first."""
    ordered = sorted(results, key=lambda each: each.state == "success")[:MAX_DATUMS]
    chosen, size = [], 0
    for each in ordered:
        size += sum(len(name) + len(path) for name, path in each.paths.items())
        if size > MAX_PATHS:
            break
        chosen.append(each)
    return sorted(chosen, key=lambda each: each.number)
