"""The log of a command's output: its lines, and at a bounded rate lines that have no end yet."""

from collections.abc import Callable

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from worker.log_stream import waiting_for_reader
from worker.redaction import Redactor
from worker.supervisor.output import OutputHandler

UNFINISHED_INTERVAL = 10.0
"""Seconds between two events of lines without an end, such as the states of a progress bar."""


@attrs.define
class UnfinishedLog:
    """Logs lines without an end, at a bounded rate."""

    _log: FilteringBoundLogger
    _clock: Callable[[], float]
    """The current time in seconds."""
    _logged: dict[str, str] = attrs.field(factory=dict, init=False)
    """The line of each stream that was logged last."""
    _next: float = attrs.field(default=0.0, init=False)

    def show(self, stream: str, line: str) -> None:
        """Log the present state of the line of *stream*, unless it was logged or is empty."""
        if not line:
            self._logged.pop(stream, None)
        elif line != self._logged.get(stream) and self._clock() >= self._next:
            self._next = self._clock() + UNFINISHED_INTERVAL
            self._logged[stream] = line
            self._log.info("command.output", stream=stream, text=line, unfinished=True)


def log_output(
    log: FilteringBoundLogger, redactor: Redactor, show_unfinished: Callable[[str], None]
) -> OutputHandler:
    """Return a handler that logs the output of a command.

    *show_unfinished* is called with each line without an end, again and again while it is there.
    """
    unfinished = UnfinishedLog(log, trio.current_time)

    def log_lines(stream: str, lines: list[str]) -> None:
        # A command that prints faster than its log is read is held back.
        with waiting_for_reader():
            log.info("command.output", stream=stream, text="\n".join(lines))

    lines: dict[str, str] = {}

    def show(stream: str, line: str) -> None:
        if line != lines.get(stream):
            lines.pop(stream, None)
            lines[stream] = line
        # Of two streams, the line that has changed last.
        show_unfinished(next((each for each in reversed(lines.values()) if each), ""))
        unfinished.show(stream, line)

    return OutputHandler(log_lines, redactor, show)
