"""Datums of a run: files, command, attempts and output of each."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.errors import Cause, WorkerError
from worker.gateway.messages import GatewayPlan
from worker.job.commands import CommandRunner
from worker.job.pfs import Inputs, NotAnOutput, SamePath, collect, fingerprint, materialize
from worker.job.plan import Datum, Plan, Selection
from worker.job.publish import Output
from worker.job.result import DatumResult, RunRecord
from worker.job.scratch import remove_tree
from worker.job.state import Progress
from worker.model import OUT
from worker.spec.glob import Match
from worker.store.repository import Store
from worker.supervisor.command import CommandExit, OutputHandler
from worker.supervisor.tree import CommandSpec, NotStarted

BACKOFF = 0.5, 30.0
"""Seconds before the second attempt, and the maximum; the delay doubles with each attempt."""
ALMOST_FULL = 1 << 20
"""Bytes; a disk with less free space counts as full."""


class DatumFailed(WorkerError):
    """All attempts at a datum failed."""

    def __init__(self, cause: Cause, reason: str, code: int | None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.code = code


@attrs.frozen
class Failure:
    """The failure of one attempt."""

    cause: Cause
    reason: str
    exit: CommandExit | None = None
    retryable: bool = True
    """Whether another attempt may succeed."""


@attrs.frozen
class DatumProcessor:
    """Processes the datums of a plan, one after the other."""

    plan: Plan
    store: Store
    output: Output
    gateway: GatewayPlan
    """What the gateway serves, and the files in which it reports a full disk."""
    root: Path
    """The folder of the file inputs and of ``out``."""
    scratch: Path
    commands: CommandRunner
    record: RunRecord
    keep_failed: bool = False
    _written_by: dict[str, Datum] = attrs.field(factory=dict, init=False)
    """The datum that wrote each path, for a file output of several datums."""
    _materialized: dict[str, tuple[Match, bytes, int]] = attrs.field(factory=dict, init=False)
    """By input: what is in its folder, the fingerprint of the folder, and its last change."""

    async def process(self, datum: Datum) -> DatumResult:
        """Process a datum in up to ``datumTries`` attempts; raises DatumFailed.

        Each attempt starts with the output that the datum found.
        """
        log, tries = self.commands.log, self.plan.spec.datum_tries
        log.info("datum.started", number=datum.number, of=self.plan.count, id=datum.id)
        started = time.monotonic()
        await self.prepare(datum)
        attempt = 0
        while True:
            attempt += 1
            progress = Progress(
                self.record.state, "command", datum.number, self.plan.count, attempt
            )
            self.record.watch(progress)
            failure = await self._attempt(datum, attempt)
            if failure is None:
                self.output.bucket.start_epoch()
                return _result(datum, "success", attempt, started)
            log.warning(
                "datum.failed",
                number=datum.number,
                attempt=attempt,
                of=tries,
                reason=failure.reason,
            )
            if not failure.retryable or attempt >= tries:
                return await self._give_up(datum, failure, attempt=attempt, started=started)
            self.output.bucket.roll_back()
            # A command that runs as root can change its inputs: each try has the commit's files.
            await self.prepare(datum)
            # Randomized, so that many workers do not retry at the same moment.
            delay, longest = BACKOFF
            await trio.sleep(min(longest, delay * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))

    async def prepare(self, datum: Datum) -> None:
        """Materialize the inputs of a datum."""
        for selection in datum.selections:
            count = await in_thread(self._materialize, selection)
            if count is not None:
                self.commands.log.info(
                    "datum.materialized",
                    input=selection.input.spec.name,
                    path=selection.match.path,
                    files=count,
                )

    async def empty_output_folder(self) -> None:
        """Create an empty ``/pfs/out`` for the command, if the output is files."""
        if self.plan.spec.s3_out:
            return
        folder, identity = self.root / OUT, self.commands.identity
        await in_thread(remove_tree, folder)
        folder.mkdir()
        folder.chmod(0o755)
        if identity is not None:
            os.chown(folder, identity.uid, identity.gid)

    async def collect_output(self, datum: Datum) -> None:
        """Add the files of ``/pfs/out`` to the output, if the output is files.

        Raises NotAnOutput and SamePath.
        """
        if not self.plan.spec.s3_out:
            await in_thread(self._collect, datum)

    def _materialize(self, selection: Selection) -> int | None:
        """Materialize one input and return its number of files; None if it is still unchanged."""
        name, check = selection.input.spec.name, trio.from_thread.check_cancelled
        folder = self.root / name
        if selection.input.spec.s3:
            folder.mkdir(mode=0o555, exist_ok=True)
            return None
        match, mark, changed = self._materialized.pop(name, (None, b"", 0))
        count = None
        if match != selection.match or mark != fingerprint(folder, check=check):
            remove_tree(folder)
            count = materialize(self.store, selection, folder, spool=self.scratch, check=check)
            # For a later datum, or another try.
            is_kept = self.plan.count > 1 or self.plan.spec.datum_tries > 1
            mark = fingerprint(folder, check=check) if is_kept else b""
            # Its mode was the last to be set.
            changed = folder.stat().st_ctime_ns
        self._materialized[name] = selection.match, mark, changed
        return count

    async def _attempt(self, datum: Datum, attempt: int) -> Failure | None:
        """Run the command once; return None if it succeeded."""
        transform = self.plan.spec.transform
        await self.empty_output_folder()
        for mark in (self.gateway.store_full, self.gateway.scratch_full):
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
        self.record.tail.clear()
        self.record.tail.extend(handler.tail)
        if failure is None:
            try:
                await self.collect_output(datum)
            except (NotAnOutput, SamePath) as error:
                retryable = isinstance(error, NotAnOutput)
                return Failure(Cause.COMMAND_FAILED, str(error), retryable=retryable)
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
            return Failure(Cause.COMMAND_FAILED, str(error), retryable=False)
        return Failure(
            Cause.DATUM_TIMEOUT, f"the command exceeded its datumTimeout of {timeout:g} s"
        )

    def _judge(self, exit: CommandExit, handler: OutputHandler) -> Failure | None:  # noqa: A002 - the noun of `CommandExit`
        """Return the failure that the exit of a command means; None if it succeeded."""
        for process in exit.leftovers:
            command = self.commands.redactor.text(process.command)
            self.commands.log.warning("command.left_running", pid=process.pid, command=command)
            self.record.warnings.append(
                f"the command left process {process.pid} running, which was killed: {command}"
            )
        if exit.succeeded(self.plan.spec.transform.accept_return_code):
            return None
        last = f": {handler.tail[-1]}" if handler.tail else ""
        reason = f"the command {exit}{last}"
        if exit.out_of_memory:
            return Failure(
                Cause.OUT_OF_MEMORY,
                "the command ran out of memory: the kernel killed a process of the job's cgroup, "
                f"and the command {exit}",
                exit,
            )
        if (full := self._find_full_disk()) is not None:
            return Failure(Cause.NOT_PUBLISHED, f"{full}; {reason}", exit)
        if exit.signal == signal.SIGKILL:
            reason += " (not sent by worker; the kernel sends it when memory is short)"
        return Failure(Cause.COMMAND_FAILED, reason, exit)

    async def _give_up(
        self, datum: Datum, failure: Failure, *, attempt: int, started: float
    ) -> DatumResult:
        """Run the error command, which may recover the datum; otherwise raise DatumFailed."""
        code = failure.exit.code if failure.exit else None
        where = f"datum {datum.number} of {self.plan.count}: " if self.plan.count > 1 else ""
        reason = f"{where}{failure.reason}" + (f" (try {attempt})" if attempt > 1 else "")
        if self.plan.spec.transform.err_cmd and await self._recover(datum, failure, attempt):
            self.output.bucket.roll_back()
            await self.empty_output_folder()
            self.commands.log.warning("datum.recovered", number=datum.number, reason=reason)
            return _result(datum, "recovered", attempt, started, code=code, reason=reason)
        self.record.datums.append(
            _result(datum, "failure", attempt, started, code=code, reason=reason)
        )
        if self.keep_failed:
            with contextlib.suppress(NotAnOutput, SamePath):
                await self.collect_output(datum)
        raise DatumFailed(failure.cause, reason, code)

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

    def _collect(self, datum: Datum) -> None:
        """Add the files of ``/pfs/out`` to the output bucket."""
        bucket = self.output.bucket
        shown = self.commands.root
        inputs = Inputs(
            self.store,
            self.root,
            {each.input.spec.name: each.input for each in datum.selections},
            {name: changed for name, (_, _, changed) in self._materialized.items()},
            shown=None if self.root == shown else shown,
        )
        epoch, check = bucket.epoch(), trio.from_thread.check_cancelled
        files = collect(self.root / OUT, inputs, bucket.stage, spool=self.scratch, check=check)
        for entry in files:
            if self.plan.count > 1:
                first = self._written_by.get(entry.key)
                if first is not None and first.number != datum.number:
                    raise SamePath(entry.key, _name(first), _name(datum))
                self._written_by[entry.key] = datum
            bucket.add(entry, epoch=epoch)

    def _find_full_disk(self) -> str | None:
        """Return a message that names a full disk and the remedy; None if no disk is full."""
        scratch = (
            f"the disk of the scratch directory {self.scratch.parent} is full: free space, or "
            "choose another directory with --scratch"
        )
        store = f"the disk of the store {self.store.url} is full: free space"
        if self.gateway.scratch_full.exists():
            return scratch
        if self.gateway.store_full.exists():
            return store
        blobs = self.store.backend.path("blobs/x")
        folders = [(self.scratch, scratch), (self.root, f"the disk of {self.root} is full")]
        if blobs is not None:
            folders += [(folder, store) for folder in blobs.parents if folder.exists()][:1]
        for folder, message in folders:
            with contextlib.suppress(OSError):
                found = os.statvfs(folder)
                # File systems that allocate inodes on demand report a total of 0.
                no_inodes = found.f_files > 0 and found.f_favail == 0
                if no_inodes or found.f_bavail * found.f_frsize < ALMOST_FULL:
                    return message
        return None


def _name(datum: Datum) -> str:
    paths = ", ".join(f"{name}:{path}" for name, path in datum.paths.items() if path != "/")
    return f"{datum.number} ({paths})" if paths else str(datum.number)


def _result(
    datum: Datum,
    state: str,
    tries: int,
    started: float,
    *,
    code: int | None = 0,
    reason: str = "",
) -> DatumResult:
    return DatumResult(
        id=datum.id,
        state=state,
        tries=tries,
        seconds=round(time.monotonic() - started, 3),
        exit_code=code,
        reason=reason,
        paths=datum.paths,
    )
