"""Errors reported on the command line: the message, and the exit status of a failed command."""

import platform
import sys
import traceback
from pathlib import Path

from worker import __version__
from worker.errors import WorkerError, cause_of
from worker.text import escape_control

OK = 0
INCOMPLETE = 1
"""The command completed, and reported what it could not do or the damage that it found."""
BROKEN_PIPE = 141
"""128 + SIGPIPE, as a shell reports it."""


def describe(error: BaseException) -> str:
    """Return the message of *error* for a terminal, without a traceback."""
    if isinstance(error, WorkerError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if isinstance(error, OSError) and error.strerror:
        path = f"{error.filename}: " if error.filename else ""
        return f"{path}{error.strerror}"
    text = " ".join(str(error).split())
    summary = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return (
        f"internal error: {summary}\n"
        f"({_origin(error)}; worker {__version__}, Python {platform.python_version()}, "
        f"{platform.system()})\nRun the command again with --debug for the traceback."
    )


def _origin(error: BaseException) -> str:
    """Return the file and line of this package that *error* passed last."""
    package = Path(__file__).parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if package in Path(frame.filename).parents]
    if not ours:
        return "outside of worker"
    return f"{Path(ours[-1].filename).relative_to(package.parent)}:{ours[-1].lineno}"


def report(error: BaseException, *, debug: bool) -> None:
    """Report *error* in the style of the log: a message for people, or an event.

    With *debug*, the traceback is included.
    """
    trace = "".join(traceback.format_exception(error)).rstrip() if debug else ""
    telemetry = sys.modules.get("worker.telemetry")
    if telemetry is None or telemetry.is_console():
        if debug:
            say(trace)
        say(f"worker: {escape_control(describe(error), lines=True)}")
        return
    fields = {"exception": trace} if debug else {}
    telemetry.logger().error(
        "worker.failed", reason=describe(error), exit_code=cause_of(error).exit_code, **fields
    )


def say(text: str) -> None:
    """Write a line to standard error; do nothing if it is closed."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # The terminal is closed; the exit status still reports the result.
        return
