"""The result of a run: printed, logged, and written to the file of ``--result``."""

from pathlib import Path
from types import TracebackType

import click

from worker import telemetry
from worker.cli import failures, terminal
from worker.errors import Cause, cause_of
from worker.job.result import Result
from worker.job.state import State
from worker.text import escape_control

TAIL = 20
"""How many of the last lines of a failed command are printed."""


class ResultFile:
    """The file of ``--result``: written whether the run succeeds, fails or cannot start.

    It is opened first, so that a run of hours does not fail at a path that is not writable. It is
    written in place: the termination log of a pod is a mount, which cannot be replaced by a rename.
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
        """Write the result; a full disk is reported and does not change the exit status."""
        if self._file is None:
            return
        try:
            self._file.write(result.to_text() + "\n")
            self._file.flush()
        except OSError as error:
            failures.say(f"worker: --result: {failures.describe(error)}")


def _not_started(error: BaseException) -> Result:
    if isinstance(error, click.ClickException):
        cause, reason = Cause.INVALID, error.format_message()
    else:
        cause, reason = cause_of(error), failures.describe(error)
    state = State.KILLED if cause is Cause.STOPPED else State.UNRUNNABLE
    return Result(job="", state=state, cause=cause, reason=reason)


def report(result: Result, *, as_json: bool) -> None:
    """Print the output commit, or report why there is none."""
    if as_json:
        terminal.print_json(result.to_json())
    elif result.output is not None and result.exit_code == 0:
        terminal.print_line(str(result.output))
        if terminal.is_terminal():
            took = terminal.format_seconds(result.finished - result.started)
            terminal.print_line(
                f"{terminal.format_count(result.files, 'file')}, "
                f"{terminal.format_size(result.size)}, in {took}"
                + (f" ({result.cause.value})" if result.cause is not Cause.PUBLISHED else "")
            )
    if result.exit_code != 0:
        _report_failure(result)


def _report_failure(result: Result) -> None:
    tail = result.log_tail[-TAIL:]
    if not telemetry.is_console():
        telemetry.logger().error(
            "worker.failed",
            reason=result.reason or result.cause.value,
            cause=result.cause.value,
            exit_code=result.exit_code,
            last_lines=tail,
            kept=str(result.kept) if result.kept else None,
        )
        return
    if tail:
        failures.say("The last lines of the command:")
        for line in tail:
            failures.say(f"  │ {escape_control(line, colors=True)}")
    failures.say(f"worker: {escape_control(result.reason or result.cause.value, lines=True)}")
    if result.kept is not None:
        failures.say(f"Its output is kept: worker ls {result.kept}")
    if result.cause is Cause.INTERNAL:
        failures.say("Run it again with --debug for the traceback.")
    elif result.cause.retryable:
        failures.say("A retry may succeed.")
