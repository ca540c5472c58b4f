"""Signals that end a command: before its work is done, while it publishes, and when it is too late.

A signal ends a command until its outcome is decided, and changes nothing from then on: a process
whose work was published exits with 0.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

from worker.cli import exits
from worker.errors import Interrupted

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
GRACE = 3.0
"""Seconds to tidy up. Python runs signal handlers between its own steps, and a library that waits
for an object store may take minutes for one of them."""
PUBLISHING_GRACE = 30.0
"""Seconds to finish publishing."""

T = TypeVar("T")

_publishing = threading.Event()


class Terminated(Interrupted):
    """SIGTERM or SIGHUP arrived while a command without a run of its own was at work."""


def install() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise in the main thread, unless they are ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup, the end of the terminal is not the end of the command.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _terminate)


def too_late() -> None:
    """Ignore what would end the process, whose exit status is decided, to its very end."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def insist() -> None:
    """Exit soon after the first signal even if a library does not return to Python."""
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    threading.Thread(target=_exit_after_signal, args=(receive,), daemon=True).start()


@contextmanager
def deferring_signals() -> Iterator[None]:
    """Keep signals while a commit is published and its branch moved: they come too late.

    After the block they are kept as well, since the work is done. Only if the branch was moved by
    another writer is the block entered again; a signal that was kept by then ends the command.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _publishing.is_set():
        if _kept:
            _terminate(_kept[0], None)
    else:
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _keep)
        _publishing.set()
    try:
        yield
    except BaseException:
        _publishing.clear()
        raise


def run_job(run: Callable[[Callable[[], None]], T]) -> T:
    """Call *run*, which starts a job that handles signals itself, with a function to call then.

    Signals that arrive before the job handles them are sent again when it does. Signals after its
    end change nothing.
    """
    early: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        early.append(number)

    def listening() -> None:
        while early:
            os.kill(os.getpid(), early.pop(0))

    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, keep)
    return run(listening)


_kept: list[int] = []


def _keep(number: int, _frame: FrameType | None) -> None:
    _kept.append(number)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(f"stopped by {signal.Signals(number).name}")


def _exit_after_signal(received: int) -> None:
    _wait_for_signal(received)
    if not _publishing.is_set():
        time.sleep(GRACE)
        exits.say("worker: stopped, and not tidied up; `worker gc` will do that")
        os._exit(exits.STOPPED)
    hurry = threading.Thread(target=_wait_for_signal, args=(received,), daemon=True)
    hurry.start()
    hurry.join(PUBLISHING_GRACE)
    exits.say(
        "worker: stopped while publishing; whether the commit was made is not known. "
        "Run the same command again: it finds out"
    )
    os._exit(exits.STOPPED)


def _wait_for_signal(received: int) -> None:
    while not ENDING & set(os.read(received, 64)):
        pass
