"""The status line of ``run``: time, state, datum, traffic, report, and a line without an end."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from worker import telemetry
from worker.cli.summary import traffic
from worker.concurrency import open_plain_nursery
from worker.gateway.messages import BucketStatistics
from worker.job.result import Result
from worker.job.state import Progress
from worker.text import COLOR

REDRAW_INTERVAL = 1.0
"""Seconds between two drawings of the status line."""


def describe(
    progress: Progress,
    report: Mapping[str, Any],
    seconds: float,
    buckets: Mapping[str, BucketStatistics],
    unfinished: str = "",
    *,
    width: int,
) -> str:
    """Return the status of a run: time, state, datum, try, traffic, and the command's report.

    At its end is the line that the command has printed without an end, such as a prompt. The form
    of the traffic is the longest one that leaves room for it in *width* columns.
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}:{minutes:02}:{rest:02}", progress.state.value]
    if progress.datums > 1:
        parts.append(f"datum {progress.datum:,} of {progress.datums:,}")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.attempt > 1:
        parts.append(f"try {progress.attempt}")
    last = []
    done = report.get("progress")
    if isinstance(done, int | float) and 0 <= done <= 1:
        last.append(f"{done:.0%}")
    elif done is not None:
        last.append(str(done))
    if "text" in report:
        last.append(str(report["text"]))
    if line := COLOR.sub("", unfinished).strip():
        last.append(line)
    for form in traffic(buckets):
        status = " · ".join([*parts, *form, *last])
        if len(status) <= width:
            break
    return status


def traffic_interval() -> float:
    """Return the seconds between two reports of traffic: infinite without a status line."""
    return math.inf if telemetry.status_line() is None else REDRAW_INTERVAL


async def with_status(
    run: Callable[..., Awaitable[Result]], ready: Callable[[], None] = lambda: None
) -> Result:
    """Run a job with its status on the last line of the terminal, if the log goes to one.

    *run* is called with ``watch``, a function for the progress of the run. *ready* is called at
    each progress.
    """
    line = telemetry.status_line()
    if line is None:
        return await run(watch=lambda _: ready())
    last: Progress | None = None
    report: dict[str, Any] = {}
    buckets: Mapping[str, BucketStatistics] = {}
    unfinished = ""
    started = time.monotonic()

    def draw() -> None:
        if last is None:
            return
        seconds, width = time.monotonic() - started, line.width()
        line.show(describe(last, report, seconds, buckets, unfinished, width=width))

    def watch(progress: Progress) -> None:
        nonlocal last, report, buckets, unfinished
        ready()
        if progress.step == "output":
            if progress.unfinished != unfinished:
                unfinished = progress.unfinished
                draw()
        elif progress.step == "report":
            report = {**report, **progress.report}
        elif progress.step == "traffic":
            buckets = progress.buckets
        elif progress.step == "command":
            last, report, unfinished = progress, {}, ""
        elif last is None or progress.state is not last.state:
            last = progress

    async def redraw() -> None:
        while True:
            await trio.sleep(REDRAW_INTERVAL)
            draw()

    async with open_plain_nursery() as nursery:
        nursery.start_soon(redraw)
        try:
            result = await run(watch=watch)
        finally:
            line.show("")
        nursery.cancel_scope.cancel()
    return result
