"""Signals that end a command: before its work is done, while it publishes, and afterwards.

A signal ends a command until its result is decided and has no effect from then on: a process whose
work was published exits with status 0.
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

from worker.cli import failures
from worker.errors import Cause, Interrupted

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
GRACE_PERIOD = 3.0
"""Seconds to clean up. Python runs signal handlers between two of its instructions, and one call of
an object-store client may take minutes."""
PUBLISHING_GRACE_PERIOD = 30.0
"""Seconds to finish publishing."""

T = TypeVar("T")


class Phase(enum.Enum):
    """Progress of a command that publishes a commit."""

    WORKING = enum.auto()
    PUBLISHING = enum.auto()
    PUBLISHED = enum.auto()


class _Process:
    """The signal state of this process."""

    installed = False
    """Whether this process is the command line, so that its handlers may be replaced."""
    phase = Phase.WORKING
    deferred: ClassVar[list[int]] = []


class Terminated(Interrupted):
    """SIGTERM or SIGHUP arrived in a command that does not run a job."""


def install() -> None:
    """Raise an exception in the main thread on SIGINT, SIGTERM and SIGHUP, unless ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _Process.installed = True
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup, SIGHUP is ignored and the command outlives its terminal.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _terminate)


def ignore() -> None:
    """Ignore the signals that end a process, since its exit status is decided."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def exit_after_grace_period() -> None:
    """Exit soon after the first signal even if a library does not return to Python.

    Nothing happens in a process that only calls the command line.
    """
    if not _Process.installed:
        return
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    threading.Thread(target=_exit_after_signal, args=(receive,), daemon=True).start()


@contextmanager
def deferring_signals() -> Iterator[None]:
    """Defer signals while a commit is published and its branch is moved.

    They stay deferred after the block, since the work is done. The block is entered again only if
    another writer moved the branch; a signal that was deferred by then ends the command.
    """
    if not _Process.installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    if _Process.deferred:
        _terminate(_Process.deferred[0], None)
    _set_handler(_defer)
    _Process.phase = Phase.PUBLISHING
    try:
        yield
    except BaseException:
        _Process.phase = Phase.WORKING
        raise
    _Process.phase = Phase.PUBLISHED


def raising_signals() -> None:
    """Handle signals as before `deferring_signals`: there is more work to do.

    Raises at once if a signal was deferred.
    """
    if _Process.installed and _Process.phase is Phase.PUBLISHED:
        _Process.phase = Phase.WORKING
        _set_handler(_terminate)
        if _Process.deferred:
            _terminate(_Process.deferred[0], None)


def run_job(run: Callable[[Callable[[], None]], T]) -> T:
    """Call *run*, which starts a job that handles signals itself, and return its result.

    *run* is passed a function to call once the job handles signals: earlier ones are sent again
    then. Signals after the end of the job have no effect.
    """
    if not _Process.installed:
        return run(lambda: None)
    early: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        early.append(number)

    def handles_signals() -> None:
        # Each is sent once: after the end of the job they are kept again.
        sent, early[:] = early[:], []
        for number in sent:
            os.kill(os.getpid(), number)

    _set_handler(keep)
    return run(handles_signals)


def _set_handler(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _defer(number: int, _frame: FrameType | None) -> None:
    _Process.deferred.append(number)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(f"stopped by {signal.Signals(number).name}")


def _exit_after_signal(received: int) -> None:
    _wait_for_signal(received)
    if _Process.phase is not Phase.WORKING:
        second = threading.Thread(target=_wait_for_signal, args=(received,), daemon=True)
        second.start()
        second.join(PUBLISHING_GRACE_PERIOD)
    if _Process.phase is not Phase.PUBLISHING:
        time.sleep(GRACE_PERIOD)
    failures.say(f"worker: {MESSAGES[_Process.phase]}")
    os._exit(Cause.STOPPED.exit_code)


MESSAGES = {
    Phase.WORKING: "stopped without cleaning up; `worker gc` removes what is left",
    Phase.PUBLISHING: (
        "stopped while publishing; whether the commit was made is unknown. "
        "Run the same command again to find out"
    ),
    Phase.PUBLISHED: "stopped after publishing: the commit was made and is not reported",
}


def _wait_for_signal(received: int) -> None:
    # One byte at a time: two signals that arrive together are two.
    while os.read(received, 1)[0] not in ENDING:
        pass
