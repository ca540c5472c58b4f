"""The output of a run while it is made: an index and a stage, which become a commit or vanish."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio
from structlog.typing import FilteringBoundLogger
from trio.to_thread import run_sync as in_thread

from worker.buckets.index import Index, create
from worker.errors import WorkerError
from worker.gateway.messages import GatewayPlan
from worker.model import Entry
from worker.store.blobs import Stage
from worker.store.repository import Store

CLEANING = 30.0
"""Seconds to drop what a failed run wrote; what is left of it then, gc finds."""


@attrs.define
class Output:
    """What the job has written so far."""

    index: Index
    stage: Stage
    """The agent's own writer in the stage that the gateway's processes write to as well."""
    plan: GatewayPlan
    """Where the index is, and the files by which the gateway tells which disk is full."""

    def settle(self) -> None:
        """Let nothing change any more, and make durable what the agent itself wrote."""
        self.index.freeze()
        self.stage.flush()

    def entries(self) -> Iterator[Entry]:
        """Yield the files of the output by key."""
        return self.index.entries()

    def unfinished(self) -> Iterator[str]:
        """Yield what was not finished, and so is not in the output, in words."""
        for upload in self.index.uploads.listed():
            yield (
                f"s3://out/{upload.key}: a multipart upload was begun and never completed; "
                "it is not in the output"
            )


@asynccontextmanager
async def open_output(
    store: Store, *, stage: str, scratch: Path, log: FilteringBoundLogger
) -> AsyncIterator[Output]:
    """Begin an empty output; unless a commit may name what was written, nothing is left of it."""
    plan = GatewayPlan(store.url, scratch, "", stage)
    index = create(plan.index)
    writer = Stage(store.backend, stage, writer="agent", scratch=scratch)
    output = Output(index, writer, plan)
    try:
        yield output
    finally:
        output.index.close()
        with trio.move_on_after(CLEANING, shield=True):
            try:
                await in_thread(output.stage.drop, abandon_on_cancel=True)
            except WorkerError as error:
                log.warning("run.blobs_left", stage=stage, reason=str(error))
