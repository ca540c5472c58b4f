"""The output of a run: an output bucket that becomes a commit, or is removed."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio
from structlog.typing import FilteringBoundLogger
from trio.to_thread import run_sync as in_thread

from worker.buckets.index import Index
from worker.buckets.output import OutputBucket
from worker.errors import Denied, NotPublished, Unavailable, WorkerError
from worker.job.plan import Plan
from worker.job.recorded import recorded
from worker.job.result import RunRecord
from worker.model import OUT, Commit, CommitName
from worker.store.blobs import BlobReader, Stage
from worker.store.publish import BranchNotMoved, Draft, Published, finish, keep, publish
from worker.store.repository import Store
from worker.store.trees import apply

INDEX = "out.sqlite"
"""The index of the output bucket, in the scratch directory."""
CLEANUP_TIMEOUT = 30.0
"""Seconds to delete the blobs of a failed run; garbage collection removes what is left."""


@attrs.frozen
class Output:
    """The output of a run while it is written; the agent is one of its writers."""

    store: Store
    bucket: OutputBucket
    index: Path
    """The file of the bucket's index, which the processes of the gateway open too."""

    def commit(self, plan: Plan, record: RunRecord) -> Published:
        """Commit the content of the bucket as the job's output. This one blocks.

        Raises BranchNotMoved if the commit exists and only its branch could not be moved, Denied if
        the store does not permit it, and otherwise NotPublished; another run of the same job
        finishes the work.
        """
        self.bucket.freeze()
        for upload in self.bucket.uploads():
            record.warn(
                f"s3://out/{upload.key}: a multipart upload was created and not completed; "
                "it is not part of the output"
            )
        # A job without a datum has a warning of its own.
        if plan.count and next(iter(self.bucket.entries("")), None) is None:
            where = f"s3://{OUT}" if plan.spec.s3_out else f"/pfs/{OUT}"
            record.warn(
                f"the output is empty: {where} contains no file at the end; "
                f"a reader of {plan.output} finds no file"
            )
        name = CommitName(plan.output.repo, record.job)
        draft = self._draft(plan, record, name, "success", "")
        tree = apply(self.store.empty_tree(), ((e.key, e) for e in self.bucket.entries("")))
        try:
            return publish(self.store, self.bucket.stage, tree, draft)
        except (Unavailable, OSError) as error:
            if isinstance(error, BranchNotMoved | Denied):
                raise
            raise _not_published(record.job, error) from error

    def finish(self, commit: Commit, record: RunRecord) -> Published:
        """Append the output commit of an earlier run to its branch; raises as `commit`."""
        try:
            return finish(self.store, commit)
        except (Unavailable, OSError) as error:
            if isinstance(error, BranchNotMoved | Denied):
                raise
            raise _not_published(record.job, error) from error

    def keep(self, plan: Plan, record: RunRecord, reason: str) -> None:
        """Commit the output of the first failed datum on no branch; a failure becomes a warning."""
        try:
            self.bucket.freeze()
            name = CommitName(plan.output.repo, uuid.uuid4().hex)
            draft = self._draft(plan, record, name, "failure", reason)
            tree = apply(self.store.empty_tree(), ((e.key, e) for e in self.bucket.kept()))
            record.kept = keep(self.store, self.bucket.stage, tree, draft).name
            record.log.info("run.kept", commit=str(record.kept))
        except (Unavailable, Denied, OSError) as error:
            # The failure of the job is more important.
            record.warn(f"the output of the failed attempt could not be kept: {error}")

    def _draft(
        self, plan: Plan, record: RunRecord, name: CommitName, state: str, reason: str
    ) -> Draft:
        return Draft(
            name=name,
            branch=plan.output,
            inputs=tuple(
                attrs.evolve(each.record, glob=recorded(each.record.glob)) for each in plan.inputs
            ),
            job={**record.to_commit(plan), "state": state, "reason": recorded(reason)},
            started=record.started,
            finished=time.time(),
            message=recorded(reason),
        )


def _not_published(job: str, error: Exception) -> NotPublished:
    return NotPublished(f"the output could not be committed: {error}; {retry_hint(job)}")


def retry_hint(job: str) -> str:
    """Return how to run a job again as the same job."""
    return f'run the job again with the same id ("job": {{"id": "{job}"}})'


@asynccontextmanager
async def open_output(
    store: Store, *, stage: str, scratch: Path, log: FilteringBoundLogger
) -> AsyncIterator[Output]:
    """Create an empty output bucket; its blobs are deleted unless a commit may refer to them."""
    path = scratch / INDEX
    index = Index.create(path)
    writer = Stage(store.backend, stage, writer="agent", scratch=scratch)
    bucket = OutputBucket(BlobReader(store.backend, scratch), index=index, stage=writer)
    try:
        yield Output(store, bucket, path)
    finally:
        index.close()
        with trio.move_on_after(CLEANUP_TIMEOUT, shield=True):
            try:
                await in_thread(writer.drop, abandon_on_cancel=True)
            except WorkerError as error:
                log.warning("run.blobs_left", stage=stage, reason=str(error))
