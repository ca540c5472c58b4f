"""How a failed command ends: its exit status, and the report on standard error."""

import io
import platform
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click

from worker import __version__, errors
from worker.errors import Cause
from worker.redaction import redact
from worker.text import escape_controls, reset_colors

INCOMPLETE = 1
"""Exit status of ``get`` if some keys cannot be files, and of ``verify`` if it finds damage."""
BROKEN_PIPE = 141
"""Exit status that a shell reports for a program that SIGPIPE terminated."""
FLUSH_TIMEOUT = 2.0
"""Seconds to wait for the reader of the log after a signal."""

# Outside a run, such an error is about a path that the user has named.
PATH_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def cause_of(error: BaseException) -> Cause:
    """Return the cause of the end of a command that *error* ended."""
    if isinstance(error, click.ClickException):
        return Cause.INVALID
    if isinstance(error, PATH_ERRORS):
        return Cause.UNRUNNABLE
    return errors.cause_of(error)


def explain(error: BaseException) -> str:
    """Return the message for the user, without a traceback."""
    if isinstance(error, errors.WorkerError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if isinstance(error, OSError) and error.strerror:
        return errors.explain_os_error(error)
    text = " ".join(str(error).split())
    return (
        f"internal error: {type(error).__name__}{': ' if text else ''}{text}\n"
        f"({_origin(error)}; worker {__version__}, Python {platform.python_version()}, "
        f"{platform.system()})\nRepeat the command with --debug for the traceback."
    )


def _indented(text: str) -> str:
    """Return *text* with all lines but the first indented.

    A name with a line feed in it cannot look like a line that this program prints.
    """
    first, *others = text.split("\n")
    return "\n".join([first, *(line if line[:1] == " " else f"  {line}" for line in others)])


def _origin(error: BaseException) -> str:
    """Return file and line of the innermost frame of this program."""
    package = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if package in Path(frame.filename).parents:
            return f"{Path(frame.filename).relative_to(package.parent)}:{frame.lineno}"
    return "outside this program"


def report_error(error: BaseException, *, debug: bool) -> None:
    """Report *error* in the format of the log: as sentences, or as the event ``worker.failed``.

    With *debug*, the traceback is included.
    """
    trace = "".join(traceback.format_exception(error)).rstrip() if debug else ""
    reason = explain(error)
    shown = [*([f"worker: {trace}"] if trace else []), f"worker: {reason}"]
    _report("\n".join(map(_indented, shown)), reason, cause_of(error), trace)


def report_usage(error: click.ClickException) -> None:
    """Report an error of the command line: as text with the usage, or as ``worker.failed``."""
    shown = io.StringIO()
    error.show(shown)
    reason = error.format_message()
    # The reason may repeat an argument that looks like several lines.
    usage, label, _ = shown.getvalue().partition("Error: ")
    _report(f"{usage}{label}{escape_controls(reason)}", reason, cause_of(error))


def report_stop() -> None:
    """Report that a signal has stopped the command."""
    _report("worker: stopped", "stopped", Cause.STOPPED)


def _report(text: str, reason: str, cause: Cause, trace: str = "") -> None:
    if _log_is_text():
        _print(text)
        return
    fields = {"exception": trace} if trace else {}
    _log("worker.failed", reason=reason, exit_code=cause.exit_status, **fields)


def _log_is_text() -> bool:
    # Not imported here: help and usage errors do without the log.
    telemetry = sys.modules.get("worker.telemetry")
    return telemetry is None or telemetry.is_console()


def _log(event: str, **fields: object) -> None:
    from worker import telemetry

    telemetry.logger().error(event, **fields)


def flush(status: int) -> bool:
    """Wait until the log is written, but only seconds if a signal stopped the command.

    Return whether it is written.
    """
    telemetry = sys.modules.get("worker.telemetry")
    writer = None if telemetry is None else telemetry.line_writer()
    is_stopped = status == Cause.STOPPED.exit_status
    return writer is None or writer.flush(FLUSH_TIMEOUT if is_stopped else None)


def print_error(text: str, *, colors: bool = False) -> None:
    """Print lines to standard error, with control characters escaped and secrets redacted.

    All lines but the first are indented. With *colors*, ANSI color sequences are kept. In a log of
    JSON, the text is the event ``worker.message``. Does nothing if standard error is closed: the
    exit status still reports the result.
    """
    if not _log_is_text():
        _log("worker.message", text=text)
        return
    _print(_indented(text), colors=colors)


def _print(text: str, *, colors: bool = False) -> None:
    shown = escape_controls(redact(text), keep="\t\n", colors=colors)
    telemetry = sys.modules.get("worker.telemetry")
    if telemetry is not None and (writer := telemetry.line_writer()) is not None:
        # After the lines of the log that wait for their reader.
        writer.msg(reset_colors(shown))
        return
    with suppress(OSError, ValueError):
        print(reset_colors(shown), file=sys.stderr, flush=True)
