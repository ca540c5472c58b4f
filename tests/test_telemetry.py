"""The log: for people on a terminal, JSON otherwise, and never a secret."""

import io
import json
import logging

import pytest
import structlog

from worker import telemetry
from worker.redaction import Redactor
from worker.text import HIDDEN


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Each test starts with structlog as imported and no secret to hide."""
    monkeypatch.setattr(telemetry._Redaction, "values", frozenset())
    monkeypatch.setattr(telemetry._Redaction, "redactor", Redactor(()))
    structlog.contextvars.clear_contextvars()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream():
    """A stream that is no terminal."""
    return io.StringIO()


def test_without_a_terminal_each_event_is_a_line_of_json(stream):
    """Programs read the log: one object a line, with time, level, event and facts."""
    telemetry.configure("auto", "info", stream=stream)

    telemetry.logger().info("gateway.ready", port=9000, names=("a", "b"))

    found = json.loads(stream.getvalue())
    assert found.pop("time").endswith("Z")
    assert {"level": "info", "event": "gateway.ready", "port": 9000, "names": ["a", "b"]} == found


def test_on_a_terminal_an_event_is_a_line_for_people():
    """A person sees the time, the event and its facts, in colour."""
    terminal = Terminal()
    telemetry.configure("auto", "info", stream=terminal)

    telemetry.logger().info("gateway.ready", why="two words")

    assert not terminal.getvalue().startswith("{")
    assert "gateway.ready" in terminal.getvalue()
    assert "'two words'" in terminal.getvalue()


@pytest.mark.parametrize(("style", "json_"), [("json", True), ("console", False)])
def test_the_style_can_be_chosen(style, json_):
    """--log-format beats what the stream looks like."""
    terminal = Terminal()
    telemetry.configure(style, "info", stream=terminal)

    telemetry.logger().info("run.started")

    assert json_ == terminal.getvalue().startswith("{")


def test_events_below_the_level_are_left_out(stream):
    """The level is the least important that is shown."""
    telemetry.configure("json", "warning", stream=stream)

    telemetry.logger().info("small.talk")
    telemetry.logger().warning("input.missing")

    assert ["input.missing"] == [
        json.loads(line)["event"] for line in stream.getvalue().splitlines()
    ]


def test_the_job_is_bound_once_and_is_in_every_event(stream):
    """What belongs to the whole run is a fact of each of its events."""
    telemetry.configure("json", "info", stream=stream)
    telemetry.bind_job("ab" * 16)

    telemetry.logger().info("run.started")

    assert "ab" * 16 == json.loads(stream.getvalue())["job"]


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"url": "http://x?key=hunter22"}, id="within text"),
        pytest.param({"environment": {"A": ["hunter22"]}}, id="nested value"),
        pytest.param({"environment": {"hunter22": 1}}, id="nested key"),
        pytest.param({"error": ValueError("hunter22")}, id="within an error"),
        pytest.param({"secret_key": "unknown-hunter22"}, id="field with a secret name"),
        pytest.param({"environment": {"TOKEN": "unknown"}}, id="nested secret name"),
        pytest.param({"line": "it is hunter22"}, id="line of a program"),
        pytest.param({"value": "aHVudGVyMjI="}, id="in Base64"),
    ],
)
def test_a_secret_is_never_logged(stream, style, fields):
    """Registered values, and the values of fields with secret names, are replaced by ``***``."""
    telemetry.configure(style, "info", stream=stream)
    telemetry.hide([b"hunter22"])

    telemetry.logger().info("event", **fields)

    for secret in ("hunter22", "unknown", "aHVudGVyMjI="):
        assert secret not in stream.getvalue()
    assert HIDDEN in stream.getvalue()


@pytest.mark.parametrize("printed", ["se/cret+1 x", "se%2Fcret%2B1%20x", "line-two-of-it"])
def test_the_encodings_and_lines_of_a_secret_are_redacted(stream, printed):
    """As a URL, or one line of several."""
    telemetry.configure("json", "info", stream=stream)
    telemetry.hide([b"se/cret+1 x", b"-----BEGIN-----\nline-two-of-it\n-----END-----"])

    telemetry.logger().info("event", text=f"<{printed}>")

    assert "<***>" == json.loads(stream.getvalue())["text"]


def test_a_secret_in_the_name_of_an_event_is_redacted(stream):
    """Every part of a line passes the pipeline."""
    telemetry.configure("json", "info", stream=stream)
    telemetry.hide([b"hunter22"])

    telemetry.logger().info("event hunter22")

    assert "hunter22" not in stream.getvalue()


def test_a_secret_in_a_traceback_is_redacted(stream):
    """An error whose message contains a secret is logged without it."""
    telemetry.configure("json", "info", stream=stream)
    telemetry.hide([b"hunter22"])

    try:
        raise ValueError("hunter22")
    except ValueError:
        telemetry.logger().exception("run.fault")

    assert "ValueError" in stream.getvalue()
    assert "hunter22" not in stream.getvalue()


def test_records_of_the_standard_library_pass_the_pipeline(stream):
    """A library that logs is redacted and formatted like this program."""
    telemetry.configure("json", "info", stream=stream)
    telemetry.hide([b"hunter22"])

    try:
        raise ValueError("hunter22")
    except ValueError:
        logging.getLogger("some.library").exception("failed for %s", "hunter22")

    found = json.loads(stream.getvalue())
    assert ("some.library", "error", "failed for ***") == (
        found["event"],
        found["level"],
        found["message"],
    )
    assert "ValueError: ***" in found["exception"]


def test_short_values_are_not_redacted(stream):
    """A value of three bytes occurs in ordinary text."""
    telemetry.configure("json", "info", stream=stream)
    telemetry.hide([b"run"])

    telemetry.logger().info("run.started")

    assert "run.started" == json.loads(stream.getvalue())["event"]


@pytest.mark.parametrize(("traces", "shown"), [(False, False), (True, True)])
def test_people_see_a_traceback_only_if_they_ask(stream, traces, shown):
    """A fault is a line for people; the traceback comes with --debug."""
    telemetry.configure("console", "info", stream=stream, tracebacks=traces)

    try:
        raise ValueError("x")
    except ValueError:
        telemetry.logger().exception("run.fault")

    assert "run.fault" in stream.getvalue()
    assert shown == ("Traceback" in stream.getvalue())


def test_a_program_cannot_drive_the_terminal():
    """Of a line's control characters only colours pass; titles, cursor moves and bells do not."""
    terminal = Terminal()
    telemetry.configure("console", "info", stream=terminal)

    telemetry.logger().info("command.output", line="\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J")

    assert "\x1b[31mred\x1b[0m" in terminal.getvalue()
    assert "\\x1b]0;title\\x07\\x1b[2J" in terminal.getvalue()


def test_a_log_that_nobody_reads_stops_nothing():
    """A closed terminal ends the log and not the job."""
    stream = io.StringIO()
    telemetry.configure("json", "info", stream=stream)
    stream.close()

    telemetry.logger().info("run.started")
    telemetry.logger().info("run.ended")
