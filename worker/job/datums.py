"""Datums of a run: the attempts at each, and what its failure means for the job."""

import contextlib
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.errors import Cause, cause_of
from worker.gateway.failure_report import read_report
from worker.gateway.messages import GatewayPlan
from worker.job.commands import CommandRunner
from worker.job.datum_files import DatumFiles
from worker.job.datum_results import DatumResult
from worker.job.disks import find_full_disk
from worker.job.pfs import NotAnOutput, SamePath
from worker.job.plan import Datum, Plan
from worker.job.publish import Output
from worker.job.result import RunRecord
from worker.job.state import Progress
from worker.redaction import redact
from worker.store.checkout import KeyNotAFile
from worker.supervisor.command import CommandExit
from worker.supervisor.output import OutputHandler
from worker.supervisor.tree import CommandSpec, NotStarted

BACKOFF = 0.5, 30.0
"""Seconds before the second attempt, and the maximum; the delay doubles with each attempt."""
FAULTS_OF_COMMAND = frozenset({Cause.COMMAND_FAILED, Cause.DATUM_TIMEOUT, Cause.OUT_OF_MEMORY})
"""The causes of a failed datum that its error command can recover."""


@attrs.frozen
class Outcome:
    """The outcome of the work on the datums, before anything is published."""

    cause: Cause
    reason: str = ""
    code: int | None = None


@attrs.frozen
class Failure:
    """The failure of one attempt, or of all attempts at a datum."""

    cause: Cause
    reason: str
    exit: CommandExit | None = None
    retryable: bool = True
    """Whether another attempt may succeed."""
    ends_job: bool = False
    """Whether its cause concerns every datum, so that no further one is processed."""

    @property
    def code(self) -> int | None:
        """The exit code of the command; None if a signal ended it or it did not start."""
        return None if self.exit is None else self.exit.code


@attrs.frozen
class DatumProcessor:
    """Processes the datums of a plan, one after the other."""

    plan: Plan
    files: DatumFiles
    output: Output
    gateway: GatewayPlan
    """What the gateway serves, and the files in which it reports a full disk."""
    commands: CommandRunner
    record: RunRecord
    keep_failed: bool = False
    fail_fast: bool = False
    """Whether the first failed datum ends the job."""

    async def process_all(self) -> Outcome:
        """Process all datums, also after one has failed, unless its failure ends the job.

        The cause is that of the failure that ended the job, or else of the first one.
        """
        failure: Failure | None = None
        decisive: Failure | None = None
        for datum in self.plan.datums():
            if failure is not None:
                await in_thread(self._discard_failed)
            failure = await self.process(datum)
            if failure is None:
                continue
            if decisive is None or failure.ends_job:
                decisive = failure
            if self.fail_fast or failure.ends_job:
                break
        counts = self.record.datum_counts
        if decisive is None:
            return Outcome(Cause.RECOVERED if counts.recovered else Cause.PUBLISHED, code=0)
        reason = decisive.reason
        if counts.total > 1:
            reason = self.record.explain_failures(last_first=decisive.ends_job)
        return Outcome(decisive.cause, reason, decisive.code)

    async def process(self, datum: Datum) -> Failure | None:
        """Process a datum in up to ``datumTries`` attempts; return None if it succeeded.

        Each attempt starts with the output that the datum found. A datum that its error command
        recovers adds nothing to the output. The output of a failed one is left for inspection.
        """
        log, tries = self.commands.log, self.plan.spec.datum_tries
        log.info("datum.started", number=datum.number, of=self.plan.count, id=datum.id)
        started = time.monotonic()
        try:
            await self.files.prepare(datum)
        except KeyNotAFile as error:
            unusable = Failure(cause_of(error), str(error), retryable=False)
            self._log_failure(datum, unusable, 0)
            if not self.record.datum_counts.failed:
                self.record.tail.clear()
            self.record.add_datum(_result(datum, "failure", 0, started, unusable))
            return unusable
        attempt = 0
        while True:
            attempt += 1
            failed = self.record.datum_counts.failed
            progress = Progress(
                self.record.state, "command", datum.number, self.plan.count, attempt, failed=failed
            )
            self.record.watch(progress)
            failure = await self._attempt(datum, attempt)
            if failure is None:
                self.output.bucket.start_epoch()
                self.record.add_datum(_result(datum, "success", attempt, started))
                return None
            is_last = not failure.retryable or attempt >= tries
            self._log_failure(datum, failure, attempt, is_last=is_last)
            if is_last:
                return await self._give_up(datum, failure, attempt=attempt, started=started)
            self.output.bucket.roll_back()
            # A command that runs as root can change its inputs: each try has the commit's files.
            await self.files.prepare(datum)
            # Randomized, so that many workers do not retry at the same moment.
            delay, longest = BACKOFF
            await trio.sleep(min(longest, delay * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))

    async def _attempt(self, datum: Datum, attempt: int) -> Failure | None:
        """Run the command once; return None if it succeeded."""
        transform = self.plan.spec.transform
        await self.files.empty_output()
        gateway = self.gateway
        for mark in (gateway.store_full, gateway.scratch_full, gateway.failure_report):
            mark.unlink(missing_ok=True)
        handler = self.commands.handler(datum, attempt)
        spec = self.commands.spec(transform.cmd, self.commands.variables(datum))
        if transform.debug:
            self.commands.log.info(
                "command.starting",
                command=list(spec.argv),
                directory=str(spec.directory or ""),
                user=str(transform.user or ""),
                environment=sorted(spec.environment),
            )
        failure = await self._run(spec, transform.stdin, handler)
        if not self.record.datum_counts.failed or (failure is not None and failure.ends_job):
            self.record.tail.clear()
            self.record.tail.extend(handler.tail)
        if failure is None:
            try:
                keys = await self.files.collect_output(datum)
            except (NotAnOutput, SamePath) as error:
                retryable = isinstance(error, NotAnOutput)
                return Failure(Cause.COMMAND_FAILED, str(error), retryable=retryable)
            self.files.claim(keys, datum)
        return failure

    async def _run(
        self, spec: CommandSpec, stdin: Sequence[str], handler: OutputHandler
    ) -> Failure | None:
        """Run a command within the datum's timeout; return None if it succeeded."""
        timeout = self.plan.spec.datum_timeout
        try:
            with trio.move_on_after(float("inf") if timeout is None else timeout):
                return self._judge(await self.commands.run(spec, stdin, handler), handler)
        except NotStarted as error:
            return Failure(Cause.COMMAND_FAILED, str(error), retryable=False, ends_job=True)
        return self._attribute(
            Failure(Cause.DATUM_TIMEOUT, f"the command exceeded its datumTimeout of {timeout:g} s")
        )

    def _judge(self, exit: CommandExit, handler: OutputHandler) -> Failure | None:  # noqa: A002 - the noun of `CommandExit`
        """Return the failure that the exit of a command means; None if it succeeded."""
        for process in exit.leftovers:
            # Command lines are cut by the supervisor, and names of processes by the kernel.
            command = redact(process.command, is_cut=True)
            self.commands.log.warning("command.left_running", pid=process.pid, command=command)
            self.record.add_leftover(process.pid, command)
        if exit.succeeded(self.plan.spec.transform.accept_return_code):
            return None
        # Some programs pad their lines with spaces to cover an earlier one.
        last = handler.tail[-1].strip() if handler.tail else ""
        reason = f"the command {exit}" + (f": {last}" if last else "")
        if exit.out_of_memory:
            return Failure(
                Cause.OUT_OF_MEMORY,
                "the command ran out of memory: the kernel killed a process of the job's cgroup, "
                f"and the command {exit}",
                exit,
            )
        if exit.signal == signal.SIGKILL:
            reason += " (not sent by worker; the kernel sends it when memory is short)"
        return self._attribute(Failure(Cause.COMMAND_FAILED, reason, exit))

    def _attribute(self, failure: Failure) -> Failure:
        """Return *failure* with the cause that the command could not help, if there is one.

        Such a cause concerns every datum.
        """
        files = self.files
        full = find_full_disk(self.gateway, files.store, files.scratch, Path(files.root.path))
        if full is not None:
            reason = f"{full}; {failure.reason}"
            return attrs.evolve(
                failure, cause=Cause.NOT_PUBLISHED, reason=reason, retryable=False, ends_job=True
            )
        report = read_report(self.gateway.failure_report)
        if report is not None:
            part = "gateway" if report.cause is Cause.INTERNAL else f"store {files.store.url}"
            # The error command gets it, which does not know the credentials of the store.
            detail = redact(report.reason)
            reason = f"the {part} failed a request of the command: {detail}; {failure.reason}"
            return attrs.evolve(failure, cause=report.cause, reason=reason, ends_job=True)
        return failure

    async def _give_up(
        self, datum: Datum, failure: Failure, *, attempt: int, started: float
    ) -> Failure | None:
        """Run the error command; return None if that recovers the datum, else the failure."""
        if attempt > 1:
            failure = attrs.evolve(failure, reason=f"{failure.reason} (try {attempt})")
        # Without a fault of the command, the output would be empty because of a full disk.
        is_recoverable = failure.cause in FAULTS_OF_COMMAND
        has_command = bool(self.plan.spec.transform.err_cmd) and is_recoverable
        if has_command and await self._recover(datum, failure, attempt):
            self.output.bucket.roll_back()
            await self.files.empty_output()
            reason = {} if self.plan.count > 1 else {"reason": failure.reason}
            self.commands.log.warning("datum.recovered", number=datum.number, **reason)
            self.record.add_datum(_result(datum, "recovered", attempt, started, failure))
            return None
        if self.keep_failed and not self.record.datum_counts.failed:
            with contextlib.suppress(NotAnOutput, SamePath):
                await self.files.collect_output(datum)
        self.record.add_datum(_result(datum, "failure", attempt, started, failure))
        return failure

    def _discard_failed(self) -> None:
        """Discard what a failed datum has left in the output; keep the first one's on request."""
        if self.keep_failed:
            self.output.bucket.take_snapshot()
        self.output.bucket.roll_back()

    def _log_failure(
        self, datum: Datum, failure: Failure, attempt: int, *, is_last: bool = True
    ) -> None:
        # The last failure of the only datum is the reason of the run, or recovered.
        reason = {} if is_last and self.plan.count == 1 else {"reason": failure.reason}
        self.commands.log.warning(
            "datum.failed",
            number=datum.number,
            attempt=attempt,
            of=self.plan.spec.datum_tries,
            **reason,
        )

    async def _recover(self, datum: Datum, failure: Failure, attempt: int) -> bool:
        """Run the error command, with a timeout of its own; return whether it succeeded."""
        transform, exit = self.plan.spec.transform, failure.exit  # noqa: A001 - as above
        environment = self.commands.variables(datum) | {
            "PACH_ERROR_REASON": failure.reason,
            "PACH_ERROR_CAUSE": failure.cause.value,
            "PACH_ERROR_CODE": "" if exit is None or exit.code is None else str(exit.code),
            "PACH_ERROR_SIGNAL": "" if exit is None or exit.signal is None else str(exit.signal),
            "PACH_ERROR_TRIES": str(attempt),
        }
        failed = await self._run(
            self.commands.spec(transform.err_cmd, environment),
            transform.err_stdin,
            self.commands.handler(datum, attempt),
        )
        if failed is not None:
            self.commands.log.warning(
                "datum.not_recovered", number=datum.number, reason=failed.reason
            )
        return failed is None


def _result(
    datum: Datum, state: str, tries: int, started: float, failure: Failure | None = None
) -> DatumResult:
    return DatumResult(
        number=datum.number,
        id=datum.id,
        state=state,
        tries=tries,
        seconds=round(time.monotonic() - started, 3),
        exit_code=0 if failure is None else failure.code,
        reason="" if failure is None else failure.reason,
        paths=datum.paths,
    )
