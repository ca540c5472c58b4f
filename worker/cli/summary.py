"""The summary of a run: what it read and wrote, where that is, and the commands that continue."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from worker.cli import terminal as output
from worker.errors import Cause
from worker.gateway.messages import BucketStatistics
from worker.job.result import Result
from worker.model import OUT, CommitName, InputRecord
from worker.text import shell_line

COMMAND_CAUSES = (
    Cause.COMMAND_FAILED,
    Cause.DATUM_TIMEOUT,
    Cause.JOB_TIMEOUT,
    Cause.OUT_OF_MEMORY,
)
"""Failures whose reason the user finds in the buckets, or in what the command has written."""


@attrs.frozen
class NextCommands:
    """Command lines that continue a run, with the options of the one that started it."""

    store: Sequence[str] = ()
    """Options by which other commands find the same store."""
    shell: str = ""
    """``worker shell`` for the same job; empty if the run was one."""
    again: str = ""
    """The same run with ``--keep-failed``; empty for a run that keeps nothing."""

    def of(self, result: Result) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield what may be done after *result*, and the commands for it."""
        if result.output is not None:
            yield "To list its files, and to show how it was made:", self._look(result.output)
        if result.kept is not None:
            yield "To list the output that was kept, and to show it:", self._look(result.kept)
        if result.cause not in COMMAND_CAUSES:
            return
        # What a job has written whose time is over is not kept.
        if self.again and result.kept is None and result.cause is not Cause.JOB_TIMEOUT:
            yield "To keep what the command writes, also if it fails:", (self.again,)
        if self.shell:
            yield "To run commands by hand on the same inputs:", (self.shell,)

    def _look(self, commit: CommitName) -> tuple[str, ...]:
        return tuple(
            shell_line(["worker", verb, str(commit), *self.store]) for verb in ("ls", "show")
        )


def summary(result: Result, next_commands: NextCommands, *, store: str) -> list[str]:
    """Return the lines of the summary for people."""
    facts: list[output.Fact] = [
        ("datums", _datums(result)),
        ("read", tuple(_read(result))),
        ("written", _written(result)),
        ("output", _output(result)),
        ("store", store if result.output or result.kept else ""),
        # A warning may recur with each try.
        ("warnings", tuple(dict.fromkeys(result.warnings))),
    ]
    lines = list(output.format_facts(facts, wraps=True))
    for purpose, commands in next_commands.of(result):
        lines += [purpose, *(f"  {command}" for command in commands)]
    return lines


def fields(result: Result, next_commands: NextCommands, *, store: str) -> dict[str, Any]:
    """Return the summary as fields of the last event of a log in JSON."""
    return {
        "exit_code": result.exit_code,
        "datum_counts": attrs.asdict(result.datum_counts),
        "store": store,
        "inputs": {each.name: str(each.commit) for each in result.inputs},
        "buckets": {name: attrs.asdict(found) for name, found in result.buckets.items()},
        "warnings": list(dict.fromkeys(result.warnings)),
        "next": [command for _, commands in next_commands.of(result) for command in commands],
    }


def traffic(buckets: Mapping[str, BucketStatistics]) -> Iterator[list[str]]:
    """Yield forms of what was read from each input and written to ``out``, the longest one first.

    Objects and bytes of each bucket, its bytes, and the sums of the bytes.
    """
    used = {
        name: (found, moved)
        for name, found in buckets.items()
        if (moved := _moved(found, writes=name == OUT))
    }
    sizes = {
        name: found.bytes_written if name == OUT else found.bytes_read
        for name, (found, _) in used.items()
    }
    yield [f"{name} {moved}" for name, (_, moved) in used.items()]
    yield [f"{name} {output.size(size)}" for name, size in sizes.items()]
    written = sizes.pop(OUT, None)
    sums = {"in": sum(sizes.values()) if sizes else None, OUT: written}
    yield [f"{name} {output.size(size)}" for name, size in sums.items() if size is not None]


def _moved(found: BucketStatistics | None, *, writes: bool) -> str:
    if found is None:
        return ""
    if writes:
        count, noun, size = found.objects_written, "object", found.bytes_written
    else:
        # Not objects: an object that is read in ranges is read several times.
        count, noun, size = found.get_requests, "read", found.bytes_read
    return f"{output.number(count, noun)}, {output.size(size)}" if count or size else ""


def _datums(result: Result) -> str:
    counts = result.datum_counts
    if counts.total <= 1 or result.exit_code:
        # The reason of a failure has its own counts.
        return ""
    recovered = f", {counts.recovered:,} recovered" if counts.recovered else ""
    return f"{counts.processed:,} of {counts.total:,} processed{recovered}"


def _read(result: Result) -> Iterator[str]:
    if result.cause is Cause.PUBLISHED_BEFORE:
        # The inputs are those of the run that published.
        return
    for record in result.inputs:
        yield f"{_what(result, record)} of {record.commit}"


def _what(result: Result, record: InputRecord) -> str:
    if not record.s3:
        return f"{record.name}: the files {record.glob}"
    moved = _moved(result.buckets.get(record.name), writes=False)
    return f"s3://{record.name}: {moved or 'nothing'}"


def _written(result: Result) -> str:
    found = result.buckets.get(OUT)
    if found is None:
        return ""
    kept = result.output is not None or result.kept is not None
    moved = _moved(found, writes=True)
    return f"s3://{OUT}: {moved or 'nothing'}" + ("" if kept or not moved else ", discarded")


def _output(result: Result) -> str:
    if result.output is None:
        return ""
    took = output.duration(result.finished - result.started)
    content = f"{output.number(result.files, 'file')}, {output.size(result.size)}"
    where = f"on {result.branch}" if result.branch_moved else f"not on {result.branch}"
    if result.cause is Cause.PUBLISHED_BEFORE:
        return f"{content} {where}, published before by a run of this job"
    cause = "" if result.cause is Cause.PUBLISHED else f" ({result.cause.value})"
    return f"{content} {where}, after {took}{cause}"
