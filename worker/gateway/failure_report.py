"""The failure of the store or the gateway that a request met, reported to the job in a file.

A client sees only a status, which its program turns into an exit code of its own. The job reads the
report to tell such a failure from one of the command.
"""

import os
from contextlib import suppress
from pathlib import Path

import attrs

from worker.errors import Cause, cause_of


@attrs.frozen
class FailureReport:
    """Why the gateway could not answer a valid request."""

    cause: Cause
    reason: str


def write_report(path: Path, error: BaseException) -> None:
    """Write a report of *error* to *path*, unless it has an earlier one; ignore a full disk."""
    if path.exists():
        return
    cause = cause_of(error)
    if cause is Cause.UNRUNNABLE:
        cause = Cause.UNAVAILABLE  # what a request did not find was in the store at the start
    # Renamed, since several processes report at once, and the job may read at any moment.
    written = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        written.write_text(f"{cause.name}\n{error}", encoding="utf-8", errors="backslashreplace")
        written.replace(path)


def read_report(path: Path) -> FailureReport | None:
    """Return the report in the file *path*; None if there is none."""
    try:
        cause, _, reason = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return None
    return FailureReport(Cause[cause], reason)
