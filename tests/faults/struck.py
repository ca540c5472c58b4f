"""The command line, sent a signal before or after one of its writes; run by test_kills.

``struck.py SIGNAL before|after N ARGUMENT…``: the signal is sent around the Nth write to the store
by this process. With ``STRUCK_COUNT`` set, the number of writes is written to that file at exit.
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
    count = os.environ.pop("STRUCK_COUNT", None)
    kind: type[Any] = LocalBackend
    if "://" in os.environ["WORKER_STORE"]:
        from worker.store.backends.remote import RemoteBackend

        kind = RemoteBackend

    def strike() -> None:
        os.kill(os.getpid(), signal.Signals[name])

    def around(method):
        @functools.wraps(method)
        def write(*positional, **named):
            with lock:
                mine = next(numbers)
            if count:
                Path(count).write_text(str(mine))
            if mine == int(number) and when == "before":
                strike()
            try:
                return method(*positional, **named)
            finally:
                # Also after one that was refused, as a preflight expects.
                if mine == int(number) and when == "after":
                    strike()

        return write

    for verb in WRITES:
        setattr(kind, verb, around(getattr(kind, verb)))
    app.main()


if __name__ == "__main__":
    main()
