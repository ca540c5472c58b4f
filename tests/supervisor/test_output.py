import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.redaction import Redactor
from worker.supervisor.command import TAIL_LINES, LineSplitter, OutputHandler


def split(*pieces: bytes, max_line: int = 100) -> list[str]:
    splitter = LineSplitter(max_line)
    return [*(line for piece in pieces for line in splitter.feed(piece)), *splitter.finish()]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        pytest.param(b"a\nb\n", ["a", "b"], id="lines"),
        pytest.param(b"a\r\nb", ["a", "b"], id="CRLF"),
        pytest.param(b"\n\n", ["", ""], id="empty lines"),
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


@given(st.lists(st.text("ab\r\n", max_size=8).map(str.encode)))
def test_lines_do_not_depend_on_how_the_stream_is_split_into_pieces(pieces):
    assert split(b"".join(pieces), max_line=3) == split(*pieces, max_line=3)


@pytest.mark.parametrize(
    ("lines", "tail"),
    [
        pytest.param([("stdout", "a"), ("stderr", "b")], ("b",), id="standard error"),
        pytest.param([("stdout", "a")], ("a",), id="standard output without errors"),
        pytest.param(
            [("stdout", str(n)) for n in range(100)],
            tuple(str(n) for n in range(100 - TAIL_LINES, 100)),
            id="the last lines",
        ),
    ],
)
def test_the_tail_is_the_end_of_standard_error_or_else_of_standard_output(lines, tail):
    handler = OutputHandler(lambda *_: None, Redactor(()))
    for stream, line in lines:
        handler.handle_line(stream, line)

    assert tail == handler.tail
