"""Tables, values and progress bars, on a terminal and in a pipe."""

from contextlib import contextmanager, redirect_stderr, redirect_stdout

import click
import pytest
from terminals import Terminal
from wcwidth import wcswidth

from worker import telemetry
from worker.cli import terminal


@contextmanager
def screen():
    """Replace the standard streams by a terminal of 80 columns.

    Not a fixture, since pytest replaces the streams between the set-up and the test.
    """
    found = Terminal()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(found), redirect_stderr(found):
        patch.setenv("COLUMNS", "80")
        patch.delenv("NO_COLOR", raising=False)
        patch.setenv("TERM", "xterm")
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


IDS = (f"{7:032x}", f"{8:032x}", "3f" * 16)


def shown_table(columns, rows, **options):
    """Return the lines of a table on a terminal of 80 columns, without styles."""
    with screen() as shown:
        terminal.print_table(columns, rows, **options)
    return click.unstyle(shown.getvalue()).splitlines()


def test_ids_are_whole_where_they_fit():
    lines = shown_table(("commit", "message"), [(IDS[0], "x" * 46)])

    assert IDS[0] in lines[1]


def test_ids_are_abbreviated_where_the_table_is_too_wide():
    """As far as they remain distinct: they are refs, as the whole ids are."""
    rows = [(f"labresults@{each}", "x" * 47) for each in IDS]

    def names(rows):
        return [line.split()[0] for line in shown_table(("commit", "message"), rows)[1:]]

    assert ["labresults@" + "3f" * 6] == names(rows[2:])
    assert [f"labresults@{each}" for each in IDS] == names(rows)


def test_optional_columns_are_omitted_in_their_order_where_the_table_is_too_wide():
    columns = ("repo", "files", "finished", "head")
    row = ("r" * 50, "12", "f" * 19, "h" * 8)

    def titles(width):
        rows = [("r" * width, *row[1:])]
        lines = shown_table(columns, rows, optional=("head", "finished"))
        assert all(len(line) <= 80 for line in lines)
        return lines[0].lower().split()

    assert [*columns] == titles(10)
    assert ["repo", "files", "finished"] == titles(50)
    assert ["repo", "files"] == titles(60)


def test_a_name_that_is_wider_than_the_terminal_is_not_cut():
    """It can be copied."""
    lines = shown_table(("repo", "head"), [("r" * 100, "1")], optional=("head",))

    assert ["REPO", "r" * 100] == lines


@pytest.mark.parametrize("text", ["a long message " * 9, "日本語" * 30], ids=["Latin", "wide"])
def test_a_message_is_cut_to_the_width_of_the_terminal(text):
    lines = shown_table(("key", "message"), [("k" * 20, text)], cut="message")

    assert lines[1].endswith("…")
    assert 76 < wcswidth(lines[1]) <= 80


def test_a_later_batch_has_the_columns_of_the_first_ones(monkeypatch):
    monkeypatch.setattr(terminal, "BATCH", 1)
    rows = [("r" * 75, "12345678"), ("r", "12345678")]

    lines = shown_table(("repo", "head"), rows, optional=("head",))

    assert ["REPO", "r" * 75, "r"] == [line.rstrip() for line in lines]


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_there_are_no_styles_where_the_user_wants_none(variable):
    with screen() as shown, pytest.MonkeyPatch.context() as patch:
        for name, value in variable.items():
            patch.setenv(name, value)
        terminal.print_title("title")
        terminal.print_table(("key", "size"), ROWS)
        terminal.print_facts([("name", "value")])
        telemetry.configure("auto", stream=shown)
        telemetry.logger().error("event", key="value")

    assert "\x1b" not in shown.getvalue()


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


@pytest.mark.parametrize("filler", range(60, 76))
def test_a_quantity_and_its_unit_are_on_one_line(filler):
    with screen():
        lines = list(terminal.format_facts([("f", "x" * filler + " 1.5 MiB read")], wraps=True))

    assert [line for line in lines if "1.5 MiB" in line]
    assert "1.5 MiB read" in " ".join(" ".join(lines).split())


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
