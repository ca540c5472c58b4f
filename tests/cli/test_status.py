"""The status line of ``run`` on a terminal."""

import io

import pytest
import trio
from terminals import Terminal

from worker import telemetry
from worker.cli.status import describe, with_status
from worker.errors import Cause
from worker.gateway.messages import BucketStatistics
from worker.job.result import Result
from worker.job.state import Progress, State
from worker.line_writer import ERASE_LINE

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
            Progress(State.RUNNING, "command", 1200, 1500, 1, failed=1100),
            {},
            "0:01:05 · running · datum 1,200 of 1,500 · 1,100 failed",
        ),
        (
            Progress(State.RUNNING, "command", 1, 1, 1),
            {"progress": 0.4, "text": "reading plates"},
            "0:01:05 · running · 40% · reading plates",
        ),
        (
            Progress(State.RUNNING, "command", 1, 1, 1),
            {"progress": "3 of 7"},
            "0:01:05 · running · 3 of 7",
        ),
    ],
)
def test_the_status_has_time_state_datum_try_and_report(progress, report, expected):
    """Parts that do not apply are omitted."""
    assert expected == describe(progress, report, 65.4, {}, width=100)


def test_the_status_has_the_traffic_of_each_bucket_that_has_some():
    """What was read from an input, and what was written to ``out``."""
    buckets = {
        "labresults": BucketStatistics(reads=3, get_requests=2, bytes_read=2048),
        "reference": BucketStatistics(reads=1),
        "out": BucketStatistics(get_requests=5, objects_written=1, bytes_written=1),
    }

    running = Progress(State.RUNNING, "command", 1, 1, 1)
    status = describe(running, {"progress": 0.4}, 1.0, buckets, width=100)

    parts = ("running", "labresults 2 reads, 2.0 KiB", "out 1 object, 1 byte", "40%")
    assert status == " · ".join(("0:00:01", *parts))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("Password: ", " · Password:", id="a prompt"),
        pytest.param("\x1b[32m 42%|####  \x1b[0m", " · 42%|####", id="a colored progress bar"),
        pytest.param("  ", "", id="blanks"),
    ],
)
def test_the_status_ends_with_the_line_that_the_command_has_not_finished(line, shown):
    progress = Progress(State.RUNNING, "command", 1, 1, 1)

    assert f"0:01:05 · running{shown}" == describe(progress, {}, 65.4, {}, line, width=100)


async def test_an_unfinished_line_is_drawn_at_once_and_only_until_it_is_finished(autojump_clock):  # noqa: ARG001 - virtual time
    terminal = Terminal()
    telemetry.configure("auto", "info", stream=terminal)
    drawn = []

    async def run(*, watch, **_):
        watch(Progress(State.RUNNING, "command", 1, 1, 1))
        for line in ("10%", "20%", "", "30%"):
            watch(Progress(State.RUNNING, "output", unfinished=line))
            drawn.append(terminal.getvalue().rpartition(ERASE_LINE)[2])
        watch(Progress(State.RUNNING, "command", 1, 1, 2))
        await trio.sleep(1.5)
        drawn.append(terminal.getvalue().rpartition(ERASE_LINE)[2])
        return DONE

    await with_status(run)

    assert [
        *("0:00:00 · running · 10%", "0:00:00 · running · 20%", "0:00:00 · running"),
        *("0:00:00 · running · 30%", "0:00:00 · running · try 2"),
    ] == drawn


TRAFFIC = {
    "labresults": BucketStatistics(get_requests=1204, bytes_read=3 << 30),
    "reference": BucketStatistics(get_requests=1, bytes_read=1 << 30),
    "out": BucketStatistics(objects_written=5, bytes_written=51200),
}


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            111,
            "labresults 1,204 reads, 3.0 GiB · reference 1 read, 1.0 GiB · out 5 objects, 50.0 KiB",
        ),
        (110, "labresults 3.0 GiB · reference 1.0 GiB · out 50.0 KiB"),
        (80, "labresults 3.0 GiB · reference 1.0 GiB · out 50.0 KiB"),
        (60, "in 4.0 GiB · out 50.0 KiB"),
        (20, "in 4.0 GiB · out 50.0 KiB"),
    ],
)
def test_the_traffic_leaves_room_for_what_the_command_prints(width, expected):
    """Such as a prompt, which is at the end of the line."""
    running = Progress(State.RUNNING, "command", 1, 1, 1)

    status = describe(running, {}, 1.0, TRAFFIC, "Go?", width=width)

    assert f"0:00:01 · running · {expected} · Go?" == status


async def test_the_status_is_kept_below_the_log(autojump_clock):  # noqa: ARG001 - virtual time
    """It is drawn every second, erased before each line of the log, and removed at the end."""
    terminal = Terminal()
    telemetry.configure("auto", "info", stream=terminal)

    async def run(*, watch, **_):
        watch(Progress(State.RUNNING, "command", 1, 3, 1))
        await trio.sleep(1.5)
        telemetry.logger().info("hello")
        return DONE

    assert DONE == await with_status(run)

    done = terminal.getvalue()
    assert "running · datum 1 of 3" in done.partition("hello")[0]
    assert "running · datum 1 of 3" in done.partition("hello")[2]
    assert done.endswith(ERASE_LINE)


async def test_without_a_terminal_there_is_no_status():
    """A pipe gets the log only."""
    stream = io.StringIO()
    telemetry.configure("console", "info", stream=stream)
    ready = []

    async def run(*, watch, **_):
        watch(Progress(State.RUNNING, "command", 1, 1, 1))
        return DONE

    assert DONE == await with_status(run, lambda: ready.append(True))
    assert [True] == ready
    assert "" == stream.getvalue()
