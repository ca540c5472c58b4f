"""Durations, control characters, and names of secrets."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text import (
    SECRET_NAME,
    cut_to_width,
    escape_controls,
    format_duration,
    join_first,
    parse_duration,
    parse_integer,
    shell_line,
)


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
def test_parse_duration_reads_go_syntax(text, seconds):
    """A duration is a sum of amounts, each with a unit."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "10", "m", "-1s", "1d", "1h 30m", " 1s", "1s ", "1S", "٣s", ".s", "9" * 30 + "h"],
)
def test_parse_duration_rejects_other_text(text):
    """A missing or unknown unit, an empty or negative amount, and more than Go counts are none."""
    assert parse_duration(text) is None


@given(st.integers(1, 10**12))
def test_format_duration_is_the_inverse_of_parse_duration(milliseconds):
    """A formatted duration parses to the same seconds."""
    seconds = milliseconds / 1000

    assert seconds == pytest.approx(parse_duration(format_duration(seconds)), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a\tb", {}, "a\tb"),
        ("a\nb", {}, "a\\nb"),
        ("a\nb", {"keep": "\n\t"}, "a\nb"),
        ("\x1b]0;title\x07", {}, "\\x1b]0;title\\x07"),
        ("\x9b31m", {}, "\\x9b31m"),
        ("\x1b[31mred\x1b[0m", {}, "\\x1b[31mred\\x1b[0m"),
        ("\x1b[31mred\x1b[0m\x1b[2J", {"colors": True}, "\x1b[31mred\x1b[0m\\x1b[2J"),
        ("a\u202eb", {}, "a\\u202eb"),
        ("a\u2028b", {}, "a\\u2028b"),
        ("a\udcffb", {}, "a\\udcffb"),
        ("日本 é\u3000👩\u200d🚀", {}, "日本 é\u3000👩\u200d🚀"),
    ],
    ids=[
        "tab",
        "newline",
        "newline that is kept",
        "title sequence",
        "C1 control",
        "color",
        "color that is kept",
        "bidirectional override",
        "line separator",
        "lone surrogate",
        "other text",
    ],
)
def test_escape_controls_escapes_what_drives_a_terminal(text, options, expected):
    """Text from users and programs cannot move the cursor, set the title or reorder a line."""
    assert expected == escape_controls(text, **options)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("password", True),
        ("DB_PASSWD", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("aws_session_token", True),
        ("azure_storage_account_key", True),
        ("X-Amz-Signature", True),
        ("apiKey", True),
        ("authorization", True),
        ("MYSQL_PWD", True),
        ("DB_PASS", True),
        ("AZURE_STORAGE_CONNECTION_STRING", True),
        ("PWD", False),
        ("OLDPWD", False),
        ("COMPASS", False),
        ("key", False),
        ("tokens_per_second", False),
        ("secretary", False),
        ("PATH", False),
    ],
)
def test_secret_name_matches_names_of_secret_values(name, secret):
    """Variables, settings and log fields are recognized in any spelling that is in use."""
    assert secret == bool(SECRET_NAME.search(name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("007", 7),
        ("-1", -1),
        ("9" * 20, 10**20 - 1),
        ("9" * 21, None),
        ("", None),
        ("-", None),
        ("--1", None),
        ("+1", None),
        (" 1", None),
        ("1_000", None),
        ("1.0", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
        ("\N{SUPERSCRIPT TWO}", None),
    ],
)
def test_an_integer_consists_of_few_ascii_digits(text, expected):
    assert expected == parse_integer(text, signs="-")


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("abc", 2, "ab"), ("é漢字", 3, "é漢"), ("é漢字", 4, "é漢"), ("e\u0301x", 1, "e\u0301")],
    ids=["ASCII", "wide", "half of a wide one", "combining"],
)
def test_a_text_is_cut_to_the_columns_of_a_terminal(text, columns, expected):
    assert expected == cut_to_width(text, columns)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, ""),
        (1, "0"),
        (3, "0; 1; 2"),
        (4, "0; 1; 2; and 1 more"),
        (1003, "0; 1; 2; and 1,000 more"),
    ],
)
def test_a_long_list_is_cut_off_with_the_number_of_further_ones(count, expected):
    assert expected == join_first([str(number) for number in range(count)], 3, "; ")


WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


@given(WORDS)
def test_a_shell_line_has_no_control_characters(words):
    line = shell_line(words)

    assert line == escape_controls(line, keep="")


@pytest.mark.parametrize(
    "word",
    ["a b", "it's", "$HOME", "", "-x", "Zoë", "a\nb", "\x07'\\n\t0", "\udcff.csv", "\u20281"],
)
def test_a_shell_reads_the_words_of_a_shell_line(word):
    """Also those with control characters and with bytes that are not UTF-8."""
    line = shell_line(["printf", "%s|", word, "end"])
    shown = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout

    assert word.encode(errors="surrogateescape") + b"|end|" == shown
