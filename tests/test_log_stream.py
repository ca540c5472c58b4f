"""The stream of the log: only the lines of a command wait for its reader."""

import errno
import io
import os
import select
import threading
from contextlib import suppress

import pytest

from worker import log_stream
from worker.log_stream import LogStream, waiting_for_reader


class Pipe:
    """A log that goes to a pipe."""

    def __init__(self) -> None:
        self.read_end, write_end = os.pipe()
        self.file = open(write_end, "w", encoding="utf-8")  # noqa: SIM115 - the fixture closes it
        self.log = LogStream(self.file)

    def write(self, text: str) -> None:
        self.log.put(text)
        self.log.drain()

    def read(self, size: int) -> str:
        found = b""
        while len(found) < size:
            found += os.read(self.read_end, 1 << 16)
        return found.decode()


@pytest.fixture
def pipe():
    """A pipe without a reader."""
    found = Pipe()
    yield found
    os.close(found.read_end)
    found.log.flush(10)
    with suppress(OSError):
        found.file.close()


LINES = [f"line {number} é\n" for number in range(20_000)]
"""More than a pipe holds."""


def test_events_do_not_wait_for_the_reader(pipe):
    """What it has written is complete and in order once it is read."""
    for line in LINES:
        pipe.write(line)

    assert not pipe.log.flush(0)
    text = "".join(LINES)
    assert text == pipe.read(len(text.encode()))
    assert pipe.log.flush(None)


def test_a_text_that_is_longer_than_a_pipe_is_written_in_pieces(pipe):
    """A traceback, or a result."""
    text = "é" * 200_000

    pipe.write(text)

    assert text == pipe.read(len(text.encode()))


@pytest.mark.parametrize("text", ["x" * 200_000, "é" * 200_000], ids=["ascii", "unicode"])
def test_a_pipe_that_another_process_has_made_non_blocking_gets_all(pipe, text):
    """A full one is an error to its writer instead of a wait."""
    os.set_blocking(pipe.file.fileno(), False)

    def write():
        with waiting_for_reader():
            pipe.write(text)
        pipe.file.close()

    thread = threading.Thread(target=write)
    thread.start()

    with open(pipe.read_end, encoding="utf-8", closefd=False) as reader:
        assert text == reader.read()
    thread.join()


def test_what_is_to_wait_for_the_reader_holds_nothing_else_back(pipe):
    """The lines of a command are held back, the events of a run are not."""
    text = "x" * 200_000

    def write():
        with waiting_for_reader():
            pipe.write(text)

    thread = threading.Thread(target=write)
    thread.start()

    # Once the pipe has data, the thread has put its text, and waits for the rest of it.
    select.select([pipe.read_end], [], [])
    assert thread.is_alive()
    pipe.write("end")

    assert text + "end" == pipe.read(len(text) + 3)
    thread.join()


def test_beyond_a_bound_what_is_not_read_is_dropped_with_a_mark(pipe, monkeypatch):
    """The memory for it has a bound."""
    monkeypatch.setattr(log_stream, "MAX_PENDING", 1_000_000)
    line = "x" * 999 + "\n"
    for _ in range(2000):
        pipe.write(line)

    text = ""

    def read():
        nonlocal text
        while not text.endswith("end\n"):
            text += pipe.read(1)

    reader = threading.Thread(target=read)
    reader.start()
    assert pipe.log.flush(None)
    pipe.write("end\n")
    reader.join()

    assert "lines were not logged" in text
    assert text.endswith("end\n")
    assert text.count(line) + int(text.split("… (")[1].split()[0].replace(",", "")) == 2000


def test_a_stream_that_fails_is_ignored():
    """A job outlives its log."""
    stream = io.StringIO()
    stream.close()
    log = LogStream(stream)

    log.put("x")
    log.drain()

    assert log.stream is None
    assert log.flush(None)


def test_on_a_full_disk_lines_are_dropped_until_there_is_room(tmp_path, monkeypatch):
    """A job outlives it, and its last lines are the most important ones."""
    room = 25
    write = os.write

    def write_to_disk(descriptor, data):
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = write(descriptor, data[:room])
        room -= count
        return count

    monkeypatch.setattr(os, "write", write_to_disk)
    path = tmp_path / "log"
    with path.open("w", encoding="utf-8") as file:
        log = LogStream(file, lambda lines: f"{lines} missing")
        for text in ("line 1\nline 2\n", "line 3\nline 4\nline 5\n", "line 6\n", "line 7\n"):
            log.put(text)
            log.drain()
        room = 1000
        for text in ("line 8\n", "line 9\n"):
            log.put(text)
            log.drain()

    assert path.read_text().splitlines() == [
        *("line 1", "line 2", "line 3", "line"),
        *("4 missing", "line 8", "line 9"),
    ]
