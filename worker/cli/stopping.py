"""Being stopped while something is waited for that does not hear of signals."""

import os
import signal
import threading
import time

from worker.cli import exits

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
GRACE = 3.0
"""Seconds to tidy up. Python hears a signal between its own steps, and a library that waits for an
object store may take minutes for one of them."""


def insist() -> None:
    """End this process soon after it was asked to end, whatever it is waiting for."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_end_after_signal, args=(heard,), daemon=True).start()


def _end_after_signal(heard: int) -> None:
    while not ENDING & set(os.read(heard, 64)):
        pass
    time.sleep(GRACE)
    exits.say("worker: stopped, and not tidied up; `worker gc` will do that")
    os._exit(exits.STOPPED)
