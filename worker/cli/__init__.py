"""The command line: what a person types, and what it answers.

Each group of commands has a module that is imported when one of its commands is called, so that
help and ``worker run`` start fast.
"""

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit status."""
    # Until there is something to end in order, a Ctrl-C just ends the process, and no traceback
    # tells of what was being imported.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker.cli import streams

    streams.prepare()
    if sys.argv[1:2] == ["run"]:
        # Nearly every job is served, and to wait for its gateway is most of what a short one costs.
        from worker.gateway import launch

        launch.begin()
    from worker.cli import app

    app.main()


__all__ = ["main"]
