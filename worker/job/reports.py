"""Reports of the user's code while it runs: JSON Lines written to a named pipe."""

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from worker.concurrency import open_plain_nursery
from worker.config import REPORT
from worker.redaction import Redactor
from worker.supervisor.lines import LineSplitter

VARIABLES = (REPORT, "PACH_REPORT")
"""The variables that contain the path of the pipe."""
STATUS_KEYS = ("progress", "text")
VALUE_KEYS = ("metrics", "annotation")
MAX_VALUES = 1000
"""Metrics and annotations that are kept; a commit does not hold a time series."""
PIECE = 16 * 1024
PIPE_CAPACITY = 1 << 20
"""Bytes; at least what a pipe holds, so what the command wrote before its exit is read."""


@attrs.define
class Reports:
    """Reports of a run: the last status, and the last value of each metric and annotation."""

    _kept: dict[str, Any]
    """The last values, as JSON values."""
    _received: Callable[[Mapping[str, Any]], None]
    """Called with each report."""
    _warn: Callable[[str], None]
    _warned: bool = attrs.field(default=False, init=False)

    def add(self, line: str) -> None:
        """Handle one line: an object with ``progress``, ``text``, ``metrics`` or ``annotation``."""
        if not line.strip():
            return
        try:
            report = json.loads(line)
        except ValueError:
            report = None
        if not isinstance(report, dict) or report.keys().isdisjoint(STATUS_KEYS + VALUE_KEYS):
            if not self._warned:
                self._warn(
                    "a report is a line of JSON, an object with "
                    f"{', '.join(STATUS_KEYS)}, {' or '.join(VALUE_KEYS)}; found {line[:200]!r}"
                )
            self._warned = True
            return
        status = {key: report[key] for key in STATUS_KEYS if key in report}
        if status:
            self._kept.setdefault("progress", {}).update(status)
        for key in VALUE_KEYS:
            if isinstance(report.get(key), dict):
                values = self._kept.setdefault(key, {})
                values.update(report[key])
                while len(values) > MAX_VALUES:
                    del values[next(iter(values))]
        self._received(report)


@asynccontextmanager
async def receive_reports(path: Path, reports: Reports, redactor: Redactor) -> AsyncIterator[None]:
    """Receive reports from a pipe at *path* until the block is left and the pipe is empty."""
    os.mkfifo(path)
    os.chmod(path, 0o622)  # The command may run as another user.
    # Opened for writing as well, so that it has no end while no other process has it open.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    lines, stream_redactor = LineSplitter(), redactor.new_stream()

    def add(data: bytes) -> None:
        for line in lines.feed(stream_redactor.feed(data)):
            reports.add(line)

    async def receive(stream: trio.lowlevel.FdStream) -> None:
        while True:
            add(await stream.receive_some(PIECE))

    async with trio.lowlevel.FdStream(descriptor) as stream:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(receive, stream)
            yield
            nursery.cancel_scope.cancel()
        with suppress(BlockingIOError):
            for _ in range(PIPE_CAPACITY // PIECE):
                add(os.read(descriptor, PIECE))
    for line in (*lines.feed(stream_redactor.finish()), *lines.finish()):
        reports.add(line)
