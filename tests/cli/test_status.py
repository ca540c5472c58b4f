"""The last line of a terminal while a job runs."""

import io

import pytest
import trio

from worker import telemetry
from worker.cli.status import describe, with_status
from worker.errors import Cause
from worker.job.request import Progress, unwatched
from worker.job.result import Result
from worker.job.state import State


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


DONE = Result(job="a" * 32, state=State.SUCCESS, cause=Cause.PUBLISHED)


@pytest.mark.parametrize(
    ("progress", "report", "expected"),
    [
        (Progress(State.STARTING, "resolve"), {}, "0:01:05 · starting"),
        (Progress(State.RUNNING, "command", 1, 1, 1), {}, "0:01:05 · running"),
        (
            Progress(State.RUNNING, "command", 2, 1500, 3),
            {},
            "0:01:05 · running · datum 2 of 1,500 · try 3",
        ),
        (
            Progress(State.RUNNING, "command", 1, 1, 1),
            {"progress": 0.4, "message": "reading plates"},
            "0:01:05 · running · 40% · reading plates",
        ),
        (
            Progress(State.RUNNING, "command", 1, 1, 1),
            {"progress": "3 of 7"},
            "0:01:05 · running · 3 of 7",
        ),
    ],
)
def test_the_status_says_where_the_run_is(progress, report, expected):
    """How long, in which state, which datum and try, and what the command reports."""
    assert expected == describe(progress, report, 65.4)


async def test_the_status_stands_below_the_log_and_goes_at_the_end(autojump_clock):  # noqa: ARG001
    """It is drawn every second, wiped for each line of the log, and not there afterwards."""
    terminal = Terminal()
    telemetry.configure("auto", "info", stream=terminal)

    async def run(watch):
        watch(Progress(State.RUNNING, "command", 1, 3, 1))
        await trio.sleep(1.5)
        telemetry.logger().info("hello")
        return DONE

    assert DONE == await with_status(run)

    said = terminal.getvalue()
    assert "running · datum 1 of 3" in said.partition("hello")[0]
    assert "running · datum 1 of 3" in said.partition("hello")[2]
    assert said.endswith(telemetry.ERASE_LINE)


async def test_without_a_terminal_there_is_no_status():
    """A pipe gets the log and nothing else, and nobody is told of steps."""
    stream = io.StringIO()
    telemetry.configure("console", "info", stream=stream)
    watches = []

    async def run(watch):
        watches.append(watch)
        return DONE

    assert DONE == await with_status(run)
    assert [unwatched] == watches
    assert "" == stream.getvalue()
