"""The structured log on standard error: lines for people on a terminal, else JSON.

Every event passes one pipeline, whether it was logged by this program or through `logging` by a
library. The pipeline redacts the registered secrets and the values of fields with secret names.
"""

import logging
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from worker.redaction import SHORTEST, Redactor
from worker.text import HIDDEN, SECRET_NAME, escape_control

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
COLORS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}
ERASE_LINE = "\r\x1b[K"

# SHA-256 in hex: people compare the first digits, and all of them do not fit on a line.
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


class _Redaction:
    """The secrets of this process, and the redactor built from them."""

    values: frozenset[bytes] = frozenset()
    redactor = Redactor(())


def hide(secrets: Iterable[bytes]) -> None:
    """Redact *secrets* in every line that is logged from now on by this process.

    Values shorter than four bytes are ignored: they occur in ordinary text.
    """
    new = {secret for secret in secrets if len(secret) >= SHORTEST}
    if not new <= _Redaction.values:
        _Redaction.values |= new
        _Redaction.redactor = Redactor(_Redaction.values)


def redact(text: str) -> str:
    """Return *text* with the registered secrets replaced by ``***``."""
    return _Redaction.redactor.text(text)


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact the fields of an event, nested values included: a processor of structlog."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _redacted(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {redact(str(k)): _redacted(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item) for item in value]
    return redact(str(value))


class ConsoleRenderer:
    """Renders ``12:00:01 info  gateway.ready  url=…``, and lines of a program as ``… │ line``."""

    def __init__(self, *, colors: bool, tracebacks: bool) -> None:
        self._colors = colors
        self._tracebacks = tracebacks

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        """Return the line of an event, without the fields that are common to the run."""
        time, level = event.pop("time"), event.pop("level")
        name = escape_control(str(event.pop("event")), colors=True)
        traceback = event.pop("exception", None)
        event.pop("job", None)
        if (line := event.pop("line", None)) is not None:
            stream = escape_control(str(event.pop("stream", name)), colors=True)
            text = escape_control(str(line), colors=True)
            return f"{self._paint('2', f'{time} {stream:>6} │')} {text}"
        fields = "  ".join(f"{self._paint('2', f'{k}=')}{_field(v)}" for k, v in event.items())
        head = f"{self._paint('2', time)} {self._paint(COLORS.get(level, '0'), f'{level:<7}')}"
        text = f"{head} {name:<22} {fields}".rstrip()
        return f"{text}\n{traceback}" if traceback and self._tracebacks else text

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colors else text


def _field(value: Any) -> str:
    text = DIGEST.sub(r"\1…", escape_control(str(value), colors=True))
    return repr(text) if not text or (" " in text and not isinstance(value, list | dict)) else text


class LineWriter:
    """Writes lines to a stream; a closed stream does not end the job.

    On a terminal a status line can be shown below the log: it is erased before each line and
    redrawn after it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._status = ""

    @property
    def terminal(self) -> bool:
        """Whether the stream is a terminal that is still open."""
        return self._stream is not None and self._stream.isatty()

    def __call__(self, *_args: Any) -> "LineWriter":
        """Return itself: it is both structlog's logger factory and its logger."""
        return self

    def msg(self, line: str) -> None:
        """Write one line; do nothing after a write has failed."""
        self._write(f"{ERASE_LINE}{line}\n{self._status}" if self._status else f"{line}\n")

    def show(self, status: str) -> None:
        """Show *status*, cut to the terminal's width, below the log; an empty one removes it."""
        before, width = self._status, shutil.get_terminal_size().columns - 1
        self._status = escape_control(status, colors=True)[:width]
        if before or self._status:
            self._write(ERASE_LINE + self._status)

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal or the pipe is closed, and with it the place to report that.
            self._stream = None

    debug = info = warning = error = critical = msg


class StandardLogging(logging.Handler):
    """Passes the records of the standard library's `logging` to the pipeline."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record under the name of its logger."""
        fields: dict[str, Any] = {"message": record.getMessage()}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        logger().log(record.levelno, record.name, **fields)


def configure(
    style: str = "auto",
    level: str = "info",
    *,
    stream: TextIO | None = None,
    tracebacks: bool = False,
) -> None:
    """Send the log to *stream* (standard error) in the *style* ``console``, ``json`` or ``auto``.

    The console shows the traceback of an error only with *tracebacks*; JSON always contains it.
    """
    stream = stream or sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    if console:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="time")
        renderer: Any = ConsoleRenderer(colors=stream.isatty(), tracebacks=tracebacks)
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=LineWriter(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[StandardLogging()], level=logging.WARNING, force=True)


def is_console() -> bool:
    """Whether the log consists of lines for people, so that other text may appear between them."""
    if not structlog.is_configured():
        return True
    return isinstance(structlog.get_config()["processors"][-1], ConsoleRenderer)


def status_line() -> LineWriter | None:
    """Return the writer that can show a status; None unless the log is shown on a terminal."""
    writer = structlog.get_config()["logger_factory"]
    return writer if isinstance(writer, LineWriter) and is_console() and writer.terminal else None


def logger() -> FilteringBoundLogger:
    """Return the logger of this program."""
    found: FilteringBoundLogger = structlog.get_logger()
    return found


def bind_job(job: str) -> None:
    """Add the job's id to every event, in all tasks and threads that are started from here."""
    structlog.contextvars.bind_contextvars(job=job)
