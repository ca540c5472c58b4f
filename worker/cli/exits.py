"""What an error means to the shell: an exit status, and a report for the person who reads it."""

import platform
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click

from worker import __version__, errors
from worker.errors import Cause
from worker.text import escape_controls

OK = 0
DAMAGE_FOUND = 1
"""The command did what it could, and names what it could not do, or the damage that it found."""
READER_LEFT = 141
"""The status that a shell reports for a program terminated by SIGPIPE."""

# Outside a run, such an error is about a path that the user has named.
PATH_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def cause_of(error: BaseException) -> Cause:
    """Return the cause that *error* has when it ends a command."""
    if isinstance(error, PATH_ERRORS):
        return Cause.UNRUNNABLE
    if isinstance(error, click.ClickException):
        return Cause.INVALID
    return errors.cause_of(error)


def explain(error: BaseException) -> str:
    """Return what a person at a terminal should read of *error*, without a traceback."""
    if isinstance(error, errors.WorkerError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return (
        f"a fault of worker's own: {_one_line(error)}\n"
        f"({_origin(error)}; worker {__version__}, Python {platform.python_version()}, "
        f"{platform.system()})\nRun it again with --debug for the whole traceback."
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _origin(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(__file__).parents[1]
    ours = [frame for frame in frames if package in Path(frame.filename).parents]
    if not ours:
        return "outside this program"
    return f"{Path(ours[-1].filename).relative_to(package.parent)}:{ours[-1].lineno}"


def full_report(error: BaseException) -> str:
    """Return the traceback, for ``--debug``."""
    return "".join(traceback.format_exception(error)).rstrip()


def report(error: BaseException, *, debug: bool) -> None:
    """Report *error* in the format of the log: sentences for a user, or an event."""
    telemetry = sys.modules.get("worker.telemetry")
    if telemetry is None or telemetry.is_console():
        if debug:
            say(full_report(error))
        say(f"worker: {explain(error)}")
        return
    facts = {"exception": full_report(error)} if debug else {}
    telemetry.logger().error(
        "worker.failed", reason=explain(error), exit_code=cause_of(error).exit_status, **facts
    )


def say(text: str, *, colors: bool = False) -> None:
    """Write lines to standard error: control characters are escaped, and secrets redacted.

    With *colors*, the color sequences of a command's output are kept.

    Does nothing when standard error is closed; the exit status still reports the result.
    """
    # Nothing has registered a secret before the log is imported.
    telemetry = sys.modules.get("worker.telemetry")
    if telemetry is not None:
        text = telemetry.redact(text)
    with suppress(OSError, ValueError):
        print(escape_controls(text, keep="\t\n", colors=colors), file=sys.stderr, flush=True)
