"""The result of a run on standard output and standard error."""

from worker import telemetry
from worker.cli import failures
from worker.cli import terminal as output
from worker.cli.summary import NextCommands, fields, summary
from worker.config import Config
from worker.errors import Cause
from worker.job.result import Result
from worker.redaction import redact

LAST_LINES = 20
"""Lines of a failed command that are repeated in the report."""


def print_result(
    result: Result, settings: Config, *, next_commands: NextCommands, as_json: bool = False
) -> None:
    """Print the output commit, or report why there is none, and a summary of the run.

    The output commit is the only line on standard output, so that a program can read it. The
    summary is on standard output only if that is a terminal, and otherwise a part of the log.
    """
    if as_json:
        output.print_json(result.to_json())
    elif result.output is not None and result.exit_code == 0:
        output.print_line(str(result.output))
    if result.exit_code != 0:
        _report_failure(result, settings, next_commands)
    elif result.output is not None:
        _summarize(result, settings, next_commands, prints=output.on_terminal() and not as_json)


def _summarize(
    result: Result, settings: Config, next_commands: NextCommands, *, prints: bool
) -> None:
    """Report the summary of a run that succeeded, in the log unless it *prints* it."""
    if not telemetry.is_console():
        telemetry.logger().info(
            "worker.succeeded",
            commit=str(result.output),
            branch=result.branch,
            files=result.files,
            size=result.size,
            **fields(result, next_commands, store=settings.store),
        )
    if not prints and not telemetry.is_console():
        return
    for line in summary(result, next_commands, store=settings.store):
        if prints:
            output.print_line(redact(line))
        else:
            failures.print_error(line)


def _report_failure(result: Result, settings: Config, next_commands: NextCommands) -> None:
    """Report a failed run in the format of the log."""
    lines = result.log_tail[-LAST_LINES:]
    reason = result.reason or result.cause.value
    if not telemetry.is_console():
        telemetry.logger().error(
            "worker.failed",
            reason=reason,
            cause=result.cause.value,
            last_lines=lines,
            kept=str(result.kept) if result.kept else None,
            **fields(result, next_commands, store=settings.store),
        )
        return
    # The log above ends with them, unless its level hides them or other datums followed.
    is_hidden = settings.log.level not in ("debug", "info")
    if lines and (is_hidden or result.datum_counts.total > 1):
        failures.print_error("Last lines of the command:")
        for line in lines:
            failures.print_error(f"  │ {line}", colors=True)
    failures.print_error(f"worker: {reason}")
    if result.cause is Cause.INTERNAL:
        failures.print_error("Repeat the command with --debug for the traceback.")
    elif result.cause.retryable and result.cause is not Cause.STOPPED:
        failures.print_error("A retry may succeed.")
    for line in summary(result, next_commands, store=settings.store):
        failures.print_error(line)
