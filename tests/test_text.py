"""Durations, control characters, names of secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text import SECRET_NAME, escape_control, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("2h45m30.5s", 9930.5),
        ("300ms", 0.3),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("15us", 15e-6),
        ("15µs", 15e-6),
        ("15μs", 15e-6),
        ("1ns", 1e-9),
        ("600s", 600),
        ("1m1m", 120),
        ("0s", 0),
    ],
)
def test_a_duration_is_a_sum_of_amounts_with_units(text, seconds):
    """As in Go."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "-1s", "1d", "1h 30m", " 1s", "1s ", "1S", "٣s", ".s", "9" * 30 + "h"],
)
def test_other_text_is_no_duration(text):
    """No unit, an unknown unit, a sign, or more than Go can represent."""
    assert parse_duration(text) is None


@given(st.integers(1, 10**12))
def test_a_formatted_duration_parses_to_the_same_value(milliseconds):
    """Down to a microsecond."""
    seconds = milliseconds / 1000

    assert seconds == pytest.approx(parse_duration(format_duration(seconds)), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a\tb\n\x1b[31mc\x1b[0m\x07", {}, "a\tb\\n\\x1b[31mc\\x1b[0m\\x07"),
        ("a\nb\x1b", {"lines": True}, "a\nb\\x1b"),
        ("\x1b[31mc\x1b[0m\x1b[2J", {"colors": True}, "\x1b[31mc\x1b[0m\\x1b[2J"),
        ("a\u202eb\x9b", {}, "a\\u202eb\\x9b"),
        ("Zoë \U0001f600", {}, "Zoë \U0001f600"),
    ],
    ids=["all", "lines", "colours", "bidirectional", "none"],
)
def test_control_characters_are_escaped(text, options, expected):
    """Tabs are kept, and lines and colours where they are wanted."""
    assert expected == escape_control(text, **options)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("PASSWORD", True),
        ("db_passwd", True),
        ("MYTOKEN", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("api_key", True),
        ("credentials", True),
        ("authorization", True),
        ("key", False),
        ("TOKENIZER", False),
        ("secret_name", False),
    ],
)
def test_names_of_secrets_are_recognized(name, secret):
    """By their last word."""
    assert secret == bool(SECRET_NAME.search(name))
