"""Tables, values and progress bars, on a terminal and in a pipe."""

import io
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from wcwidth import wcswidth

from worker.cli import terminal


class Terminal(io.StringIO):
    """A stream that reports to be a terminal."""

    def isatty(self):
        return True


@contextmanager
def screen():
    """Replace the standard streams by a terminal of 80 columns.

    Not a fixture, since pytest replaces the streams between the set-up and the test.
    """
    found = Terminal()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(found), redirect_stderr(found):
        patch.setenv("COLUMNS", "80")
        yield found


ROWS = [("a", "1"), ("日本語.txt", "1234567"), ("e\u0301", "12"), ("a\tb\x1b[2J", "123")]


def test_a_table_on_a_terminal_is_aligned_by_display_width():
    """Wide and combining characters count by their columns; control characters are escaped."""
    with screen() as shown:
        terminal.print_table(("key", "size"), ROWS, right=("size",))

    head, *lines = shown.getvalue().splitlines()
    assert "KEY" in head
    assert "SIZE" in head
    assert 1 == len({wcswidth(line) for line in lines})
    assert "a\\tb\\x1b[2J" in lines[-1]


def test_a_table_in_a_pipe_has_tabs_and_no_titles(capsys):
    """A program can split each line at tabs."""
    terminal.print_table(("key", "size"), ROWS[:2], right=("size",))

    assert "a\t1\n日本語.txt\t1234567\n" == capsys.readouterr().out


def test_a_table_of_many_rows_has_its_titles_once():
    """Widths grow from batch to batch."""
    rows = (("x" * (1 + i // 1000), str(i)) for i in range(2500))

    with screen() as shown:
        terminal.print_table(("key", "number"), rows)

    assert 2501 == len(shown.getvalue().splitlines())
    assert 1 == shown.getvalue().count("KEY")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (9_800_000, "9.3 MiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_sizes_have_binary_units(count, expected):
    """The units are those of IEC 80000-13."""
    assert expected == terminal.size(count)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (90, "1 min 30 s"), (7500, "2 h 5 min")],
)
def test_durations_have_two_units(seconds, expected):
    """Seconds are omitted from an hour on."""
    assert expected == terminal.duration(seconds)


def test_transfer_progress_is_shown_on_a_terminal_and_erased():
    """The line has files and bytes, escapes control characters, and is gone at the end."""
    with screen() as stream, terminal.transfer_progress("get a\x1b]0;x\x07", 100) as done:
        done("a", 100)
        shown = stream.getvalue()

    assert "\x1b]" not in shown
    assert "get a\\x1b]0;x\\x07" in shown
    assert "" == stream.getvalue().split("\r")[-2].strip()


def test_progress_is_not_shown_in_a_pipe(capsys):
    """A job in a pod has no bar in its log."""
    with terminal.transfer_progress("get a", 100) as done:
        done("a", 100)
    with terminal.count_progress("commits") as step:
        step("a")

    assert ("", "") == capsys.readouterr()
