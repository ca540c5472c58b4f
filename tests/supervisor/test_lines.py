"""Lines of a stream of bytes, as a terminal shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.supervisor.lines import LineSplitter


def split(*pieces: bytes, max_line: int = 100) -> list[str]:
    splitter = LineSplitter(max_line)
    return [*(line for piece in pieces for line in splitter.feed(piece)), *splitter.finish()]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        pytest.param(b"a\nb\n", ["a", "b"], id="lines"),
        pytest.param(b"a\r\nb", ["a", "b"], id="CRLF"),
        pytest.param(b"\n\n", ["", ""], id="empty lines"),
        pytest.param(b"a\nb\rc\nd\r\ne\n", ["a", "c", "d", "e"], id="all ends of lines"),
        pytest.param(b"a\n\xe2\nb\n", ["a", "\\xe2", "b"], id="a character that is cut off"),
        pytest.param(b"10%\r20%\r100%\n", ["100%"], id="progress bar"),
        pytest.param(b"10%\r100%\r\n", ["100%"], id="progress bar with CRLF"),
        pytest.param(b"\xff\x00\n", ["\\xff\x00"], id="binary"),
        pytest.param("é\n".encode(), ["é"], id="UTF-8"),
    ],
)
def test_output_is_split_as_a_terminal_shows_it(printed, shown):
    assert shown == split(printed)


def test_a_line_that_is_too_long_is_truncated_and_ends_with_the_number_of_dropped_bytes():
    assert ["aaaa … (1,000 bytes more)", "b"] == split(b"a" * 504, b"a" * 500 + b"\nb", max_line=4)


def test_long_lines_among_short_ones_are_truncated():
    lines = split(b"a\n" + b"b" * 10 + b"\nc\n" + b"d" * 5 + b"\n", max_line=4)

    assert ["a", "bbbb … (6 bytes more)", "c", "dddd … (1 bytes more)"] == lines


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        pytest.param(b"Password: ", "Password: ", id="a prompt"),
        pytest.param(b"done\n10%\r20%", "20%", id="a progress bar"),
        pytest.param(b"10%\r20%\r", "20%", id="a progress bar that returns"),
        pytest.param(b"done\n", "", id="no line"),
    ],
)
def test_an_unfinished_line_is_shown_as_a_terminal_shows_it(printed, shown):
    splitter = LineSplitter()
    splitter.feed(printed)

    assert shown == splitter.unfinished


@given(st.lists(st.text("ab\r\n", max_size=8).map(str.encode)))
def test_lines_do_not_depend_on_how_the_stream_is_split_into_pieces(pieces):
    assert split(b"".join(pieces), max_line=3) == split(*pieces, max_line=3)
