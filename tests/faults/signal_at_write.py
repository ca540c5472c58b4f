"""The command line, with a signal before or after one of its writes; run by test_kills.

``signal_at_write.py SIGNAL before|after N ARGUMENT…`` sends the signal around the Nth write of this
process to the store. The number of writes is written to the file ``COUNT_FILE``, if set.
"""

import functools
import itertools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from worker.cli import app
from worker.store.backends.local import LocalBackend

WRITES = ("put", "put_new", "create", "sync", "delete", "sweep")


def main() -> None:
    name, when, number, *arguments = sys.argv[1:]
    sys.argv[1:] = arguments
    numbers, lock = itertools.count(1), threading.Lock()
    count = os.environ.pop("COUNT_FILE", None)
    kind: type[Any] = LocalBackend
    if "://" in os.environ["WORKER_STORE"]:
        from worker.store.backends.remote import RemoteBackend

        kind = RemoteBackend

    def send_signal() -> None:
        os.kill(os.getpid(), signal.Signals[name])

    def around(method):
        @functools.wraps(method)
        def write(*positional, **named):
            with lock:
                mine = next(numbers)
            if count:
                Path(count).write_text(str(mine))
            if mine == int(number) and when == "before":
                send_signal()
            try:
                return method(*positional, **named)
            finally:
                # Also after a write that failed, as one of the preflight does on purpose.
                if mine == int(number) and when == "after":
                    send_signal()

        return write

    for verb in WRITES:
        setattr(kind, verb, around(getattr(kind, verb)))
    app.main()


if __name__ == "__main__":
    main()
