"""What the user's code reports while it runs: lines of JSON in a pipe that it is told of."""

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from worker.concurrency import open_plain_nursery
from worker.redaction import Redactor
from worker.supervisor.output import LineSplitter

VARIABLES = ("WORKER_REPORT", "PACH_REPORT")
KINDS = ("progress", "metrics", "annotation")
NAMES = 1000
"""How many metrics and annotations are kept; a commit is no place for a time series."""
PIECE = 16 * 1024
CAPACITY = 1 << 20
"""More than a pipe holds: what the command wrote before it ended is in the pipe by then."""


class Reports:
    """The reports of a run: the last progress, and the last value of each metric and annotation."""

    def __init__(
        self,
        kept: dict[str, Any],
        heard: Callable[[Mapping[str, Any]], None],
        warn: Callable[[str], None],
    ) -> None:
        """Keep in *kept* what is worth keeping, as JSON values; tell *heard* of every report."""
        self._kept = kept
        self._heard = heard
        self._warn = warn
        self._refused = 0

    def take(self, line: str) -> None:
        """Take in one line: an object with ``progress``, ``metrics`` or ``annotation`` in it."""
        if not line.strip():
            return
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict) or not any(kind in message for kind in KINDS):
            self._refused += 1
            if self._refused == 1:
                self._warn(
                    f"a report is a line of JSON with one of {', '.join(KINDS)}; "
                    f"found {line[:200]!r}"
                )
            return
        if "progress" in message:
            self._kept["progress"] = {k: v for k, v in message.items() if k not in KINDS[1:]}
        for kind in KINDS[1:]:
            if isinstance(message.get(kind), dict):
                kept = self._kept.setdefault(kind, {})
                kept.update(message[kind])
                while len(kept) > NAMES:
                    del kept[next(iter(kept))]
        self._heard(message)


@asynccontextmanager
async def listening(path: Path, reports: Reports, redactor: Redactor) -> AsyncIterator[None]:
    """Hear what is written to a pipe at *path*, until the block is left and the pipe is empty."""
    os.mkfifo(path)
    os.chmod(path, 0o622)  # The command may be another user's.
    # Open for writing too, so that it never ends while nobody else has it open.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    lines, cleaner = LineSplitter(), redactor.new_stream()

    def take(data: bytes) -> None:
        for line in lines.feed(cleaner.feed(data)):
            reports.take(line)

    async def hear(stream: trio.lowlevel.FdStream) -> None:
        while True:
            take(await stream.receive_some(PIECE))

    async with trio.lowlevel.FdStream(descriptor) as stream:
        async with open_plain_nursery() as nursery:
            nursery.start_soon(hear, stream)
            yield
            nursery.cancel_scope.cancel()
        with suppress(BlockingIOError):
            for _ in range(CAPACITY // PIECE):
                take(os.read(descriptor, PIECE))
    for line in (*lines.feed(cleaner.finish()), *lines.finish()):
        reports.take(line)
