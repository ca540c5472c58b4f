"""Python's hooks for errors that no code handles: they are logged, not printed as raw text.

A reader of the log expects one JSON object a line, and only the log redacts secrets.
"""

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def install() -> None:
    """Log what Python would print to standard error, from here to the end of the process."""
    sys.excepthook = _logging("log_uncaught", sys.__excepthook__)
    sys.unraisablehook = _logging("log_unraisable", sys.__unraisablehook__)
    threading.excepthook = _logging("log_thread_exception", threading.__excepthook__)


def _logging(name: str, default: Callable[..., object]) -> Callable[..., None]:
    """Return a hook that calls the function *name* of `worker.telemetry`."""

    def hook(*found: Any) -> None:
        # Not imported here: help and usage errors do without the log, which takes 0.1 s.
        telemetry = sys.modules.get("worker.telemetry")
        if telemetry is not None:
            # It fails before it is configured, and while the interpreter shuts down.
            with suppress(Exception):
                getattr(telemetry, name)(*found)
                return
        default(*found)

    return hook
