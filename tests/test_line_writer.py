"""The writer of the log, with a status line below its lines."""

import fcntl
import os
import struct
import termios
import threading

import pytest
from terminals import Terminal

from worker.line_writer import ERASE_LINE, LineWriter
from worker.log_stream import LogStream


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        pytest.param("x" * 100, "x" * 39, id="ASCII"),
        pytest.param("計" * 30, "計" * 19, id="wide characters"),
        pytest.param("e\u0301" * 50, "e\u0301" * 39, id="combining characters"),
        pytest.param("a\t" * 50, "a " * 19 + "a", id="tabs"),
    ],
)
def test_the_status_fits_on_one_line_of_the_terminal(monkeypatch, status, shown):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    writer = LineWriter(LogStream(terminal))

    writer.show(status)

    assert ERASE_LINE + shown == terminal.getvalue()


def test_the_width_of_the_status_is_that_of_the_terminal_of_the_log(monkeypatch):
    """Standard output may be a file."""
    monkeypatch.delenv("COLUMNS", raising=False)
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with open(leader, "rb", buffering=0) as shown, open(follower, "w") as terminal:
        writer = LineWriter(LogStream(terminal))

        writer.show("x" * 100)

        assert ERASE_LINE + "x" * 39 == shown.read(1000).decode()
        assert 39 == writer.width()


def test_lines_of_several_threads_are_not_mixed():
    """The status line is erased and drawn with each line as a whole."""
    terminal = Terminal()
    writer = LineWriter(LogStream(terminal))
    writer.show("status")
    line = "x" * 50

    def write():
        for _ in range(500):
            writer.msg(line)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    shown = ERASE_LINE + line + "\nstatus"
    assert ERASE_LINE + "status" + shown * 2000 == terminal.getvalue()
