"""The last line of a terminal while a job runs: where it is, for how long, and what it reports."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from worker import telemetry
from worker.concurrency import open_plain_nursery
from worker.job.request import Progress, Watch, unwatched
from worker.job.result import Result


def describe(progress: Progress, report: Mapping[str, Any], seconds: float) -> str:
    """Return the status of a run in a line."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}:{minutes:02}:{rest:02}", progress.state.value]
    if progress.datums > 1:
        parts.append(f"datum {progress.datum:,} of {progress.datums:,}")
    if progress.attempt > 1:
        parts.append(f"try {progress.attempt}")
    done = report.get("progress")
    if isinstance(done, int | float) and 0 <= done <= 1:
        parts.append(f"{done:.0%}")
    elif done is not None:
        parts.append(str(done))
    if "message" in report:
        parts.append(str(report["message"]))
    return " · ".join(parts)


async def with_status(run: Callable[[Watch], Awaitable[Result]]) -> Result:
    """Run a job with its status on the last line of the terminal, if a person watches the log."""
    line = telemetry.status_line()
    if line is None:
        return await run(unwatched)
    last: Progress | None = None
    report: dict[str, Any] = {}
    began = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last, report
        if progress.step == "report":
            report = {**report, **progress.report}
        elif progress.step == "command":
            last, report = progress, {}
        elif last is None or progress.state is not last.state:
            last = progress

    async def redraw() -> None:
        while True:
            await trio.sleep(1)
            if last is not None:
                line.show(describe(last, report, time.monotonic() - began))

    async with open_plain_nursery() as nursery:
        nursery.start_soon(redraw)
        try:
            result = await run(watch)
        finally:
            line.show("")
        nursery.cancel_scope.cancel()
    return result
