"""What a run came to, told to a person, to a pipe, and to ``--result``."""

from pathlib import Path
from types import TracebackType

import click

from worker import telemetry
from worker.cli import exits
from worker.cli import terminal as output
from worker.errors import Cause
from worker.job.result import Result
from worker.job.state import State

TAIL = 20
"""How many of the last lines of a failed command are repeated."""


class ResultFile:
    """The file of ``--result``: written however the run ends, also when it could not begin.

    It is opened first, so that a run of hours does not end at a path that can't be written. It is
    written in place, since a pod's termination log is a mount that nothing can be renamed over.
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
            self.write(_not_begun(error))
        self._file.close()

    def write(self, result: Result) -> None:
        """Write the result; a disk that is full by now is told, and does not change the outcome."""
        if self._file is None:
            return
        try:
            self._file.write(result.to_text() + "\n")
            self._file.flush()
        except OSError as error:
            exits.say(f"worker: --result: {exits.explain(error)}")


def _not_begun(error: BaseException) -> Result:
    cause = exits.cause_of(error)
    state = State.KILLED if cause is Cause.STOPPED else State.UNRUNNABLE
    reason = error.format_message() if isinstance(error, click.ClickException) else None
    return Result(job="", state=state, cause=cause, reason=reason or exits.explain(error))


def report(result: Result, *, as_json: bool) -> None:
    """Print the output commit, or say why there is none."""
    if as_json:
        output.print_json(result.to_json())
    elif result.output is not None and result.exit_code == 0:
        _print_output(result)
    if result.exit_code != 0:
        _say_failure(result)


def _print_output(result: Result) -> None:
    output.print_line(str(result.output))
    if not output.on_terminal():
        return
    took = output.duration(result.finished - result.started)
    output.print_line(
        f"{output.number(result.files, 'file')}, {output.size(result.size)}, in {took}"
        + (f" ({result.cause.value})" if result.cause is not Cause.PUBLISHED else "")
    )


def _say_failure(result: Result) -> None:
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
        exits.say("The last lines of the command:")
        for line in tail:
            exits.say(f"  │ {line}", colors=True)
    exits.say(f"worker: {result.reason or result.cause.value}")
    if result.kept is not None:
        exits.say(f"What it wrote is kept: worker ls {result.kept}")
    if result.cause is Cause.INTERNAL:
        exits.say("Run it again with --debug for the whole traceback.")
    elif result.cause.retryable:
        exits.say("Another try may succeed.")
