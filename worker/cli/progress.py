"""Progress on standard error, if it is a terminal: bars of transfers, the status line of a job."""

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import trio

from worker import telemetry
from worker.cli import terminal
from worker.concurrency import open_plain_nursery
from worker.job.result import Result
from worker.job.state import Progress, Watch, unwatched

REDRAW = 1.0
"""Seconds between two redraws of the status line."""


@contextmanager
def transfer_progress(title: str, total: int | None = None) -> Iterator[Callable[[str, int], None]]:
    """Yield a function to call with the key and the size in bytes of each file transferred.

    With the *total* number of bytes a bar is shown, otherwise only counts.
    """
    if not sys.stderr.isatty():
        yield lambda _key, _size: None
        return
    # Imported for terminals only.
    from tqdm import tqdm

    with tqdm(
        desc=title, total=total, unit="B", unit_scale=True, unit_divisor=1024, leave=False
    ) as bar:
        files = 0

        def step(_key: str, size: int) -> None:
            nonlocal files
            files += 1
            bar.set_postfix_str(terminal.format_count(files, "file"), refresh=False)
            bar.update(size)

        yield step


@contextmanager
def counting_progress(noun: str) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with the name of each item that is processed."""
    if not sys.stderr.isatty():
        yield lambda _name: None
        return
    from tqdm import tqdm

    with tqdm(unit=f" {noun}", leave=False) as bar:

        def step(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update(1)

        yield step


async def show_status(run: Callable[[Watch], Awaitable[Result]]) -> Result:
    """Run a job, and show its status below the log if that is on a terminal."""
    line = telemetry.status_line()
    if line is None:
        return await run(unwatched)
    last: Progress | None = None
    report: dict[str, Any] = {}
    started = time.monotonic()

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
            await trio.sleep(REDRAW)
            if last is not None:
                line.show(describe_status(last, report, time.monotonic() - started))

    async with open_plain_nursery() as nursery:
        nursery.start_soon(redraw)
        try:
            result = await run(watch)
        finally:
            line.show("")
        nursery.cancel_scope.cancel()
    return result


def describe_status(progress: Progress, report: Mapping[str, Any], seconds: float) -> str:
    """Return the status line of a run that started *seconds* ago.

    *report* is the command's last report: ``progress`` (0 to 1, or text) and ``text``.
    """
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
    for name in ("text", "message"):
        if name in report:
            parts.append(str(report[name]))
    return " · ".join(parts)
