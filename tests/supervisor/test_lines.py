import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.supervisor.command import LineSplitter


def lines(*pieces: bytes, longest: int = 100) -> list[str]:
    cutter = LineSplitter(longest)
    return [*(line for piece in pieces for line in cutter.feed(piece)), *cutter.finish()]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\n\n", ["", ""]),
        (b"10%\r20%\r100%\n", ["100%"]),
        (b"100%\r\n", ["100%"]),
        (b"\xff\x00\n", ["\\xff\x00"]),
        ("é\n".encode(), ["é"]),
    ],
    ids=["lines", "crlf", "empty", "progress bar", "crlf after text", "binary", "utf-8"],
)
def test_output_is_cut_as_a_terminal_would_show_it(printed, shown):
    """LineSplitter end at newlines, and a carriage return goes back to the start of its line."""
    assert shown == lines(printed)


def test_of_a_line_that_is_too_long_the_beginning_is_shown():
    """A gigabyte without a newline is one line of bounded length, and says what is missing."""
    assert ["aaaa … (1,000 more bytes)", "b"] == lines(b"a" * 504, b"a" * 500 + b"\nb", longest=4)


@given(st.lists(st.text("ab\r\n", max_size=8).map(str.encode)))
def test_where_the_stream_is_cut_makes_no_difference(pieces):
    """The lines of a stream are those of its bytes, not of its pieces."""
    assert lines(b"".join(pieces), longest=3) == lines(*pieces, longest=3)
