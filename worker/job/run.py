"""The life cycle of a run: fetch, resolve, serve, materialize, run, drain, commit, report.

`run_job`, `run_shell` and `run_gateway` differ only in what happens while the buckets are served.
"""

import math
import secrets
import signal
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from structlog.typing import FilteringBoundLogger
from trio.to_thread import run_sync as in_thread

from worker.concurrency import in_thread_context, open_plain_nursery
from worker.config import Config
from worker.errors import (
    Cause,
    Invalid,
    NotFound,
    cause_of,
    explain_os_error,
    is_disk_full,
)
from worker.gateway import launch
from worker.gateway.pool import GatewayPool, open_pool
from worker.job.datums import DatumProcessor, Outcome
from worker.job.hidden import hide_secrets
from worker.job.plan import Datum, Plan, Unrunnable, make_plan, open_job_store
from worker.job.publish import Output, open_output, retry_hint
from worker.job.result import Result, RunRecord
from worker.job.same_job import check_same_job
from worker.job.scratch import scratch_folder
from worker.job.state import Event, Progress, Watch, unwatched
from worker.job.workspace import open_processor
from worker.spec.pipeline import JobSpec
from worker.store.backends.base import StoreUnavailable
from worker.store.publish import BranchNotMoved
from worker.supervisor.command import CommandSignals, StopRequest
from worker.supervisor.tree import SurvivingProcesses, reap_orphans
from worker.system import become_subreaper, keep_private
from worker.text import join_first

MAX_NAMES = 10
"""Writes that a warning names."""
COUNT_TIMEOUT = 1.0
"""Seconds for the gateway to report its traffic; one that has died reports nothing."""


@attrs.frozen
class RunRequest:
    """A job to run, with the configuration to run it under."""

    spec: JobSpec
    config: Config
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The agent's own environment, of which the command gets what is on the allow-list."""
    private_mounts: bool = True
    """Whether a command may get mounts, which a program that the run does not start cannot see."""
    traffic_interval: float = math.inf
    """Seconds between two reports of the traffic of the buckets to an observer of the run."""


Work = Callable[[DatumProcessor], Awaitable[Outcome]]


async def run_job(
    request: RunRequest, *, log: FilteringBoundLogger, watch: Watch = unwatched
) -> Result:
    """Run a job and return its result; every error of the run is in the result."""
    stop = StopRequest(CommandSignals(request.config.grace))
    return await _run(request, DatumProcessor.process_all, stop, log, watch)


async def run_shell(
    request: RunRequest,
    *,
    argv: tuple[str, ...],
    commit: bool,
    log: FilteringBoundLogger,
    watch: Watch = unwatched,
) -> Result:
    """Run *argv* on the caller's terminal for the first datum, in place of the job's command.

    Its output is dropped, unless *commit* is set. Then it is committed if *argv* exits with status
    0; any other status is a failure of the command. A job of several datums cannot be committed,
    since the output of one would replace that of all.
    """

    async def work(processor: DatumProcessor) -> Outcome:
        if commit and processor.plan.count > 1:
            raise Invalid(
                f"--commit: found {processor.plan.count:,} datums, expected 1, as a shell has only "
                "the first one; `worker run` processes all of them"
            )
        datum = await _prepare_first(processor)
        exit = await processor.commands.run_on_terminal(datum, argv)  # noqa: A001 - of the shell
        if commit and exit.code == 0:
            await processor.files.collect_output(datum)
            return Outcome(Cause.PUBLISHED, code=0)
        if commit:
            return Outcome(
                Cause.COMMAND_FAILED, f"nothing was committed: the shell {exit}", exit.code
            )
        return Outcome(Cause.DISCARDED, "nothing was committed: --commit was not given", exit.code)

    stop = StopRequest(CommandSignals(request.config.grace))
    # On the terminal, Ctrl-C is for the program that the shell runs.
    ignored = (signal.SIGINT, signal.SIGQUIT)
    return await _run(request, work, stop, log, watch, ignored=ignored)


async def run_gateway(
    request: RunRequest,
    *,
    ready: Callable[[Mapping[str, str]], None],
    log: FilteringBoundLogger,
    watch: Watch = unwatched,
) -> Result:
    """Serve the job's buckets until a signal, and commit nothing.

    *ready* is called with the variables by which clients find the buckets.
    """
    stop = StopRequest(CommandSignals(request.config.grace), cancels=False)

    async def work(processor: DatumProcessor) -> Outcome:
        datum = await _prepare_first(processor)
        base = processor.commands.environment.base
        variables = processor.commands.variables(datum)
        await processor.commands.write_env_file(variables)
        ready({name: value for name, value in variables.items() if base.get(name) != value})
        await stop.received.wait()
        return Outcome(Cause.DISCARDED, "a gateway without a command commits nothing")

    # The clients are programs of this machine, whatever runtime the command would have.
    config = attrs.evolve(request.config, runtime="process")
    local = attrs.evolve(request, config=config, private_mounts=False)
    return await _run(local, work, stop, log, watch)


async def _prepare_first(processor: DatumProcessor) -> Datum:
    """Materialize the first datum and return it."""
    datum = next(processor.plan.datums(), None)
    if datum is None:
        raise Invalid("the job has no datum: the glob of an input matches nothing")
    await processor.files.prepare(datum)
    await processor.files.empty_output()
    return datum


# --- the life cycle -------------------------------------------------------------------------------


async def _run(
    request: RunRequest,
    work: Work,
    stop: StopRequest,
    log: FilteringBoundLogger,
    watch: Watch,
    *,
    ignored: Collection[signal.Signals] = (),
) -> Result:
    """Run a job from its request to its result, handling signals and errors."""
    job = request.spec.job_id or uuid.uuid4().hex
    record = RunRecord(job, log.bind(job=job), watch)
    become_subreaper()
    keep_private()
    try:
        async with open_plain_nursery() as nursery:
            await nursery.start(partial(stop.watch, record.log, ignored=ignored))
            nursery.start_soon(reap_orphans)
            result = await _fetch_and_publish(request, work, stop, record)
            nursery.cancel_scope.cancel()
    except Exception as error:
        result = _fail(record, stop, error, request.config.scratch)
    details: dict[str, Any] = {}
    if result.datum_counts.total > 1:
        details["datum_counts"] = attrs.asdict(result.datum_counts)
    # The caller reports the reason of a failure.
    if result.reason and result.exit_code == 0:
        details["reason"] = result.reason
    record.log.info("run.ended", state=result.state.value, cause=result.cause.value, **details)
    return result


async def _fetch_and_publish(
    request: RunRequest, work: Work, stop: StopRequest, record: RunRecord
) -> Result:
    config = request.config
    record.enter(Event.STARTED)
    for text in await in_thread(hide_secrets, request.spec, config, request.environment):
        record.warn(text)
    for warning in request.spec.warnings:
        record.warn(str(warning))
    store = await in_thread(open_job_store, config, request.spec)
    stage = f"{record.job}-{secrets.token_hex(4)}"

    def not_removed(error: OSError) -> None:
        # The output is committed, or the run has failed for another reason.
        record.log.warning("run.scratch_left", path=str(config.scratch), reason=str(error))

    async with (
        in_thread_context(scratch_folder(config.scratch, not_removed=not_removed)) as scratch,
        open_output(store, stage=stage, scratch=scratch, log=record.log) as output,
    ):
        executed = None
        with stop.scope:
            if request.spec.job_timeout is not None:
                stop.scope.deadline = trio.current_time() + request.spec.job_timeout
            executed = await _execute(request, work, stop, record, output, scratch)
        if executed is None:
            return _stop(record, stop)
        # Not interrupted from here on: a signal has no effect while the output is committed.
        with trio.CancelScope(shield=True):
            result = await in_thread(_publish, config, record, output, *executed)
        return result  # noqa: RET504 - a cancel scope may swallow an exception, says mypy


async def _execute(
    request: RunRequest,
    work: Work,
    stop: StopRequest,
    record: RunRecord,
    output: Output,
    scratch: Path,
) -> tuple[Plan, Outcome]:
    """Resolve the inputs, serve the buckets, do the work and drain the gateway."""
    async with AsyncExitStack() as stack:
        pool = None
        if not request.spec.serves_s3:
            launch.stop_early()
        else:
            process = stack.enter_context(launch.launched())
            pool = await stack.enter_async_context(open_pool(process))
        with record.step("resolve"):
            # It only reads. A timeout does not wait for a hostile glob on very many keys.
            make = partial(make_plan, output.store, request.spec, job=record.job)
            plan = await in_thread(make, abandon_on_cancel=True)
            record.plan = plan
            for warning in plan.warnings:
                record.warn(warning)
        if plan.published is not None:
            record.enter(Event.FOUND)
            return plan, Outcome(Cause.PUBLISHED_BEFORE)
        await in_thread(output.bucket.stage.preflight)
        processor = await stack.enter_async_context(
            open_processor(
                request.config,
                request.environment,
                plan,
                stop.command_signals,
                record,
                output,
                scratch,
                pool,
                private_mounts=request.private_mounts,
            )
        )
        record.enter(Event.READY)
        with record.step("run"):
            try:
                async with open_plain_nursery() as nursery:
                    if pool is not None:
                        nursery.start_soon(_watch_traffic, pool, record, request.traffic_interval)
                    outcome = await work(processor)
                    nursery.cancel_scope.cancel()
                publishes = outcome.cause in (Cause.PUBLISHED, Cause.RECOVERED)
                keeps = request.config.keep_failed and outcome.cause.exit_status != 0
                if publishes or keeps:
                    # From here on, a new request to write gets the error that the job has ended.
                    # If nothing is committed, a full disk must not hide the reason of the failure.
                    output.bucket.close()
            finally:
                if pool is not None:
                    # Also of a failed run, which its traffic may explain.
                    with trio.move_on_after(COUNT_TIMEOUT, shield=True):
                        record.buckets = (await pool.count()).buckets
        if outcome.cause.exit_status == 0:
            record.enter(Event.SUCCEEDED)
        if pool is not None and (publishes or keeps):
            with record.step("drain"):
                await _drain(pool, request.config.gateway.drain, record)
        return plan, outcome


async def _watch_traffic(pool: GatewayPool, record: RunRecord, interval: float) -> None:
    """Report the traffic of the buckets to observers every *interval* seconds."""
    while True:
        await trio.sleep(interval)
        buckets = (await pool.count()).buckets
        record.watch(Progress(record.state, "traffic", buckets=buckets))


async def _drain(pool: GatewayPool, deadline: float, record: RunRecord) -> None:
    """Drain the gateway; warn of writes that were cut off."""
    drained = await pool.drain(deadline)
    record.buckets = drained.statistics.buckets
    if drained.cut_off:
        record.warn(
            f"writes were still in flight {deadline:g} s (gateway.drain) after the command had "
            f"exited, and were discarded: {join_first(drained.cut_off, MAX_NAMES)}"
        )


def _publish(
    config: Config, record: RunRecord, output: Output, plan: Plan, outcome: Outcome
) -> Result:
    """Commit the output, if the outcome calls for it, and return the result. This one blocks."""
    cause, code = outcome.cause, outcome.code
    if cause is Cause.DISCARDED:
        return record.decide(Event.PUBLISHED, cause, outcome.reason, code=code)
    if cause.exit_status != 0:
        if config.keep_failed:
            output.keep(plan, record, outcome.reason)
        return record.decide(Event.FAILED, cause, outcome.reason, code=code)
    try:
        if plan.published is not None:
            published = output.finish(plan.published, record)
        else:
            with record.step("publish"):
                published = output.commit(plan, record)
            if not published.ours:
                check_same_job(published.commit, plan.spec)
    except BranchNotMoved as error:
        reason = f"{error}; {retry_hint(record.job)} to move it"
        return record.decide(
            Event.FAILED, Cause.NOT_PUBLISHED, reason, output=error.commit, code=code
        )
    commit = published.commit
    result = record.decide(
        Event.PUBLISHED,
        cause if published.ours else Cause.PUBLISHED_BEFORE,
        output=commit,
        on_branch=published.on_branch,
        code=code,
    )
    if not published.ours:
        record.log.info("run.published_before", commit=str(commit.name))
    record.log.info("run.published", commit=str(commit.name), files=commit.files, size=commit.size)
    return result


def _stop(record: RunRecord, stop: StopRequest) -> Result:
    """Return the result of a run that was stopped before it could publish."""
    cause, reason = Cause.JOB_TIMEOUT, "the job exceeded its jobTimeout before it could publish"
    if stop.signal_name is not None:
        cause, reason = Cause.STOPPED, f"stopped by {stop.signal_name} before it could publish"
    return record.decide(Event.STOPPED, cause, _with_failures(reason, record))


def _fail(record: RunRecord, stop: StopRequest, error: Exception, scratch: Path) -> Result:
    """Return the result of a run that *error* ended."""
    if record.result is not None:
        # The result is decided; only the clean-up failed.
        trace = error if cause_of(error) is Cause.INTERNAL else None
        record.log.error("run.cleanup_failed", reason=str(error), exc_info=trace)
        return record.result
    cause = cause_of(error)
    if isinstance(error, NotFound) and record.plan is not None:
        # The inputs are resolved, so the store has lost what is missing now.
        cause = Cause.UNAVAILABLE
    is_surviving = isinstance(error, SurvivingProcesses)
    if stop.signal_name is not None and cause is not Cause.NOT_PUBLISHED and not is_surviving:
        # A consequence of the signal.
        record.log.info("run.interrupted", reason=str(error))
        return _stop(record, stop)
    reason = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = explain_os_error(error)
    # The store can be below the scratch directory, on a disk of its own.
    is_of_store = isinstance(error, StoreUnavailable)
    if is_disk_full(error) and not is_of_store and str(scratch) in reason:
        reason += (
            f"; the disk of the scratch directory {scratch} is full: free space, or choose "
            "another directory with --scratch"
        )
    if cause is Cause.INTERNAL:
        record.log.error("run.internal_error", exc_info=error)
        reason = f"internal error: {type(error).__name__}: {error}"
    event = Event.INPUT_MISSING if isinstance(error, Unrunnable) else Event.FAILED
    return record.decide(event, cause, _with_failures(reason, record))


def _with_failures(reason: str, record: RunRecord) -> str:
    """Return the reason of an end between datums, and those of the datums that failed before."""
    return "\n".join(filter(None, (reason, record.explain_failures())))
