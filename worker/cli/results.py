"""The result of a run on standard output and standard error."""

import attrs

from worker import telemetry
from worker.cli import failures
from worker.cli import terminal as output
from worker.errors import Cause
from worker.job.result import Result

LAST_LINES = 20
"""Lines of a failed command that are repeated in the report."""


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
                + (f" ({_cause(result)})" if result.cause is not Cause.PUBLISHED else "")
            )
    if result.exit_code != 0:
        _report_failure(result)


def _cause(result: Result) -> str:
    """Return the cause of a success, with the number of recovered datums out of several."""
    counts = result.datum_counts
    if result.cause is Cause.RECOVERED and counts.total > 1:
        return f"{counts.recovered:,} of {counts.total:,} datums recovered"
    return str(result.cause.value)


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
            datum_counts=attrs.asdict(result.datum_counts),
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
