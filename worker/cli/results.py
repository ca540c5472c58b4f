"""The result of a run: on standard output, on standard error, and in the file of ``--result``."""

from pathlib import Path
from types import TracebackType

import click

from worker import telemetry
from worker.cli import failures
from worker.cli import terminal as output
from worker.errors import Cause
from worker.job.result import Result
from worker.job.state import State
from worker.redaction import redact

LAST_LINES = 20
"""Lines of a failed command that are repeated in the report."""


class ResultFile:
    """The file of ``--result``. It gets a result however the run ends, also if it never starts.

    The file is opened first, so that a run of hours does not end at a path that cannot be written.
    It is written in place, since a pod's termination log is a mount that cannot be renamed over.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w", encoding="utf-8") if path else None

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        if error is not None:
            self.write(_not_started(error))
        self._file.close()

    def write(self, result: Result) -> None:
        """Write *result*. An error, such as a full disk, is reported and does not change it."""
        if self._file is None:
            return
        try:
            self._file.write(result.to_text() + "\n")
            self._file.flush()
        except OSError as error:
            failures.print_error(f"worker: --result: {failures.explain(error)}")


def _not_started(error: BaseException) -> Result:
    """Return the result of a run that *error* ended before it started."""
    cause = failures.cause_of(error)
    state = State.KILLED if cause is Cause.STOPPED else State.UNRUNNABLE
    reason = error.format_message() if isinstance(error, click.ClickException) else None
    reason = redact(reason or failures.explain(error))
    return Result(job="", state=state, cause=cause, reason=reason)


def print_result(result: Result, *, as_json: bool) -> None:
    """Print the output commit, or report why there is none."""
    if as_json:
        output.print_json(result.to_json())
    elif result.output is not None and result.exit_code == 0:
        output.print_line(str(result.output))
        if output.on_terminal():
            took = output.duration(result.finished - result.started)
            output.print_line(
                f"{output.number(result.files, 'file')}, {output.size(result.size)}, in {took}"
                + (f" ({result.cause.value})" if result.cause is not Cause.PUBLISHED else "")
            )
    if result.exit_code != 0:
        _report_failure(result)


def _report_failure(result: Result) -> None:
    """Report a failed run in the format of the log."""
    lines = result.log_tail[-LAST_LINES:]
    reason = result.reason or result.cause.value
    if not telemetry.is_console():
        telemetry.logger().error(
            "worker.failed",
            reason=reason,
            cause=result.cause.value,
            exit_code=result.exit_code,
            last_lines=lines,
            kept=str(result.kept) if result.kept else None,
        )
        return
    if lines:
        failures.print_error("Last lines of the command:")
        for line in lines:
            failures.print_error(f"  │ {line}", colors=True)
    failures.print_error(f"worker: {reason}")
    if result.kept is not None:
        failures.print_error(f"Its output is kept: worker ls {result.kept}")
    if result.cause is Cause.INTERNAL:
        failures.print_error("Repeat the command with --debug for the traceback.")
    elif result.cause.retryable:
        failures.print_error("A retry may succeed.")
