"""What an error means to the shell: an exit status, and a report for the person who reads it."""

import errno
import platform
import re
import sys
import traceback
from pathlib import Path

from worker import __version__, errors
from worker.config import InvalidConfig

OK = 0
SOMETHING_FOUND = 1
"""The command did what it could, and names what it could not do, or the damage that it found."""
WRONG = 64
MISSING = 66
UNAVAILABLE = 69
OUR_FAULT = 70
NOT_WRITTEN = 73
STOPPED = 75
MISCONFIGURED = 78
READER_LEFT = 141
"""What a shell reports of a program that SIGPIPE ended."""

# The most specific first; the first match wins.
EXIT_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (InvalidConfig, MISCONFIGURED),
    (errors.Misconfigured, MISCONFIGURED),
    (errors.Invalid, WRONG),
    (errors.NotFound, MISSING),
    (errors.Unavailable, UNAVAILABLE),
    (errors.Denied, UNAVAILABLE),
    (errors.Conflict, NOT_WRITTEN),
    (errors.CommandFailed, 10),
    (errors.Interrupted, STOPPED),
    (KeyboardInterrupt, STOPPED),
    (FileNotFoundError, MISSING),
    (NotADirectoryError, MISSING),
    (IsADirectoryError, MISSING),
    (PermissionError, MISSING),
    (OSError, UNAVAILABLE),
)

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


def exit_status(error: BaseException) -> int:
    """Return the exit status for *error*; what nobody raised on purpose is a fault of our own."""
    if getattr(error, "errno", None) in FULL:
        return NOT_WRITTEN
    return next((status for kind, status in EXIT_STATUS if isinstance(error, kind)), OUR_FAULT)


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


# A name in an error may be anybody's. Lines and tabs are all that an error needs.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """Return *text* with control characters written out, colours too; lines stay lines."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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
    """Tell what went wrong, in the form of the log: sentences for people, or an event."""
    telemetry = sys.modules.get("worker.telemetry")
    if telemetry is None or telemetry.for_people():
        if debug:
            say(full_report(error))
        say(f"worker: {harmless(explain(error))}")
        return
    facts = {"exception": full_report(error)} if debug else {}
    telemetry.logger().error(
        "worker.failed", reason=explain(error), exit_code=exit_status(error), **facts
    )


def say(text: str) -> None:
    """Write to standard error, or nowhere when it is closed."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # The terminal is gone; the exit status still tells.
        return
