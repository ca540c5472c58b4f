"""The command line. ``main`` is the entry point; one module has each group of commands."""

import signal
from typing import NoReturn

from worker.system import keep_private


def main() -> NoReturn:
    """Run the command line of this process and exit with its status."""
    # Every command may have credentials of the store in its environment.
    keep_private()
    # While modules are imported there is nothing to clean up: Ctrl-C ends the process without a
    # traceback. ``interrupts.install`` replaces this.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker.cli import app

    app.main()


__all__ = ["main"]
