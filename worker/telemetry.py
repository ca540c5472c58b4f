"""The structured log on standard error: text on a terminal, JSON lines otherwise.

Every line passes through one pipeline: events of this program, records of the standard library's
``logging`` (through which the web server logs), Python warnings, and uncaught exceptions. The
pipeline redacts secrets last, just before rendering.
"""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from textwrap import indent
from types import TracebackType
from typing import Any, TextIO

import attrs
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from worker.line_writer import LineWriter
from worker.log_stream import LogStream, mark_in_text
from worker.redaction import HIDDEN, redact, redact_bytes
from worker.text import SECRET_NAME, escape_controls, reset_colors, shows_colors

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
COLORS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}
FRAME = ("time", "level", "event", "exception")
"""Field names that the renderers look for."""
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
"""A SHA-256 in hexadecimal; on a terminal its first 12 digits are shown."""
RECURRING_INTERVAL = 60.0
"""Seconds between two lines of an event that recurs."""
MANY_REASONS = 20
"""Reasons of an error that are logged separately."""

# --- redaction ------------------------------------------------------------------------------------


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(k)): _redact_field(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return redact(str(redact_bytes(bytes(value))))
    return redact(str(value))


def _redact_field(name: str, value: Any) -> Any:
    if value is not None and SECRET_NAME.search(name):
        return HIDDEN
    return _redact_value(value)


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact secrets in all fields of *event*, by the name of a field and by its value.

    A processor of structlog.
    """
    frame = {name: event[name] for name in ("time", "level") if name in event}
    # All names and values in the order of the event, the frame as it is.
    fields = {
        name if name in FRAME else redact(name): _redact_field(name, value)
        for name, value in event.items()
    }
    return fields | frame


# --- rendering ------------------------------------------------------------------------------------


OUTPUT = "command.output"
"""The event of a command's output. Its field ``text`` has one or more lines of the same ``stream``;
``unfinished`` marks a line that has no end yet."""
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Return an event as a line of JSON, and a command's output as one such line per line of it.

    A processor of structlog.
    """
    frame = {name: event.pop(name) for name in ("time", "level", "event") if name in event}
    if frame.get("event") != OUTPUT or "text" not in event:
        return _encode({**frame, **event})
    lines = str(event.pop("text")).split("\n")
    # A command may print millions of lines: what they share is encoded once.
    shared = _encode({**frame, **event})[:-1]
    return "\n".join([f'{shared},"line":{_encode(line)}}}' for line in lines])


def _mark_in_json(lines: int) -> str:
    """Return the event that tells how many *lines* of the log are missing before it."""
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return _encode({"time": time, "level": "warning", "event": "log.lines_dropped", "lines": lines})


def drop_unfinished(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop a line without an end, since a status line shows it: a processor of structlog."""
    if event.get("unfinished"):
        raise structlog.DropEvent
    return event


class ConsoleRenderer:
    """Renders ``12:00:01 info  gateway.ready  url=…``, and the command's output as ``… │ line``.

    Before a line that has no end yet, there is a broken bar (``┆``).
    """

    def __init__(self, *, colors: bool, tracebacks: bool) -> None:
        self._colors = colors
        self._tracebacks = tracebacks

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        """Return the line of one event, without the fields that all events of a run share."""
        time, level = event.pop("time"), event.pop("level")
        name = escape_controls(str(event.pop("event")))
        trace = event.pop("exception", None)
        event.pop("job", None)
        if name == OUTPUT and "text" in event:
            return self._output(time, event)
        fields = "  ".join(
            f"{self._paint('2', escape_controls(k, keep='') + '=')}{_field(v)}"
            for k, v in event.items()
        )
        head = f"{self._paint('2', time)} {self._paint(COLORS.get(level, '0'), f'{level:<7}')}"
        text = f"{head} {name:<22} {fields}".rstrip()
        if trace and self._tracebacks:
            text += "\n" + indent(escape_controls(trace, keep="\t\n"), "  ")
        return text

    def _output(self, time: str, event: EventDict) -> str:
        stream, bar = escape_controls(str(event["stream"])), "┆" if "unfinished" in event else "│"
        head = self._paint("2", f"{time} {stream:>6} {bar}")
        # The command may print colors, and nothing else that drives the terminal.
        text = reset_colors(escape_controls(str(event["text"]), keep="\t\n", colors=True))
        return f"{head} " + text.replace("\n", f"\n{head} ")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colors else text


def _field(value: Any) -> str:
    text = DIGEST.sub(r"\1…", escape_controls(str(value)))
    return repr(text) if not text or (" " in text and not isinstance(value, list | dict)) else text


# --- the pipeline ---------------------------------------------------------------------------------


class _StandardLogging(logging.Handler):
    """Passes the records of the standard library's ``logging`` to the pipeline."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record, with the name of its logger."""
        method = next((n for n, level in LEVELS.items() if record.levelno <= level), "critical")
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        try:
            message = record.getMessage()
        except Exception:
            # The arguments do not fit the message. logging would print both past the pipeline.
            message = f"{record.msg} {record.args}"
        getattr(logger(), method)(message.rstrip(), logger=record.name, **fields)


def configure(
    format: str = "auto",  # noqa: A002 - the name of the setting
    level: str = "info",
    *,
    stream: TextIO | None = None,
    tracebacks: bool = False,
) -> None:
    """Send the log to *stream* (by default standard error) in the format console, json or auto.

    The console format has tracebacks only with *tracebacks*; JSON always has them.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    has_status = terminal and not _is_dumb()
    if format == "console" or (format == "auto" and terminal):
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="time")
        colors = terminal and shows_colors(os.environ)
        renderer: Any = ConsoleRenderer(colors=colors, tracebacks=tracebacks)
        mark = mark_in_text
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
        renderer = render_json
        mark = _mark_in_json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            redact_event,
            *([drop_unfinished] if has_status and renderer is not render_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=LineWriter(LogStream(stream, mark)),
        cache_logger_on_first_use=False,
    )
    if not any(isinstance(handler, _StandardLogging) for handler in logging.root.handlers):
        logging.root.addHandler(_StandardLogging())
    logging.captureWarnings(True)


def log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Log an uncaught exception: ``sys.excepthook``."""
    _configured_logger().critical("process.fault", reason=str(error), exc_info=(kind, error, trace))


def _configured_logger() -> FilteringBoundLogger:
    if not is_configured():
        raise RuntimeError("the log is not configured")
    return logger()


def log_unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Log an exception that Python cannot raise, as in a finalizer: ``sys.unraisablehook``."""
    reason = f"{found.err_msg or 'Exception ignored in'}: {found.object!r}"
    exception = (found.exc_type, found.exc_value, found.exc_traceback)
    _configured_logger().error("process.exception_ignored", reason=reason, exc_info=exception)


def log_thread_exception(found: threading.ExceptHookArgs) -> None:
    """Log an uncaught exception of a thread: ``threading.excepthook``."""
    if issubclass(found.exc_type, SystemExit):
        return
    _configured_logger().critical(
        "process.fault",
        reason=str(found.exc_value),
        thread=found.thread.name if found.thread else None,
        exc_info=(found.exc_type, found.exc_value, found.exc_traceback),
    )


@attrs.define
class Recurring:
    """An event that may recur at a high rate: logged once a minute, with the number of times."""

    event: str
    clock: Callable[[], float]
    """The current time in seconds."""
    _count: int = attrs.field(default=0, init=False)
    _logged: float | None = attrs.field(default=None, init=False)

    def warn(self, **fields: Any) -> None:
        """Log the event with *fields* unless it was logged less than a minute ago."""
        if times := self.count():
            logger().warning(self.event, **fields, times=times)

    def count(self) -> int:
        """Count the event; return the number of times to log now, 0 within the minute."""
        self._count += 1
        now = self.clock()
        if self._logged is not None and now - self._logged < RECURRING_INTERVAL:
            return 0
        times, self._count, self._logged = self._count, 0, now
        return times


@attrs.define
class RecurringErrors:
    """An error that may recur at a high rate: each reason is logged once a minute.

    Beyond `MANY_REASONS` in a minute, all further ones count as one reason.
    """

    event: str
    clock: Callable[[], float]
    """The current time in seconds."""
    _reasons: dict[str, Recurring] = attrs.field(factory=dict, init=False)
    _others: Recurring = attrs.field(init=False)
    _started: float = attrs.field(init=False)
    """When the reasons were last cleared."""

    def __attrs_post_init__(self) -> None:
        self._others = Recurring(self.event, self.clock)
        self._started = self.clock()

    def error(self, reason: str, **fields: Any) -> None:
        """Log the event with *fields* unless its *reason* was logged less than a minute ago."""
        found = self._reasons.get(reason)
        if found is None and len(self._reasons) >= MANY_REASONS:
            now = self.clock()
            if now - self._started >= RECURRING_INTERVAL:
                self._reasons.clear()
                self._started = now
        if found is None and len(self._reasons) < MANY_REASONS:
            found = self._reasons[reason] = Recurring(self.event, self.clock)
        if times := (found or self._others).count():
            logger().error(self.event, reason=reason, **fields, times=times)


def is_configured() -> bool:
    """Whether `configure` was called."""
    return structlog.is_configured()


def is_console() -> bool:
    """Whether the log is text for a user, so that plain sentences may stand between its lines."""
    if not is_configured():
        return True
    return isinstance(structlog.get_config()["processors"][-1], ConsoleRenderer)


def _is_dumb() -> bool:
    return os.environ.get("TERM") == "dumb"


def status_line() -> LineWriter | None:
    """Return the writer of the status line; None unless the log is text on a terminal.

    None also on a terminal that interprets no control sequences, such as one of an editor.
    """
    writer = structlog.get_config()["logger_factory"]
    if not isinstance(writer, LineWriter) or _is_dumb():
        return None
    return writer if is_console() and writer.terminal else None


def line_writer() -> LineWriter | None:
    """Return the writer of the log, if the log goes to standard error."""
    writer = structlog.get_config()["logger_factory"] if is_configured() else None
    return writer if isinstance(writer, LineWriter) and writer.stream is sys.stderr else None


def logger() -> FilteringBoundLogger:
    """Return the logger of this program."""
    found: FilteringBoundLogger = structlog.get_logger()
    return found


def bind_job(job: str) -> None:
    """Add the id of the job to all events of the tasks and threads started from here."""
    structlog.contextvars.bind_contextvars(job=job)
