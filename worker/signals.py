"""The signals that end a command in order, and those that a run forwards to its command."""

import signal
from collections.abc import Iterable

STOP_SIGNALS = frozenset(
    {
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        # Limits and timers that were set for this process: by default they end it at once.
        signal.SIGXCPU,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
    }
)
FORWARDED_SIGNALS = frozenset({signal.SIGUSR1, signal.SIGUSR2})


def not_ignored(numbers: Iterable[signal.Signals]) -> set[signal.Signals]:
    """Return those of *numbers* that this process does not ignore.

    A signal that was ignored when the process started stays ignored, as ``nohup`` requires.
    """
    return {number for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
