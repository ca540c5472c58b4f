"""The log: text on a terminal, JSON lines otherwise, and never a secret."""

import base64
import errno
import gc
import io
import json
import logging
import os
import sys
import threading
import warnings
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

import pytest
import structlog
from terminals import Terminal

from worker import hooks, redaction, telemetry

# A value with everything that a spelling has to escape.
SECRET = "hünter/22+ \"x\" 'y' \\z"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----\n"


@pytest.fixture(autouse=True)
def _fresh_log():
    """Start with structlog as it is after import."""
    structlog.contextvars.clear_contextvars()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)


@pytest.fixture
def stream():
    """A stream that is no terminal."""
    return io.StringIO()


def test_without_a_terminal_each_event_is_a_json_object_on_one_line(stream):
    """An object has the time in UTC, the level, the event and its fields."""
    telemetry.configure("auto", "info", stream=stream)

    telemetry.logger().info("gateway.ready", port=9000, names=("a", "b"))

    found = json.loads(stream.getvalue())
    assert found.pop("time").endswith("Z")
    assert {"level": "info", "event": "gateway.ready", "port": 9000, "names": ["a", "b"]} == found


def _full_disk(*_args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_also_the_number_of_dropped_lines_is_a_json_object(tmp_path, monkeypatch):
    """A reader that parses each line fails at a plain sentence."""
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as file:
        telemetry.configure(stream=file)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _full_disk)
            telemetry.logger().info("gateway.ready")
        telemetry.logger().info("run.ended")

    mark, event = [json.loads(line) for line in path.read_text().splitlines()]
    assert ("warning", "log.lines_dropped", 1) == (mark["level"], mark["event"], mark["lines"])
    assert "run.ended" == event["event"]


def test_on_a_terminal_each_event_is_a_line_of_text():
    """A value with spaces is quoted."""
    terminal = Terminal()
    telemetry.configure("auto", "info", stream=terminal)

    telemetry.logger().info("gateway.ready", why="two words")

    assert not terminal.getvalue().startswith("{")
    assert "gateway.ready" in terminal.getvalue()
    assert "'two words'" in terminal.getvalue()


@pytest.mark.parametrize(("format_", "is_json"), [("json", True), ("console", False)])
def test_the_setting_overrides_the_format_of_the_stream(format_, is_json):
    """``log.format`` takes precedence over whether the stream is a terminal."""
    terminal = Terminal()
    telemetry.configure(format_, "info", stream=terminal)

    telemetry.logger().info("run.started")

    assert is_json == terminal.getvalue().startswith("{")


def test_events_below_the_level_are_dropped(stream):
    """``log.level`` is the lowest level that is logged."""
    telemetry.configure("json", "warning", stream=stream)

    telemetry.logger().info("small.talk")
    telemetry.logger().warning("input.missing")

    assert ["input.missing"] == [
        json.loads(line)["event"] for line in stream.getvalue().splitlines()
    ]


def test_every_event_has_the_bound_job(stream):
    """``bind_job`` adds the id of the job to later events."""
    telemetry.configure("json", "info", stream=stream)
    telemetry.bind_job("ab" * 16)

    telemetry.logger().info("run.started")

    assert "ab" * 16 == json.loads(stream.getvalue())["job"]


# --- redaction ------------------------------------------------------------------------------------


def log_event(**fields):
    telemetry.logger().info("event", **fields)


def log_exception(error):
    try:
        raise error
    except Exception:
        telemetry.logger().exception("run.internal_error")


def log_exception_chain(secret):
    try:
        try:
            raise KeyError(secret)
        except KeyError as cause:
            raise RuntimeError("outer") from cause
    except RuntimeError:
        telemetry.logger().exception("run.internal_error")


def log_uncaught(secret):
    try:
        raise ValueError(secret)
    except ValueError:
        telemetry.log_uncaught(*sys.exc_info())


def log_standard_exception(secret):
    try:
        raise ValueError(secret)
    except ValueError:
        logging.getLogger("hypercorn").exception("in a request")


def log_wrong_arguments(secret):
    # Not through a logger, since pytest's own handler raises an error for such a record.
    fields = {"msg": "%d %d", "args": (secret,), "levelno": 40, "name": "hypercorn"}
    handler = next(h for h in logging.root.handlers if isinstance(h, telemetry._StandardLogging))
    handler.emit(logging.makeLogRecord(fields))


def ignored_exception(secret):
    """Raise where Python can only report it."""

    class Broken:
        def __del__(self):
            raise ValueError(secret)

    Broken()
    gc.collect()


def thread_exception(secret):
    def fail():
        raise ValueError(secret)

    thread = threading.Thread(target=fail, name="reader")
    thread.start()
    thread.join()


@contextmanager
def installed_hooks():
    """Install the hooks of a process of the worker in the block.

    Within a test and not in a fixture: pytest may install hooks of its own in between.
    """
    names = ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"))
    before = [(module, name, getattr(module, name)) for module, name in names]
    hooks.install()
    try:
        yield
    finally:
        for module, name, hook in before:
            setattr(module, name, hook)


WAYS = {
    "event name": lambda s: telemetry.logger().info(f"event {s}"),
    "field": lambda s: log_event(line=f"url=http://x?key={s}"),
    "name of a field": lambda s: log_event(**{f"x {s}": 1}),
    "nested value": lambda s: log_event(environment={"A": [{"B": (f"<{s}>",)}]}),
    "nested key": lambda s: log_event(environment={s: 1}),
    "set": lambda s: log_event(names={s}),
    "bytes": lambda s: log_event(body=b"<" + s.encode() + b">"),
    "object": lambda s: log_event(error=ValueError(s)),
    "exception": lambda s: log_exception(ValueError(s)),
    "quoted in an exception": lambda s: log_exception(KeyError(s)),
    "cause of an exception": log_exception_chain,
    "uncaught exception": log_uncaught,
    "bound value": lambda s: telemetry.logger().bind(where=s).info("event"),
    "standard logging": lambda s: logging.getLogger("hypercorn").warning("in %s", s),
    "standard logging with wrong arguments": log_wrong_arguments,
    "exception in standard logging": log_standard_exception,
    "exception in a finalizer": ignored_exception,
    "exception in a thread": thread_exception,
    "exception of the process": lambda s: sys.excepthook(ValueError, ValueError(s), None),
    "Python warning": lambda s: warnings.warn(s, stacklevel=1),
}


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("secret", ["hunter22", SECRET, KEY], ids=["word", "special", "lines"])
@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_registered_secret_is_in_no_line(stream, capsys, format_, way, secret):
    """Secrets are redacted in all fields of all events, whichever library logs them."""
    telemetry.configure(format_, "info", stream=stream, tracebacks=True)
    redaction.hide([secret.encode()])

    with installed_hooks():
        way(secret)

    shown = stream.getvalue()
    assert redaction.HIDDEN in shown
    for line in secret.splitlines():
        assert line not in shown
        assert json.dumps(line)[1:-1] not in shown
        assert repr(line)[1:-1] not in shown
    assert ("", "") == capsys.readouterr()


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whatever_is_reported_is_one_json_object_on_one_line(stream, capfd, way):
    """Also what Python would print itself, with its traceback as a field."""
    telemetry.configure("json", "info", stream=stream)

    with installed_hooks():
        way("two\nlines")

    assert isinstance(json.loads(stream.getvalue()), dict)
    assert 1 == stream.getvalue().count("\n")
    assert ("", "") == capfd.readouterr()


def test_without_a_log_python_prints_the_error(capsys):
    """Before the log is configured, an error must not be lost, nor go to standard output."""
    with installed_hooks():
        sys.excepthook(ValueError, ValueError("early"), None)

    assert ("", "ValueError: early\n") == capsys.readouterr()


def test_a_recurring_event_is_logged_once_a_minute_with_its_number(stream):
    """The first one is logged at once."""
    telemetry.configure("json", "info", stream=stream)
    times = iter((0.0, 1.0, 59.9, 60.0, 61.0))
    event = telemetry.Recurring("gateway.full", lambda: next(times))

    for _ in range(5):
        event.warn(limit=3)

    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [1, 3] == [line["times"] for line in found]
    assert {("gateway.full", "warning", 3)} == {
        (line["event"], line["level"], line["limit"]) for line in found
    }


def test_errors_that_recur_are_logged_once_a_minute_for_each_reason(stream):
    """The others are counted, and so are more reasons than a log can bear."""
    telemetry.configure("json", "info", stream=stream)
    now = 0.0
    errors = telemetry.RecurringErrors("gateway.failed", lambda: now)

    for _ in range(3):
        errors.error("disk", request="1")
        errors.error("network", request="2")
    for number in range(1000):
        errors.error(f"reason {number}")
    now = 60.0
    errors.error("disk", request="3")

    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [("disk", 1), ("network", 1)] == [(each["reason"], each["times"]) for each in found[:2]]
    assert telemetry.MANY_REASONS + 2 == len(found)
    assert ("disk", 3, "3") == tuple(found[-1][name] for name in ("reason", "times", "request"))
    assert {("gateway.failed", "error")} == {(each["event"], each["level"]) for each in found}


@pytest.mark.parametrize(
    "spelling",
    [
        str,
        json.dumps,
        lambda s: json.dumps({"k": s}, ensure_ascii=False),
        repr,
        ascii,
        lambda s: repr(s.encode()),
        lambda s: quote(s, safe=""),
        quote,
        quote_plus,
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
        lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
        lambda s: base64.b64encode(f"user1:{s}@host".encode()).decode(),
        lambda s: base64.b64encode(f"user12:{s}@host".encode()).decode(),
    ],
    ids=[
        "itself",
        "JSON in ASCII",
        "JSON in Unicode",
        "repr",
        "ascii",
        "repr of bytes",
        "URL",
        "URL path",
        "URL form",
        "Base64",
        "Base64 for URLs",
        "inside Base64, offset 2",
        "inside Base64, offset 0",
        "inside Base64, offset 1",
    ],
)
def test_each_spelling_of_a_secret_is_redacted(stream, spelling):
    """A program prints a secret in the form of its protocol or language."""
    telemetry.configure("json", "info", stream=stream)
    redaction.hide([SECRET.encode()])

    telemetry.logger().info("event", text=f"<{spelling(SECRET)}>")

    text = json.loads(stream.getvalue())["text"]
    assert redaction.HIDDEN in text
    assert len(text) < len(spelling(SECRET))


def test_a_multi_line_secret_is_redacted_line_by_line(stream):
    """A command that prints a key produces one event per line."""
    telemetry.configure("json", "info", stream=stream)
    redaction.hide([KEY.encode()])

    for line in KEY.splitlines():
        telemetry.logger().info("command.output", stream="stdout", text=f"  {line}")

    lines = [json.loads(line)["line"] for line in stream.getvalue().splitlines()]
    assert [f"  {redaction.HIDDEN}"] * 4 == lines


@pytest.mark.parametrize("name", ["secret_key", "DB_PASSWORD", "authorization"])
def test_a_value_with_a_secret_name_is_redacted(stream, name):
    """The value of such a field or variable does not have to be registered."""
    telemetry.configure("json", "info", stream=stream)

    telemetry.logger().info("command.starting", **{name: "x1"}, environment={name: "x1"})

    found = json.loads(stream.getvalue())
    assert ("***", {name: "***"}) == (found[name], found["environment"])


def test_short_values_and_the_frame_of_a_line_are_not_redacted(stream):
    """A secret such as ``a`` or ``info`` does not make the log unreadable to programs."""
    telemetry.configure("json", "info", stream=stream)
    redaction.hide([b"a", b"", b"   ", b"info"])

    telemetry.logger().info("a", text="info")

    found = json.loads(stream.getvalue())
    assert ("info", "a", "***") == (found["level"], found["event"], found["text"])


# --- output of commands ---------------------------------------------------------------------------


def log_output(text, **fields):
    telemetry.logger().info("command.output", stream="stdout", text=text, **fields)


def test_in_json_each_line_of_output_is_an_event(stream):
    """What the lines of one event share is repeated in each."""
    telemetry.configure("json", "info", stream=stream)

    log_output('a\n\n"é"', datum=3)

    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert ["a", "", '"é"'] == [event.pop("line") for event in events]
    first, *others = events
    assert [first, first] == others
    assert first.pop("time").endswith("Z")
    assert {"level": "info", "event": "command.output", "stream": "stdout", "datum": 3} == first


def test_a_line_of_output_has_no_white_space_between_its_fields(stream):
    """A command may print millions of lines."""
    telemetry.configure("json", "info", stream=stream)

    log_output("x")

    assert " " not in stream.getvalue()


def test_in_text_each_line_of_output_is_a_line_of_its_own(stream):
    telemetry.configure("console", "info", stream=stream)

    log_output("a\nb")

    assert ["stdout │ a", "stdout │ b"] == [
        line.partition(" ")[2] for line in stream.getvalue().splitlines()
    ]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_line_without_an_end_is_marked(stream, format_):
    telemetry.configure(format_, "info", stream=stream)

    log_output("Password: ", unfinished=True)

    line = stream.getvalue()
    if format_ == "json":
        assert ("Password: ", True) == (json.loads(line)["line"], json.loads(line)["unfinished"])
    else:
        assert line.endswith("stdout ┆ Password: \n")


def test_on_a_terminal_a_line_without_an_end_is_not_logged():
    """The status line shows it."""
    terminal = Terminal()
    telemetry.configure("auto", "info", stream=terminal)

    log_output("Password: ", unfinished=True)

    assert "" == terminal.getvalue()


def test_a_terminal_without_a_status_line_has_lines_without_an_end(monkeypatch):
    """A terminal that interprets no control sequences shows prompts, too."""
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    telemetry.configure("auto", "info", stream=terminal)

    log_output("Password: ", unfinished=True)

    assert terminal.getvalue().endswith("stdout ┆ Password: \n")


def test_a_color_ends_with_the_line_of_the_command(monkeypatch):
    """Otherwise what follows has it, and the terminal after the run."""
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    telemetry.configure("console", "info", stream=terminal)

    log_output("plain\n\x1b[41mred\nplain")

    plain, red, last = terminal.getvalue().splitlines()
    assert red.endswith("\x1b[41mred\x1b[0m")
    assert not [line for line in (plain, last) if "\x1b" in line]


# --- other properties -----------------------------------------------------------------------------


def test_standard_logging_becomes_events_with_a_level(stream):
    """A record of another library has the name of its logger."""
    telemetry.configure("json", "info", stream=stream)

    logging.getLogger("hypercorn.error").error("cannot bind")

    found = json.loads(stream.getvalue())
    assert ("error", "cannot bind", "hypercorn.error") == (
        found["level"],
        found["event"],
        found["logger"],
    )


@pytest.mark.parametrize("tracebacks", [False, True])
def test_text_has_tracebacks_only_on_request(stream, tracebacks):
    """``--debug`` adds the traceback to the line of an error."""
    telemetry.configure("console", "info", stream=stream, tracebacks=tracebacks)

    log_exception(ValueError("x"))

    assert "run.internal_error" in stream.getvalue()
    assert tracebacks == ("Traceback" in stream.getvalue())


def test_a_command_cannot_drive_the_terminal():
    """Of the control characters in a command's line only colors are kept."""
    terminal = Terminal()
    telemetry.configure("console", "info", stream=terminal)

    telemetry.logger().info(
        "command.output", stream="stdout", text="\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J"
    )

    assert "\x1b[31mred\x1b[0m" in terminal.getvalue()
    assert "\\x1b]0;title\\x07\\x1b[2J" in terminal.getvalue()


def test_a_closed_stream_ends_the_log_and_not_the_job():
    """A closed terminal or pipe raises nothing."""
    stream = io.StringIO()
    telemetry.configure("json", "info", stream=stream)
    stream.close()

    telemetry.logger().info("run.started")
    telemetry.logger().info("run.ended")


def test_the_name_of_a_field_cannot_drive_a_terminal(stream):
    """A report of the command has any names."""
    telemetry.configure("console", "info", stream=stream)

    telemetry.logger().info("command.report", **{"report_\x1b[2J\n": 1})

    assert r"report_\x1b[2J\n=1" in stream.getvalue()
