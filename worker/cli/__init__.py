"""The command line.

Each group of commands has a module that is imported when one of its commands is called, so that
help and ``worker run`` start fast.
"""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit with its status."""
    # Until there is work to clean up, Ctrl-C ends the process without a traceback of an import.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker.cli import app

    app.main()


__all__ = ["main"]
