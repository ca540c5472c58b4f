"""Reports of the user's code while it runs: JSON Lines written to a named pipe."""

import json
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from worker.concurrency import closing, open_plain_nursery
from worker.config import REPORT
from worker.job.recorded import valid_unicode
from worker.redaction import redact
from worker.supervisor.lines import MAX_LINE, LineSplitter

VARIABLES = (REPORT, "PACH_REPORT")
"""The variables that contain the path of the pipe."""
STATUS_KEYS = ("progress", "text")
VALUE_KEYS = ("metrics", "annotation")
MAX_DEPTH = 16
"""Objects and arrays inside of each other in a report."""
MAX_VALUES = 1000
"""Metrics, and annotations, that are kept; a commit does not hold a time series."""
MAX_KEPT = 256 * 1024
"""Bytes of JSON of the metrics, and of the annotations, that are kept."""
LOGGED_PER_SECOND = 100
"""Reports that are logged within a second."""
MAX_SHOWN = 200
"""Characters of an invalid report that a warning shows."""
PIECE = 16 * 1024
PIPE_CAPACITY = 1 << 20
"""Bytes; at least what a pipe holds, so what the command wrote before its exit is read."""

# --- parsing --------------------------------------------------------------------------------------


class InvalidReport(ValueError):
    """A line is not a report."""


def parse_report(line: str) -> dict[str, Any]:
    """Return a report as values of strict JSON (RFC 8259); raises InvalidReport.

    Numbers that JSON has not are the texts ``NaN``, ``Infinity`` and ``-Infinity``, as in the JSON
    of protobuf. Lone surrogates become U+FFFD.
    """
    if len(line) > MAX_LINE:
        # The line is cut, and ends with the number of bytes that are missing.
        raise InvalidReport(f"of at most {MAX_LINE:,} bytes")
    try:
        report = _strict(json.loads(line), MAX_DEPTH)
    except InvalidReport:
        raise
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or report.keys().isdisjoint(STATUS_KEYS + VALUE_KEYS):
        keys = f"{', '.join(STATUS_KEYS)}, {' or '.join(VALUE_KEYS)}"
        raise InvalidReport(f"of JSON, an object with {keys}")
    return report


def _strict(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if not isinstance(value, dict | list):
        return value
    if not depth:
        raise InvalidReport(f"of JSON with at most {MAX_DEPTH} objects and arrays in each other")
    if isinstance(value, list):
        return [_strict(each, depth - 1) for each in value]
    return {valid_unicode(name): _strict(each, depth - 1) for name, each in value.items()}


# --- what is kept ---------------------------------------------------------------------------------


def _size(name: str, value: Any) -> int:
    return len(json.dumps({name: value}).encode())


@attrs.define
class _Values:
    """The last values of names, of which the ones reported longest ago are dropped."""

    kept: dict[str, Any]
    """In the order of their last report."""
    _sizes: dict[str, int] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)

    def update(self, values: Mapping[str, Any]) -> str | None:
        """Set *values*; return the last name that was dropped, or None."""
        dropped = None
        for name, value in values.items():
            self._remove(name)
            self.kept[name] = value
            self._sizes[name] = _size(name, value)
            self._size += self._sizes[name]
        while len(self.kept) > MAX_VALUES or self._size > MAX_KEPT:
            dropped = next(iter(self.kept))
            self._remove(dropped)
        return dropped

    def _remove(self, name: str) -> None:
        self.kept.pop(name, None)
        self._size -= self._sizes.pop(name, 0)


@attrs.define
class Reports:
    """Reports of a run: the last status, and the last value of each metric and annotation.

    A report never changes the outcome of a run: its size, number and depth are bounded, and what
    exceeds a bound is dropped with a warning.
    """

    _kept: dict[str, Any]
    """The last values, as JSON values."""
    _received: Callable[..., None]
    """Called with each report, and with the keyword ``log``: whether to log it."""
    _warn: Callable[[str], None]
    _clock: Callable[[], float] = trio.current_time
    """The current time in seconds."""
    _values: dict[str, _Values] = attrs.field(factory=dict, init=False)
    _warned: set[str] = attrs.field(factory=set, init=False)
    _second: float = attrs.field(default=-math.inf, init=False)
    """When the present second started."""
    _count: int = attrs.field(default=0, init=False)
    """Reports in it."""
    _not_logged: int = attrs.field(default=0, init=False)

    def add(self, line: str) -> None:
        """Handle one line: an object with ``progress``, ``text``, ``metrics`` or ``annotation``."""
        if not line.strip():
            return
        try:
            report = parse_report(line)
        except InvalidReport as expected:
            # Redacted before it is cut.
            found = redact(line)[:MAX_SHOWN]
            self._warn_once("invalid", f"a report is a line {expected}; found {found!r}")
            return
        status = {key: report[key] for key in STATUS_KEYS if key in report}
        if status:
            self._kept.setdefault("progress", {}).update(status)
        for key in VALUE_KEYS:
            if isinstance(report.get(key), dict):
                self._keep(key, report[key])
        self._received(report, log=self._may_log())

    def finish(self) -> None:
        """Warn of the number of reports that were not logged."""
        if self._not_logged:
            self._warn(
                f"{self._not_logged:,} reports were not logged, since the command made more than "
                f"{LOGGED_PER_SECOND} in a second; their values are kept"
            )

    def _keep(self, key: str, values: Mapping[str, Any]) -> None:
        kept = self._values.get(key)
        if kept is None:
            kept = self._values[key] = _Values(self._kept.setdefault(key, {}))
        dropped = kept.update(values)
        if dropped is not None:
            self._warn_once(
                key,
                f"reports have more than {MAX_VALUES:,} names or {MAX_KEPT // 1024} KiB in {key}: "
                f"the names that were reported longest ago are dropped, such as "
                f"{redact(dropped)[:MAX_SHOWN]!r}",
            )

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(text)

    def _may_log(self) -> bool:
        now = self._clock()
        if now - self._second >= 1:
            self._second, self._count = now, 0
        self._count += 1
        if self._count <= LOGGED_PER_SECOND:
            return True
        self._not_logged += 1
        return False


# --- the pipe -------------------------------------------------------------------------------------


@asynccontextmanager
async def receive_reports(path: Path, reports: Reports) -> AsyncIterator[None]:
    """Receive reports from a pipe at *path* until the block is left and the pipe is empty.

    A command that removes or replaces the pipe reports nothing more.
    """
    os.mkfifo(path)
    os.chmod(path, 0o622)  # The command may run as another user.
    # Opened for writing as well, so that it has no end while no other process has it open.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    lines = LineSplitter()

    def add(data: bytes) -> None:
        for line in lines.feed(data):
            reports.add(line)

    async def receive(stream: trio.lowlevel.FdStream) -> None:
        while True:
            add(await stream.receive_some(PIECE))

    async with closing(trio.lowlevel.FdStream(descriptor)) as stream:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(receive, stream)
            yield
            nursery.cancel_scope.cancel()
        with suppress(BlockingIOError):
            for _ in range(PIPE_CAPACITY // PIECE):
                add(os.read(descriptor, PIECE))
    for line in lines.finish():
        reports.add(line)
    reports.finish()
