"""Durations in Go's syntax."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.spec.durations import format_duration, parse_duration


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
    ],
)
def test_reads_what_go_reads(text, seconds):
    """A duration is a sum of amounts, each with its unit."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "-1s", "0s", "1d", "1h 30m", " 1s", "1s ", "1S", "٣s", ".s", "9" * 30 + "h"],
)
def test_refuses_all_else(text):
    """No unit, an unknown one, nothing, less than nothing, or more than Go can count."""
    assert parse_duration(text) is None


@given(st.integers(1, 10**12))
def test_what_is_written_is_read_again(milliseconds):
    """A duration that was written is read as the same duration."""
    seconds = milliseconds / 1000

    assert seconds == pytest.approx(parse_duration(format_duration(seconds)), abs=1e-6)
