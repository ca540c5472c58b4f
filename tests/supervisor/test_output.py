import os
import threading
from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from worker.redaction import HIDDEN, Redactor
from worker.supervisor.output import (
    KEPT_BY_STOP,
    PIPE_SIZE,
    READ_AHEAD,
    READ_SIZE,
    TAIL_LINES,
    UNFINISHED_INTERVAL,
    LineSplitter,
    OutputHandler,
    open_pump,
)


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
        handler.handle_lines(stream, [line])

    assert tail == handler.tail


# --- the pump -------------------------------------------------------------------------------------


class Log:
    """Records lines; each call waits until the log is open."""

    def __init__(self, *secrets: bytes, is_open: bool = True) -> None:
        self.lines: list[str] = []
        self.unfinished: list[str] = []
        self.opened = threading.Event()
        if is_open:
            self.opened.set()
        self.handler = OutputHandler(self._add, Redactor(secrets), self._show)

    def _add(self, _stream: str, lines: list[str]) -> None:
        self.opened.wait()
        self.lines += lines

    def _show(self, _stream: str, line: str) -> None:
        self.unfinished.append(line)


async def write(descriptor: int, data: bytes) -> None:
    """Write *data* as a command does, which blocks."""
    rest = memoryview(data)
    while rest:
        rest = rest[await trio.to_thread.run_sync(os.write, descriptor, rest[: 1 << 16]) :]


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.01)


async def test_a_command_prints_on_while_its_output_waits_for_the_log():
    """The log takes nothing until the command has printed more than both pipes can hold."""
    log = Log(is_open=False)
    lines = [f"line {number}" for number in range(READ_AHEAD // 16)]
    async with open_pump(log.handler) as pump:
        await write(pump.stdout, "".join(f"{line}\n" for line in lines).encode())
        assert [] == log.lines
        log.opened.set()

    assert lines == log.lines


async def test_a_command_is_held_back_once_too_much_waits_for_the_log():
    """The worker's memory is bounded."""
    log = Log(is_open=False)
    block, written = b"0123456789abcde\n" * 4096, 0
    async with open_pump(log.handler) as pump:
        async with trio.lowlevel.FdStream(os.dup(pump.stdout)) as stream:
            with trio.CancelScope() as full:
                while written < 2 * READ_AHEAD:
                    full.deadline = trio.current_time() + 1
                    await stream.send_all(block)
                    written += len(block)
        log.opened.set()

    assert written <= READ_AHEAD + 2 * PIPE_SIZE
    assert written // 16 <= len(log.lines)


async def test_a_stopped_run_logs_only_the_last_of_what_waits_for_the_log():
    """Otherwise a signal would have no effect for as long as the log takes."""
    log = Log(is_open=False)
    lines = [f"line {number}" for number in range(READ_AHEAD // 16)]
    with trio.CancelScope() as scope:
        async with open_pump(log.handler) as pump:
            await write(pump.stdout, "".join(f"{line}\n" for line in lines).encode())
            scope.cancel()
            trio.lowlevel.current_trio_token().run_sync_soon(log.opened.set)
            await trio.sleep_forever()

    gap = next(index for index, line in enumerate(log.lines) if line.startswith("…"))
    *before, cut = log.lines[:gap]
    rest = log.lines[gap + 1 :]
    assert lines[: len(before)] == before
    assert lines[len(before)].startswith(cut)
    assert lines[-len(rest) :] == rest
    assert KEPT_BY_STOP - 2 * READ_SIZE < sum(len(line) + 1 for line in rest) <= KEPT_BY_STOP
    missing = sum(len(line) + 1 for line in lines[len(before) : -len(rest)]) - len(cut)
    # One less if the line before the gap is complete.
    assert log.lines[gap] in [f"… ({missing - end:,} bytes are not in the log)" for end in (0, 1)]


async def test_a_secret_that_is_partly_dropped_is_not_logged():
    """The rest of it would not be recognized, so what is kept begins with a line."""
    secret = b"hunter22" * 1000
    log = Log(secret, is_open=False)
    with trio.CancelScope() as scope:
        async with open_pump(log.handler) as pump:
            for _ in range(KEPT_BY_STOP // len(secret) * 3):
                await write(pump.stdout, secret + b"\n")
            await write(pump.stdout, b"the end\n")
            scope.cancel()
            trio.lowlevel.current_trio_token().run_sync_soon(log.opened.set)
            await trio.sleep_forever()

    assert "the end" == log.lines[-1]
    assert {HIDDEN} == {line for line in log.lines[:-1] if "not in the log" not in line}


async def test_both_streams_are_handled_in_the_order_of_printing():
    """As far as the order of two pipes can be known."""
    log = Log()
    async with open_pump(log.handler) as pump:
        for number in range(5):
            await write(pump.stdout, b"out %d\n" % number)
            await wait_until(lambda: len(log.lines) % 2 == 1)
            await write(pump.stderr, b"err %d\n" % number)
            await wait_until(lambda: len(log.lines) % 2 == 0)

    assert [f"{name} {number}" for number in range(5) for name in ("out", "err")] == log.lines


async def test_a_line_without_an_end_is_reported_while_it_is_there():
    """Once more when it has changed, and once when it is finished."""
    log = Log(b"hunter22")
    async with open_pump(log.handler) as pump:
        for printed, shown in (
            (b"Password: ", "Password: "),
            (b"hunter22!", f"Password: {HIDDEN}!"),
            (b"\r10%\r20%", "20%"),
            (b"\n", ""),
        ):
            await write(pump.stdout, printed)
            while log.unfinished[-1:] != [shown]:
                await trio.sleep(0.01)
        count = len(log.unfinished)
        await trio.sleep(2.5 * UNFINISHED_INTERVAL)

    assert ["20%"] == log.lines
    assert count == len(log.unfinished)


async def test_an_error_of_the_log_ends_the_run_of_the_command():
    """It does not wait for what is never handled."""

    def fail(_stream: str, _lines: list[str]) -> None:
        raise OSError("no")

    async def print_forever() -> None:
        async with open_pump(OutputHandler(fail, Redactor(()))) as pump:
            await write(pump.stdout, b"a\n")
            await trio.sleep_forever()

    with pytest.raises(OSError, match="no"):
        await print_forever()


async def test_a_process_that_holds_the_pipe_open_does_not_prolong_the_run():
    """What it prints after the command's end is not the command's."""
    log = Log()
    async with open_pump(log.handler) as pump:
        other = os.dup(pump.stdout)
        await write(pump.stdout, b"a\n")
    try:
        assert ["a"] == log.lines
        with pytest.raises(BrokenPipeError):
            os.write(other, b"b\n")
    finally:
        os.close(other)
