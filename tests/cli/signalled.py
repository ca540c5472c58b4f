"""The command line, sent a signal at a chosen moment; run by test_signals.

``signalled.py MOMENT SIGNAL ARGUMENT…``: moments are places in this program where the signal is
sent to the process itself.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading

import trio

from worker.cli import app, failures, interrupts
from worker.store.backends.local import LocalBackend


def main() -> None:
    moment, name, *arguments = sys.argv[1:]
    sys.argv[1:] = arguments

    def strike() -> None:
        os.kill(os.getpid(), signal.Signals[name])

    def before(function):
        def struck(*positional, **named):
            strike()
            return function(*positional, **named)

        return struck

    def after(function):
        def struck(*positional, **named):
            found = function(*positional, **named)
            strike()
            return found

        return struck

    def at_commit(when):
        real = LocalBackend.put_new

        def put_new(backend, name, data):
            if "/commits/" in name and when == "before":
                strike()
            if "/commits/" in name and when == "twice":
                strike()
                strike()
                threading.Event().wait()
            if "/commits/" in name and when == "for ever":
                interrupts.PUBLISHING_GRACE = 0.01
                strike()
                threading.Event().wait()
            real(backend, name, data)
            if "/commits/" in name and when == "after":
                strike()
            if "/branches/" in name and when == "branch":
                strike()

        LocalBackend.put_new = put_new

    if moment == "at import":
        # What a run does before it handles signals itself.
        interrupts.run_job = before(interrupts.run_job)
    elif moment == "before trio":
        trio.run = before(trio.run)
    elif moment == "after trio":
        trio.run = after(trio.run)
    elif moment == "while writing the result":
        from worker.cli.results import ResultFile

        ResultFile.write = before(ResultFile.write)
    elif moment == "while printing":
        from worker.cli import terminal as output

        output.print_line = before(output.print_line)
    elif moment == "again while printing":
        from worker.cli import terminal as output

        at_commit("after")
        insisted = threading.Event()
        failures.print_error = lambda *_, **__: insisted.set()
        interrupts.GRACE = 60.0
        print_line = output.print_line

        def print_line_later(line):
            strike()
            # What must not happen would happen at once.
            assert not insisted.wait(1)
            print_line(line)

        output.print_line = print_line_later  # type: ignore[assignment]  # replaces the function
    elif moment == "when the job hears no more":
        real = trio.open_signal_receiver

        @contextlib.contextmanager
        def receiver(*numbers):
            try:
                with real(*numbers) as signals:
                    yield signals
            finally:
                strike()

        trio.open_signal_receiver = receiver
    elif moment == "while reporting an error":
        failures.report_error = before(failures.report_error)
    elif moment == "when all is done":
        interrupts.ignore = after(interrupts.ignore)
    elif moment == "at exit":
        atexit.register(strike)
    elif moment.startswith("commit: "):
        at_commit(moment.partition(": ")[2])
    app.main()


if __name__ == "__main__":
    main()
