"""One datum after the other: its files, its command, its tries, and what it left as output."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.errors import Cause, WorkerError
from worker.job.pfs import Inputs, NotAnOutput, SamePath, collect, fingerprint, materialize
from worker.job.plan import Datum, Selection
from worker.job.request import Progress
from worker.job.result import DatumResult
from worker.job.scratch import remove_tree
from worker.job.workplace import Workplace
from worker.supervisor.command import CommandExit
from worker.supervisor.output import OutputHandler
from worker.supervisor.tree import CommandSpec, NotStarted

PAUSE = 0.5, 30.0
"""Seconds before the second try, and the most before any; in between they double."""
NEARLY_NOTHING = 1 << 20
"""A disk with less than this left is full."""


class DatumFailed(WorkerError):
    """A datum failed in all its tries; says how."""

    def __init__(self, cause: Cause, reason: str, code: int | None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.code = code


@attrs.frozen
class Failure:
    """How one try failed."""

    cause: Cause
    reason: str
    ended: CommandExit | None = None
    again: bool = True
    """Whether another try may go better."""


async def prepare(place: Workplace, datum: Datum) -> None:
    """Lay out the inputs of a datum, and nothing but these."""
    for each in datum.selections:
        count = await in_thread(_lay_out, place, each)
        if count is not None and not each.input.spec.s3:
            place.log.info("datum.materialized", input=each.name, path=each.match.path, files=count)


def _lay_out(place: Workplace, selection: Selection) -> int | None:
    """Lay out one input, and return its number of files; None if it lay there, untouched."""
    folder, check = place.root / selection.name, trio.from_thread.check_cancelled
    match, mark = place.laid_out.pop(selection.name, (None, b""))
    count = None
    if match != selection.match or mark != fingerprint(folder, check=check):
        remove_tree(folder)
        count = materialize(place.store, selection, folder, spool=place.scratch, check=check)
        mark = fingerprint(folder, check=check) if place.plan.count > 1 else b""
    place.laid_out[selection.name] = selection.match, mark
    return count


async def run_datum(place: Workplace, datum: Datum) -> DatumResult:
    """Work on one datum until a try succeeds; raises DatumFailed when none does.

    Each try begins with the output that the datum found.
    """
    place.log.info("datum.started", number=datum.number, of=place.plan.count, id=datum.id)
    began = time.monotonic()
    await prepare(place, datum)
    tries, attempt = place.plan.spec.datum_tries, 0
    while True:
        attempt += 1
        place.journal.watch(
            Progress(place.journal.state, "command", datum.number, place.plan.count, attempt)
        )
        failure = await _try(place, datum, attempt)
        if failure is None:
            place.output.index.new_epoch()
            return _result(datum, "success", attempt, began)
        place.log.warning(
            "datum.failed", number=datum.number, attempt=attempt, of=tries, reason=failure.reason
        )
        if not failure.again or attempt >= tries:
            return await _give_up(place, datum, failure, attempt=attempt, began=began)
        place.output.index.roll_back()
        await trio.sleep(_pause(attempt))


async def _try(place: Workplace, datum: Datum, attempt: int) -> Failure | None:
    """Run the command once; None means that it succeeded."""
    transform = place.plan.spec.transform
    await empty_out(place)
    for mark in (place.output.plan.store_full, place.output.plan.scratch_full):
        mark.unlink(missing_ok=True)
    output = place.output_handler(datum, attempt)
    command = place.command(transform.cmd, place.environment(datum))
    if transform.debug:
        place.log.info(
            "command.starting",
            command=list(command.argv),
            directory=str(command.directory or ""),
            user=str(transform.user or ""),
            environment=sorted(command.environment),
        )
    failure = await _run(
        place,
        command,
        stdin=transform.stdin,
        output=output,
    )
    place.journal.tail.clear()
    place.journal.tail.extend(output.tail)
    if failure is None:
        try:
            await take_output(place, datum)
        except (NotAnOutput, SamePath) as error:
            return Failure(Cause.COMMAND_FAILED, str(error), again=isinstance(error, NotAnOutput))
    return failure


async def _run(
    place: Workplace, command: CommandSpec, *, stdin: Sequence[str], output: OutputHandler
) -> Failure | None:
    spec = place.plan.spec
    limit = spec.datum_timeout
    try:
        with trio.move_on_after(float("inf") if limit is None else limit):
            ended = await place.runtime.run(
                command,
                stdin="".join(f"{line}\n" for line in stdin).encode(),
                grace_period=place.grace_period,
                output=output,
                on_usage=place.journal.account,
            )
            return _judge(place, ended, output)
    except NotStarted as error:
        return Failure(Cause.COMMAND_FAILED, str(error), again=False)
    return Failure(
        Cause.DATUM_TIMEOUT, f"the command took longer than its datumTimeout of {limit:g} s"
    )


def _judge(place: Workplace, ended: CommandExit, output: OutputHandler) -> Failure | None:
    """Return what a command's end means; None if it succeeded."""
    for left in ended.leftovers:
        place.log.warning(
            "command.left_running", pid=left.pid, command=place.redactor.text(left.command)
        )
        place.journal.warnings.append(
            f"the command left process {left.pid} running, which was ended: "
            f"{place.redactor.text(left.command)}"
        )
    if ended.succeeded(place.plan.spec.transform.accept_return_code):
        return None
    last = f": {output.tail[-1]}" if output.tail else ""
    reason = f"the command {ended}{last}"
    if ended.out_of_memory:
        return Failure(
            Cause.OUT_OF_MEMORY,
            f"the command ran out of memory: the kernel killed a process of this job's cgroup, and "
            f"then it {ended}",
            ended,
        )
    if (full := _full_disk(place)) is not None:
        return Failure(Cause.NOT_PUBLISHED, f"{full}; {reason}", ended)
    if ended.signal == signal.SIGKILL:
        reason += " (nobody here sent it; the kernel does when memory is short)"
    return Failure(Cause.COMMAND_FAILED, reason, ended)


async def _give_up(
    place: Workplace, datum: Datum, failure: Failure, *, attempt: int, began: float
) -> DatumResult:
    """Ask the error command whether the failure is all right; if not, raise DatumFailed."""
    code = failure.ended.code if failure.ended else None
    where = f"datum {datum.number} of {place.plan.count}: " if place.plan.count > 1 else ""
    reason = f"{where}{failure.reason}" + (f" (try {attempt})" if attempt > 1 else "")
    if place.plan.spec.transform.err_cmd and await _recovered(place, datum, failure, attempt):
        place.output.index.roll_back()
        await empty_out(place)
        place.log.warning("datum.recovered", number=datum.number, reason=reason)
        return _result(datum, "recovered", attempt, began, code=code, reason=reason)
    place.journal.datums.append(_result(datum, "failure", attempt, began, code=code, reason=reason))
    if place.keep_failed:
        with contextlib.suppress(NotAnOutput, SamePath):
            await take_output(place, datum)
    raise DatumFailed(failure.cause, reason, code)


async def _recovered(place: Workplace, datum: Datum, failure: Failure, attempt: int) -> bool:
    """Run the error command on a clock of its own, and return whether it succeeded."""
    transform = place.plan.spec.transform
    ended = failure.ended
    environment = place.environment(datum) | {
        "PACH_ERROR_REASON": failure.reason,
        "PACH_ERROR_CAUSE": failure.cause.value,
        "PACH_ERROR_CODE": "" if ended is None or ended.code is None else str(ended.code),
        "PACH_ERROR_SIGNAL": "" if ended is None or ended.signal is None else str(ended.signal),
        "PACH_ERROR_TRIES": str(attempt),
    }
    refused = await _run(
        place,
        place.command(transform.err_cmd, environment),
        stdin=transform.err_stdin,
        output=place.output_handler(datum, attempt),
    )
    if refused is not None:
        place.log.warning("datum.not_recovered", number=datum.number, reason=refused.reason)
    return refused is None


async def empty_out(place: Workplace) -> None:
    """Make ``/pfs/out`` an empty folder that the command may write to, where files are output."""
    if place.plan.spec.s3_out:
        return
    folder = place.root / "out"
    await in_thread(remove_tree, folder)
    folder.mkdir()
    folder.chmod(0o755)
    if place.identity is not None:
        os.chown(folder, place.identity.uid, place.identity.gid)


async def take_output(place: Workplace, datum: Datum) -> None:
    """Take in what a command left in ``/pfs/out``, where files are output.

    Raises NotAnOutput and SamePath.
    """
    if not place.plan.spec.s3_out:
        await in_thread(_collect, place, datum)


def _collect(place: Workplace, datum: Datum) -> None:
    """Put what lies in ``/pfs/out`` into the index."""
    inputs = Inputs(
        place.store,
        place.root,
        {each.name: each.input for each in datum.selections},
        shown=None if place.root == place.shown_root else place.shown_root,
    )
    epoch = place.output.index.epoch()
    for entry in collect(
        place.root / "out",
        inputs,
        place.output.stage,
        spool=place.scratch,
        check=trio.from_thread.check_cancelled,
    ):
        if place.plan.count > 1:
            first = place.writers.get(entry.key)
            if first is not None and first.number != datum.number:
                raise SamePath(entry.key, _called(first), _called(datum))
            place.writers[entry.key] = datum
        place.output.index.put(entry, epoch=epoch)


def _called(datum: Datum) -> str:
    paths = ", ".join(f"{name}:{path}" for name, path in datum.paths.items() if path != "/")
    return f"{datum.number} ({paths})" if paths else str(datum.number)


def _full_disk(place: Workplace) -> str | None:
    """Return which disk has nothing left and what to do, if that is why things fail."""
    scratch = (
        f"the disk of the scratch directory {place.scratch.parent} is full: free space, or choose "
        "another with --scratch"
    )
    store = f"the disk of the store {place.store.url} is full: free space"
    if place.output.plan.scratch_full.exists():
        return scratch
    if place.output.plan.store_full.exists():
        return store
    blobs = place.store.backend.path("blobs/x")
    folders = [(place.scratch, scratch), (place.root, f"the disk of {place.root} is full")]
    if blobs is not None:
        folders += [(folder, store) for folder in blobs.parents if folder.exists()][:1]
    for folder, text in folders:
        with contextlib.suppress(OSError):
            found = os.statvfs(folder)
            # File systems that create inodes as needed report none at all.
            no_inodes = found.f_files > 0 and found.f_favail == 0
            if no_inodes or found.f_bavail * found.f_frsize < NEARLY_NOTHING:
                return text
    return None


def _pause(attempt: int) -> float:
    """Return the seconds before the next try, spread so that many workers do not beat in time."""
    first, most = PAUSE
    return float(min(most, first * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))


def _result(
    datum: Datum,
    state: str,
    tries: int,
    began: float,
    *,
    code: int | None = 0,
    reason: str = "",
) -> DatumResult:
    return DatumResult(
        id=datum.id,
        state=state,
        tries=tries,
        seconds=round(time.monotonic() - began, 3),
        exit_code=code,
        reason=reason,
        paths=datum.paths,
    )
