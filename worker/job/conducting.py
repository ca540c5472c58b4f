"""The order of a run: fetch, resolve, open output, serve, work, drain, commit, report."""

import secrets
import signal
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import attrs
import trio
from structlog.typing import FilteringBoundLogger
from trio.to_thread import run_sync as in_thread

from worker.concurrency import open_plain_nursery
from worker.errors import NOT_WRITABLE, Cause, Denied, NotPublished, Unavailable, cause_of
from worker.gateway.pool import Parent, start_parent
from worker.job.journal import Journal
from worker.job.output import Output, open_output
from worker.job.plan import make_plan
from worker.job.request import RunRequest, Watch
from worker.job.result import Result
from worker.job.scratch import scratch_folder
from worker.job.state import Event
from worker.job.workplace import Workplace, aside, open_workplace
from worker.model import CommitName
from worker.store.publish import BranchNotMoved, Draft, Published, finish, keep, publish
from worker.store.repository import Store, open_store
from worker.store.trees import Tree, apply
from worker.supervisor.signals import StopRequest
from worker.supervisor.tree import reap_orphans
from worker.system import become_subreaper, keep_private

COUNTING = 1.0
"""Seconds for the gateway to say what went through it; one that has died says nothing."""


@attrs.frozen
class Outcome:
    """What the work on the datums came to, before anything is published."""

    cause: Cause
    reason: str = ""
    code: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the work was done, so that what it wrote can be committed."""
        return self.cause.exit_status == 0

    @property
    def publish(self) -> bool:
        """Whether what was written is to be committed."""
        return self.cause in (Cause.PUBLISHED, Cause.RECOVERED)


Work = Callable[[Workplace], Awaitable[Outcome]]


async def conduct(
    request: RunRequest,
    work: Work,
    *,
    launched: "subprocess.Popen[bytes] | None",
    stop: StopRequest,
    log: FilteringBoundLogger,
    watch: Watch,
    ignored: Collection[signal.Signals] = (),
) -> Result:
    """Do all that is around *work*: before it the buckets, after it the commit and tidying up."""
    job = request.spec.job_id or uuid.uuid4().hex
    journal = Journal(job, log.bind(job=job), watch)
    become_subreaper()
    keep_private()
    try:
        async with open_plain_nursery() as nursery:
            await nursery.start(partial(stop.watch, journal.log, ignored=ignored))
            nursery.start_soon(reap_orphans)
            result = await _run(request, work, stop, journal, launched)
            nursery.cancel_scope.cancel()
    except Exception as error:
        result = _failed(journal, stop, error, request.config.scratch)
    tell = journal.log.error if result.exit_code else journal.log.info
    why = {"reason": result.reason} if result.reason else {}
    tell("run.ended", state=result.state.value, cause=result.cause.value, **why)
    return result


async def _run(
    request: RunRequest,
    work: Work,
    stop: StopRequest,
    journal: Journal,
    launched: "subprocess.Popen[bytes] | None",
) -> Result:
    journal.note(Event.STARTED)
    for warning in request.spec.warnings:
        journal.warn(str(warning))
    store = await in_thread(open_store, request.config.store, request.config.store_options)
    async with (
        aside(scratch_folder(request.config.scratch)) as scratch,
        open_output(
            store,
            stage=f"{journal.job}-{secrets.token_hex(4)}",
            scratch=scratch,
            log=journal.log,
        ) as output,
    ):
        outcome = None
        with stop.scope:
            if request.spec.job_timeout is not None:
                stop.scope.deadline = trio.current_time() + request.spec.job_timeout
            outcome = await _work(request, work, stop, journal, launched, store, output, scratch)
        if outcome is None:
            result = _stopped(journal, stop)
        else:
            # Nothing is broken off from here on: a signal that comes now comes too late.
            with trio.CancelScope(shield=True):
                result = await in_thread(_conclude, request, outcome, journal, store, output)
    return result


async def _work(
    request: RunRequest,
    work: Work,
    stop: StopRequest,
    journal: Journal,
    launched: "subprocess.Popen[bytes] | None",
    store: Store,
    output: Output,
    scratch: Path,
) -> Outcome:
    async with AsyncExitStack() as stack:
        parent = await stack.enter_async_context(start_parent(launched)) if launched else None
        with journal.step("resolve"):
            plan = await in_thread(partial(make_plan, store, request.spec, job=journal.job))
            journal.plan = plan
        if plan.published is not None:
            journal.note(Event.FOUND)
            return Outcome(Cause.PUBLISHED_BEFORE)
        await in_thread(output.stage.preflight)
        place = await stack.enter_async_context(
            open_workplace(
                request,
                plan,
                parent=parent,
                store=store,
                output=output,
                scratch=scratch,
                journal=journal,
                grace_period=stop.grace_period,
            )
        )
        journal.note(Event.READY)
        with journal.step("run"):
            try:
                outcome = await work(place)
            finally:
                if parent is not None:
                    await _count(parent, journal)
        if outcome.succeeded:
            journal.note(Event.SUCCEEDED)
        keep = request.config.keep_failed and not outcome.succeeded
        if parent is not None and (outcome.publish or keep):
            with journal.step("drain"):
                journal.statistics = await parent.drain(request.config.gateway.drain)
        return outcome


async def _count(parent: Parent, journal: Journal) -> None:
    """Note what went through the buckets until now: who debugs a failed run wants to know."""
    with trio.move_on_after(COUNTING, shield=True):
        journal.statistics = await parent.count()


def _conclude(
    request: RunRequest, outcome: Outcome, journal: Journal, store: Store, output: Output
) -> Result:
    """Commit what there is to commit, and return the result of the run. This one blocks."""
    assert journal.plan is not None
    if outcome.cause is Cause.DISCARDED:
        journal.note(Event.PUBLISHED)
        return journal.result(outcome.cause, outcome.reason, code=outcome.code)
    if not outcome.succeeded:
        if request.config.keep_failed:
            try:
                _keep(journal, outcome, store, output)
            except (Unavailable, Denied, OSError) as error:
                # That the job failed, and why, matters more.
                journal.warn(f"what the failed try wrote could not be kept: {error}")
        journal.note(Event.FAILED)
        return journal.result(outcome.cause, outcome.reason, code=outcome.code)
    again = f'run the job again as the same job ("job": {{"id": "{journal.job}"}})'
    try:
        if outcome.cause is Cause.PUBLISHED_BEFORE:
            assert journal.plan.published is not None
            found = finish(store, journal.plan.published)
        else:
            with journal.step("publish"):
                found = _publish(journal, store, output)
    except BranchNotMoved as error:
        journal.note(Event.FAILED)
        reason = f"{error}; {again} to move it"
        return journal.result(Cause.NOT_PUBLISHED, reason, output=error.commit, code=outcome.code)
    except (Unavailable, Denied, OSError) as error:
        raise NotPublished(f"the output could not be committed: {error}; {again}") from error
    return _published(journal, outcome, found)


def _publish(journal: Journal, store: Store, output: Output) -> Published:
    assert journal.plan is not None
    name = CommitName(journal.plan.output.repo, journal.job)
    output.settle()
    for text in output.unfinished():
        journal.warn(text)
    tree = _tree(store, output)
    return publish(store, output.stage, tree, _draft(journal, name, "success"))


def _tree(store: Store, output: Output) -> Tree:
    return apply(store.empty_tree(), ((entry.key, entry) for entry in output.entries()))


def _published(journal: Journal, outcome: Outcome, found: Published) -> Result:
    journal.note(Event.PUBLISHED)
    commit = found.commit
    cause = outcome.cause
    if not found.ours:
        cause = Cause.PUBLISHED_BEFORE
        journal.log.info("run.published_before", commit=str(commit.name))
    journal.log.info("run.published", commit=str(commit.name), files=commit.files, size=commit.size)
    return journal.result(cause, output=commit, branch_moved=found.on_branch, code=outcome.code)


def _keep(journal: Journal, outcome: Outcome, store: Store, output: Output) -> None:
    """Make a commit, on no branch, of what the last failed try wrote."""
    assert journal.plan is not None
    output.settle()
    name = CommitName(journal.plan.output.repo, uuid.uuid4().hex)
    draft = _draft(journal, name, "failure", reason=outcome.reason)
    journal.kept = keep(store, output.stage, _tree(store, output), draft).name
    journal.log.info("run.kept", commit=str(journal.kept))


def _draft(journal: Journal, name: CommitName, state: str, *, reason: str = "") -> Draft:
    assert journal.plan is not None
    return Draft(
        name=name,
        branch=journal.plan.output,
        inputs=tuple(each.record for each in journal.plan.inputs),
        job={**journal.record(), "state": state, "reason": reason},
        started=journal.started,
        finished=time.time(),
        message=reason,
    )


def _stopped(journal: Journal, stop: StopRequest) -> Result:
    """Return the result of a run that was ended from outside before it could publish."""
    journal.note(Event.STOPPED)
    if stop.signal_name is None:
        return journal.result(
            Cause.JOB_TIMEOUT, "the job took longer than its jobTimeout, before it could publish"
        )
    return journal.result(Cause.STOPPED, f"stopped by {stop.signal_name} before it could publish")


def _failed(journal: Journal, stop: StopRequest, error: Exception, scratch: Path) -> Result:
    """Return the result of a run that an error ended."""
    if journal.final is not None:
        # What was decided stays decided; only the tidying up went wrong.
        journal.log.error("run.untidy", reason=str(error), exc_info=error)
        return journal.final
    cause = cause_of(error)
    if cause is Cause.UNRUNNABLE and journal.plan is not None:
        # The inputs are resolved, so whatever is missing now was lost by the store.
        cause = Cause.UNAVAILABLE
    if stop.signal_name is not None and cause is not Cause.NOT_PUBLISHED:
        # What breaks while the run is being ended is no news.
        journal.log.info("run.broke_off", reason=str(error))
        return _stopped(journal, stop)
    reason = _told(error)
    if getattr(error, "errno", None) in NOT_WRITABLE and str(scratch) in reason:
        reason += (
            f"; the disk of the scratch directory {scratch} is full: free space, or choose "
            "another with --scratch"
        )
    if cause is Cause.INTERNAL:
        journal.log.error("run.fault", exc_info=error)
        reason = f"a fault of worker's own: {type(error).__name__}: {error}"
    journal.note(Event.INPUT_MISSING if cause is Cause.UNRUNNABLE else Event.FAILED)
    return journal.result(cause, reason)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
