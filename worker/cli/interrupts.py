"""Signals that stop a command: while it works, while it publishes, and after its result is decided.

A signal stops a command until its result is decided, and has no effect afterwards: a process that
has published its work exits with 0.
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
from worker.signals import FORWARDED_SIGNALS, STOP_SIGNALS, not_ignored

GRACE = 3.0
"""Seconds for clean-up after a signal. Python runs signal handlers between bytecodes only, and a
library that waits for an object store may not return for minutes."""
PUBLISHING_GRACE = 30.0
"""Seconds to finish publishing after a signal."""

T = TypeVar("T")


class Phase(enum.Enum):
    """The progress of a command that publishes."""

    WORKING = enum.auto()
    PUBLISHING = enum.auto()
    PUBLISHED = enum.auto()


class _Process:
    """The state of signal handling in this process."""

    installed = False
    """Whether this module may replace signal handlers; not if the command line is only called."""
    phase = Phase.WORKING
    deferred: ClassVar[list[int]] = []


class Terminated(Interrupted):
    """A signal other than SIGINT stopped a command that runs no job."""


def install() -> None:
    """Make stop signals raise in the main thread, unless they are ignored, as SIGHUP by nohup."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _Process.installed = True
    for number in not_ignored(STOP_SIGNALS - {signal.SIGINT}):
        signal.signal(number, _terminate)
    for number in not_ignored(FORWARDED_SIGNALS):
        # For the command of a job. Before it runs and in other commands, they have no effect.
        signal.signal(number, _disregard)


def ignore() -> None:
    """Ignore stop signals until the process exits, because its exit status is decided."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def exit_at_signal(status: int) -> None:
    """Make a signal end the wait for a reader of the log, with the exit status that is decided."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(status))


def enforce() -> None:
    """Exit some seconds after a signal even if a library does not return to Python."""
    if not _Process.installed:
        return
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    threading.Thread(target=_exit_after_signal, args=(receive,), daemon=True).start()


@contextmanager
def deferring_signals() -> Iterator[None]:
    """Defer signals while a commit is published and its branch moved.

    They stay deferred after the block, since the work is done. If another writer has moved the
    branch, the block is entered again; a signal deferred by then stops the command.
    """
    if not _Process.installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    if _Process.deferred:
        _terminate(_Process.deferred[0], None)
    _handle(_defer)
    _Process.phase = Phase.PUBLISHING
    try:
        yield
    except BaseException:
        _Process.phase = Phase.WORKING
        raise
    _Process.phase = Phase.PUBLISHED


@contextmanager
def publishing_step() -> Iterator[None]:
    """Defer signals as ``deferring_signals`` does, for a commit after which the command continues.

    A signal that arrives in the block stops the command at its end: the commit is complete, and
    what the command does next has not started.
    """
    with deferring_signals():
        yield
    if not _Process.installed or threading.current_thread() is not threading.main_thread():
        return
    _Process.phase = Phase.WORKING
    _handle(_terminate)
    if _Process.deferred:
        _terminate(_Process.deferred.pop(0), None)


def handing_over_signals(run: Callable[[Callable[[], None]], T]) -> T:
    """Call *run*, which starts a job with signal handlers of its own.

    *run* gets a function to call once these handlers are installed. Signals that arrived earlier
    are then sent again. Signals after the end of the job have no effect.
    """
    if not _Process.installed:
        return run(lambda: None)
    early: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        early.append(number)

    def ready() -> None:
        # Each signal is sent once. After the end of the job, signals are collected again.
        sent, early[:] = early[:], []
        for number in sent:
            os.kill(os.getpid(), number)

    _handle(keep)
    return run(ready)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in not_ignored(STOP_SIGNALS):
        signal.signal(number, handler)


def _disregard(_number: int, _frame: FrameType | None) -> None:
    pass


def _defer(number: int, _frame: FrameType | None) -> None:
    _Process.deferred.append(number)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(f"stopped by {signal.Signals(number).name}")


MESSAGES = {
    Phase.WORKING: "stopped without clean-up; `worker gc` removes what is left",
    Phase.PUBLISHING: (
        "stopped while publishing; it is unknown whether the commit exists. "
        "Repeat the same command to find out"
    ),
    Phase.PUBLISHED: "stopped after publishing: the commit exists and is not reported",
}


def _exit_after_signal(received: int) -> None:
    """Exit the process after a signal and a grace period, or two signals while it publishes."""
    _wait_for_signal(received)
    if _Process.phase is not Phase.WORKING:
        second = threading.Thread(target=_wait_for_signal, args=(received,), daemon=True)
        second.start()
        second.join(PUBLISHING_GRACE)
    if _Process.phase is not Phase.PUBLISHING:
        time.sleep(GRACE)
    failures.print_error(f"worker: {MESSAGES[_Process.phase]}")
    os._exit(Cause.STOPPED.exit_status)


def _wait_for_signal(received: int) -> None:
    # One byte at a time: two signals that arrive together count as two.
    while os.read(received, 1)[0] not in STOP_SIGNALS:
        pass
