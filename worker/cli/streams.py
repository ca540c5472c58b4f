"""The standard streams as a command needs them, whatever it was started with."""

import os
import sys


def prepare() -> None:
    """See to it that the three streams are there, and that anything can be printed on them.

    A stream that was closed leads nowhere. Left closed, its number would go to the next file that
    is opened, a file of the store perhaps, and what is printed would land in there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115
    # A key is Unicode, and a terminal or a pipe may be told to speak less.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def working_directory() -> str | None:
    """Return why there is no working directory; None if there is one."""
    try:
        os.getcwd()
    except OSError as error:
        return f"the working directory: {error.strerror} (it was removed?); cd to one that is there"
    return None
