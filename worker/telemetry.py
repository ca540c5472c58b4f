"""The structured log on standard error: lines for people on a terminal, JSON lines otherwise."""

import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from worker.lean import EventDict, FilteringBoundLogger, WrappedLogger, structlog

HIDDEN = "***"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
COLORS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}

# Facts with such names are never shown, whoever logs them.
SECRET_NAMES = re.compile(
    r"(^|_)(secret|secrets|password|token|authorization|signature|credentials|secret_key)$", re.I
)

# Shorter values would redact ordinary words and digits out of the whole log.
SHORTEST_SECRET = 4

_secrets: set[str] = set()


def hide(values: Iterable[str]) -> None:
    """Redact these values from every line that is logged from now on, in each line of a secret."""
    for value in values:
        _secrets.update(
            part for part in (value, *value.splitlines()) if len(part) >= SHORTEST_SECRET
        )


def redact(text: str) -> str:
    """Return *text* without the values that are to be hidden, the longest first."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): _fact(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


def _fact(name: str, value: Any) -> Any:
    return HIDDEN if SECRET_NAMES.search(name) and value is not None else _redacted(value)


def redact_facts(_logger: WrappedLogger, _method: str, facts: EventDict) -> EventDict:
    """Hide secrets, by name of the fact and by value, in everything that is logged."""
    return {name: _fact(name, value) for name, value in facts.items()}


# A line of somebody's program may hold anything; only tabs and colours reach the terminal.
CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return *text* with control characters written out, so that it can't drive a terminal."""
    return CONTROL.sub(
        lambda m: m[0] if len(m[0]) > 1 else m[0].encode("unicode_escape").decode(), text
    )


# People compare the beginnings of digests; the whole of one does not fit on a line.
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


WIPE = "\r\x1b[K"


class PeopleRenderer:
    """Writes ``12:00:01 info  gateway.ready  url=…``, and a program's output as ``… │ line``."""

    def __init__(self, *, colors: bool, traces: bool) -> None:
        """Write with *colors*, and with the tracebacks of errors only if *traces* are wanted."""
        self._colors = colors
        self._traces = traces

    def __call__(self, _logger: WrappedLogger, _method: str, facts: EventDict) -> str:
        """Return the line for one event; facts that the whole run shares are left out."""
        time, level = facts.pop("time"), facts.pop("level")
        event = printable(str(facts.pop("event")))
        trace = facts.pop("exception", None)
        facts.pop("job", None)
        if (line := facts.pop("line", None)) is not None:
            name = printable(str(facts.pop("stream", event)))
            return f"{self._paint('2', f'{time} {name:>6} │')} {printable(str(line))}"
        shown = "  ".join(f"{self._paint('2', name + '=')}{_word(v)}" for name, v in facts.items())
        head = f"{self._paint('2', time)} {self._paint(COLORS.get(level, '0'), f'{level:<7}')}"
        text = f"{head} {event:<22} {shown}".rstrip()
        return f"{text}\n{trace}" if trace and self._traces else text

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colors else text


def _word(value: Any) -> str:
    text = DIGEST.sub(r"\1…", printable(str(value)))
    return repr(text) if not text or (" " in text and not isinstance(value, list | dict)) else text


class LineWriter:
    """Writes lines to a stream until nobody reads them any more; a job outlives its log.

    On a terminal a status can stand below the lines: it is wiped before each and drawn again
    after it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._status = ""

    @property
    def terminal(self) -> bool:
        """Whether the stream is a terminal that can still be written to."""
        return self._stream is not None and self._stream.isatty()

    def __call__(self, *_args: Any) -> "LineWriter":
        """Return itself: structlog's factory of loggers and its one logger."""
        return self

    def msg(self, line: str) -> None:
        """Write one line, or nothing once writing has failed."""
        self._write(f"{WIPE}{line}\n{self._status}" if self._status else f"{line}\n")

    def show(self, status: str) -> None:
        """Have *status* stand below the lines, as wide as the terminal is; "" takes it away."""
        before, width = self._status, shutil.get_terminal_size().columns - 1
        self._status = printable(status)[:width]
        if before or self._status:
            self._write(WIPE + self._status)

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal was closed or the pipe's reader left. There is nowhere to say so.
            self._stream = None

    debug = info = warning = error = critical = msg


def configure(
    style: str = "auto",
    level: str = "info",
    *,
    stream: TextIO | None = None,
    traces: bool = False,
) -> None:
    """Send the log to *stream* (standard error) in the *style* console, json or auto.

    People see the traceback of an error only if *traces* are asked for; JSON always has it.
    """
    stream = stream or sys.stderr
    people = style == "console" or (style == "auto" and stream.isatty())
    colors = people and stream.isatty()
    if people:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="time")
        renderer: Any = PeopleRenderer(colors=colors, traces=traces)
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            redact_facts,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=LineWriter(stream),
        cache_logger_on_first_use=False,
    )


def for_people() -> bool:
    """Whether the log is lines for people, so that prose may stand between them."""
    if not structlog.is_configured():
        return True
    return isinstance(structlog.get_config()["processors"][-1], PeopleRenderer)


def status_line() -> LineWriter | None:
    """Return where a status can be shown; None unless a person reads the log on a terminal."""
    writer = structlog.get_config()["logger_factory"]
    return writer if isinstance(writer, LineWriter) and for_people() and writer.terminal else None


def logger() -> FilteringBoundLogger:
    """Return the logger of this program."""
    found: FilteringBoundLogger = structlog.get_logger()
    return found


def bind_job(job: str) -> None:
    """Give every event of this run its job's id, in all tasks and threads that start from here."""
    structlog.contextvars.bind_contextvars(job=job)
