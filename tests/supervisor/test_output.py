import fcntl
import os
import sys
import termios
import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from worker.redaction import HIDDEN, Redactor
from worker.supervisor import output
from worker.supervisor.output import (
    KEPT_BY_STOP,
    PIPE_SIZE,
    READ_AHEAD,
    READ_SIZE,
    TAIL_LINES,
    UNFINISHED_INTERVAL,
    OutputHandler,
    open_pump,
)


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
        self.calls = 0
        self.unfinished: list[str] = []
        self.opened = threading.Event()
        if is_open:
            self.opened.set()
        self.handler = OutputHandler(self._add, Redactor(secrets), self._show)

    def _add(self, _stream: str, lines: list[str]) -> None:
        self.opened.wait()
        self.calls += 1
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


def in_pipe(descriptor: int) -> int:
    """Return the bytes of a pipe that were not read."""
    found = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    return int.from_bytes(found, sys.byteorder)


async def test_the_output_of_a_command_that_is_held_back_is_complete():
    """The command exits while the pipe is full; the log takes nothing until all is read."""
    log = Log(is_open=False)
    block, written = b"0123456789abcde\n" * 4096, 0

    async def open_later() -> None:
        await trio.sleep(2 * output.PIPE_TIMEOUT)
        log.opened.set()

    async with trio.open_nursery() as nursery, open_pump(log.handler) as pump:
        with trio.CancelScope() as full:
            async with trio.lowlevel.FdStream(os.dup(pump.stdout)) as stream:
                while written < 2 * READ_AHEAD:
                    full.deadline = trio.current_time() + 1
                    await stream.send_all(block)
                    written += len(block)
        nursery.start_soon(open_later)

    # The last block may be in the pipe in part.
    assert written // 16 <= len(log.lines)
    assert {"0123456789abcde"} == {*log.lines[:-1]}


async def test_the_bound_holds_for_streams_that_are_written_in_turns(monkeypatch):
    """Each write is a piece of its own, whose objects are larger than its data."""
    monkeypatch.setattr(output, "READ_AHEAD", 50 * output.PIECE_SIZE)
    log = Log(is_open=False)
    turns = 0
    async with open_pump(log.handler) as pump:
        with trio.CancelScope() as full:
            while turns < 200:
                for descriptor in (pump.stdout, pump.stderr):
                    os.write(descriptor, b"x\n")
                    full.deadline = trio.current_time() + 1
                    while in_pipe(descriptor):
                        await trio.sleep(0.001)
                turns += 1
        log.opened.set()

    assert turns <= 50
    assert 2 * turns <= len(log.lines) <= 2 * (turns + 1)


async def test_lines_that_wait_for_the_log_are_handled_together():
    """Each was printed by a call of its own, and read alone."""
    log = Log(is_open=False)
    lines = [f"line {number}" for number in range(50)]
    async with open_pump(log.handler) as pump:
        for line in lines:
            os.write(pump.stdout, f"{line}\n".encode())
            await wait_until(lambda: not in_pipe(pump.stdout))
        log.opened.set()

    assert lines == log.lines
    # Those that were read before the first call, and all others.
    assert log.calls <= 2


async def test_the_reader_pauses_after_a_small_read(mock_clock):
    """Else it would be woken for each line, and hold back the command that prints them."""
    log = Log()
    async with open_pump(log.handler) as pump:
        os.write(pump.stdout, b"a\n")
        while in_pipe(pump.stdout):
            await trio.lowlevel.checkpoint()
        os.write(pump.stdout, b"b\n")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert 2 == in_pipe(pump.stdout)
        mock_clock.rate = 1

    assert ["a", "b"] == log.lines


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
    assert KEPT_BY_STOP - 3 * READ_SIZE < sum(len(line) + 1 for line in rest) <= KEPT_BY_STOP
    missing = sum(len(line) + 1 for line in lines[len(before) : -len(rest)]) - len(cut)
    # One less if the line before the gap is complete.
    assert log.lines[gap] in [f"… ({missing - end:,} bytes are not in the log)" for end in (0, 1)]


async def test_a_stopped_run_ends_although_the_log_has_no_reader(autojump_clock):  # noqa: ARG001 - virtual time
    """The thread that waits for the reader is abandoned."""
    log = Log(is_open=False)
    try:
        with trio.CancelScope() as scope:
            async with open_pump(log.handler) as pump:
                os.write(pump.stdout, b"line\n")
                await trio.sleep(1)
                scope.cancel()
                await trio.sleep_forever()
        assert not log.lines
    finally:
        log.opened.set()


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


async def test_the_rest_of_a_line_whose_start_is_dropped_is_not_logged():
    """The line may be longer than what is kept, which may start within a secret."""
    secret = "".join(f"{number:04x}" for number in range(500)).encode()
    log = Log(secret, is_open=False)
    with trio.CancelScope() as scope:
        async with open_pump(log.handler) as pump:
            await write(pump.stdout, b"first\nsecond ")
            await trio.testing.wait_all_tasks_blocked(0.05)
            await write(pump.stdout, (b"-" + secret) * (KEPT_BY_STOP // len(secret) * 2))
            await write(pump.stdout, b"\nthe end\n")
            scope.cancel()
            trio.lowlevel.current_trio_token().run_sync_soon(log.opened.set)
            await trio.sleep_forever()

    first, second, gap, end = log.lines
    assert ("first", "the end") == (first, end)
    assert not second.removeprefix("second ").replace(HIDDEN, "").strip("-")
    assert "not in the log" in gap


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
