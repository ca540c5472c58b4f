"""The command line, with a signal at a chosen moment; run by test_interrupts.

``signal_at_moment.py MOMENT SIGNAL ARGUMENT…``: at the moment, the process sends the signal to
itself.
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


class AtFinalization:
    """Sends a signal when Python has restored the default of signals that have a handler."""

    kill, pid = staticmethod(os.kill), os.getpid()

    def __init__(self, number: signal.Signals) -> None:
        self.number = int(number)

    def __del__(self) -> None:
        self.kill(self.pid, self.number)


finalized: list[AtFinalization] = []


def main() -> None:
    moment, name, *arguments = sys.argv[1:]
    sys.argv[1:] = arguments

    def send_signal() -> None:
        os.kill(os.getpid(), signal.Signals[name])

    def before(function):
        def wrapped(*positional, **named):
            send_signal()
            return function(*positional, **named)

        return wrapped

    def after(function):
        def wrapped(*positional, **named):
            found = function(*positional, **named)
            send_signal()
            return found

        return wrapped

    def at_commit(when):
        real = LocalBackend.put_new

        def put_new(backend, name, data):
            if "/commits/" in name and when == "before":
                send_signal()
            if "/commits/" in name and when == "twice":
                send_signal()
                send_signal()
                threading.Event().wait()
            if "/commits/" in name and when == "without end":
                interrupts.PUBLISHING_GRACE = 0.01
                send_signal()
                threading.Event().wait()
            real(backend, name, data)
            if "/commits/" in name and when == "after":
                send_signal()
            if "/branches/" in name and when == "branch":
                send_signal()

        LocalBackend.put_new = put_new

    if moment == "before the job":
        # Before the job handles signals itself.
        interrupts.handing_over_signals = before(interrupts.handing_over_signals)
    elif moment == "before trio":
        trio.run = before(trio.run)
    elif moment == "after trio":
        trio.run = after(trio.run)
    elif moment == "while writing the result":
        from worker.cli.result_file import ResultFile

        ResultFile.write = before(ResultFile.write)
    elif moment == "while printing":
        from worker.cli import terminal as output

        output.print_line = before(output.print_line)
    elif moment == "again while printing":
        from worker.cli import terminal as output

        at_commit("after")
        enforced = threading.Event()
        failures.print_error = lambda *_, **__: enforced.set()
        interrupts.GRACE = 60.0
        print_line = output.print_line

        def print_line_later(line):
            send_signal()
            # With a second signal that counts, the exit would be immediate.
            assert not enforced.wait(1)
            print_line(line)

        output.print_line = print_line_later  # type: ignore[assignment]  # replaces the function
    elif moment == "after the job handles signals":
        real = trio.open_signal_receiver

        @contextlib.contextmanager
        def receiver(*numbers):
            try:
                with real(*numbers) as signals:
                    yield signals
            finally:
                send_signal()

        trio.open_signal_receiver = receiver
    elif moment == "while an error is reported":
        failures.report_error = before(failures.report_error)
    elif moment == "when the status is decided":
        interrupts.ignore = after(interrupts.ignore)
    elif moment == "at exit":
        atexit.register(send_signal)
    elif moment == "while Python finalizes":
        finalized.append(AtFinalization(signal.Signals[name]))
    elif moment.startswith("commit: "):
        at_commit(moment.partition(": ")[2])
    app.main()


if __name__ == "__main__":
    main()
