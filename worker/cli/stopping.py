"""Signals that end a command: before its work is done, while it publishes, and when it is too late.

A signal ends a command until its outcome is decided, and changes nothing from then on: a process
whose work was published exits with 0.
"""

import enum
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, NoReturn, TypeVar

from worker.cli import exits
from worker.errors import Cause, Interrupted

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
GRACE = 3.0
"""Seconds to tidy up. Python runs signal handlers between its own steps, and a library that waits
for an object store may take minutes for one of them."""
PUBLISHING_GRACE = 30.0
"""Seconds to finish publishing."""

T = TypeVar("T")


class Phase(enum.Enum):
    """How far a command that publishes has come."""

    WORKING = enum.auto()
    PUBLISHING = enum.auto()
    PUBLISHED = enum.auto()


class _Process:
    """What this process remembers of signals."""

    installed = False
    """Whether the handlers are ours to replace: not where the command line is only called."""
    phase = Phase.WORKING
    kept: ClassVar[list[int]] = []


class Terminated(Interrupted):
    """SIGTERM or SIGHUP arrived while a command without a run of its own was at work."""


def install() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise in the main thread, unless they are ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _Process.installed = True
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
    if not _Process.installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    if _Process.kept:
        _terminate(_Process.kept[0], None)
    _handle(_keep)
    _Process.phase = Phase.PUBLISHING
    try:
        yield
    except BaseException:
        _Process.phase = Phase.WORKING
        raise
    _Process.phase = Phase.PUBLISHED


def run_job(run: Callable[[Callable[[], None]], T]) -> T:
    """Call *run*, which starts a job that handles signals itself, with a function to call then.

    Signals that arrive before the job handles them are sent again when it does. Signals after its
    end change nothing.
    """
    if not _Process.installed:
        return run(lambda: None)
    early: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        early.append(number)

    def listening() -> None:
        # Each is sent once: after the job's end they are kept again.
        sent, early[:] = early[:], []
        for number in sent:
            os.kill(os.getpid(), number)

    _handle(keep)
    return run(listening)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _keep(number: int, _frame: FrameType | None) -> None:
    _Process.kept.append(number)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(f"stopped by {signal.Signals(number).name}")


def _exit_after_signal(received: int) -> None:
    _wait_for_signal(received)
    if _Process.phase is not Phase.WORKING:
        hurry = threading.Thread(target=_wait_for_signal, args=(received,), daemon=True)
        hurry.start()
        hurry.join(PUBLISHING_GRACE)
    if _Process.phase is not Phase.PUBLISHING:
        time.sleep(GRACE)
    exits.say(f"worker: {LAST_WORDS[_Process.phase]}")
    os._exit(Cause.STOPPED.exit_status)


LAST_WORDS = {
    Phase.WORKING: "stopped, and not tidied up; `worker gc` will do that",
    Phase.PUBLISHING: (
        "stopped while publishing; whether the commit was made is not known. "
        "Run the same command again: it finds out"
    ),
    Phase.PUBLISHED: "stopped after publishing: the commit was made and is not reported",
}


def _wait_for_signal(received: int) -> None:
    # One at a time: two signals that arrive together are two.
    while os.read(received, 1)[0] not in ENDING:
        pass
