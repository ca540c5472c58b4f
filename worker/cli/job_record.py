"""The record of a job as ``show`` prints it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from worker.cli import terminal as output
from worker.store.entry_rules import MAX_SECONDS, MAX_TOTAL

TRAFFIC = ("reads", "writes", "refused", "bytes read", "bytes written")
"""Columns of the traffic of a bucket."""

T = TypeVar("T")
_Seconds = Annotated[float, Meta(ge=0, lt=MAX_SECONDS)]
_Count = Annotated[int, Meta(ge=0, le=MAX_TOTAL)]
_NONE: Mapping[str, Any] = {}
_NO_SECONDS: Mapping[str, float] = {}
_NO_BUCKETS: Mapping[str, Mapping[str, Any]] = {}


def print_job(job: Mapping[str, Any]) -> None:
    """Print the record of a job.

    A field that another version has not written, or written with another type, is omitted: a commit
    stores the record as it is.
    """
    output.print_title("Job")
    transform = _mapping(_mapping(job, "spec"), "transform")
    state = _text(job, "state")
    started, finished = _seconds(job, "started"), _seconds(job, "finished")
    times = _field(job, "times", dict[str, _Seconds], _NO_SECONDS).items()
    has_duration = started is not None and finished is not None and started <= finished
    output.print_facts(
        [
            ("job", _text(job, "id")),
            ("state", "" if state == "success" else state),
            ("pipeline", "/".join(filter(None, (_text(job, "project"), _text(job, "pipeline"))))),
            ("description", _text(job, "description")),
            ("job parent", _text(job, "parent")),
            ("command", shlex.join(_texts(job, "command"))),
            ("stdin", "\n".join(_texts(transform, "stdin"))),
            ("image", " ".join(filter(None, (_text(job, "image"), _text(job, "image_digest"))))),
            ("started", "" if started is None else output.timestamp(started)),
            ("duration", output.duration((finished or 0) - (started or 0)) if has_duration else ""),
            ("steps", ", ".join(f"{name} {output.duration(spent)}" for name, spent in times)),
            ("datums", _datums(job)),
            ("resources", _usage(_mapping(job, "usage"))),
            ("warnings", _texts(job, "warnings")),
        ]
    )
    if buckets := _field(job, "buckets", dict[str, dict[str, Any]], _NO_BUCKETS):
        output.print_title("Traffic")
        output.print_table(
            ("bucket", *TRAFFIC),
            [(f"s3://{name}", *_traffic(found)) for name, found in buckets.items()],
            right=TRAFFIC,
        )
    if reports := _mapping(job, "reports"):
        output.print_title("Reported by the command")
        output.print_facts((name, json.dumps(found)) for name, found in reports.items())


def _traffic(found: Mapping[str, Any]) -> Iterator[str]:
    for name in TRAFFIC:
        yield output.integer(_count(found, name.replace(" ", "_")))


def _datums(job: Mapping[str, Any]) -> str:
    counts = _mapping(job, "datum_counts")
    count = _count(counts, "total")
    if not count:
        return ""
    parts = [f"{count:,}"]
    parts += [f"{n:,} {name}" for name in ("recovered", "failed") if (n := _count(counts, name))]
    datums: list[Mapping[str, Any]] = _field(job, "datums", list[dict[str, Any]], [])
    tries = sum(_count(datum, "tries", 1) for datum in datums)
    if tries > count:
        parts.append(f"in {tries:,} tries")
    return ", ".join(parts)


def _usage(usage: Mapping[str, Any]) -> str:
    if not usage:
        return ""
    processor = output.duration(_seconds(usage, "cpu_seconds") or 0.0)
    return f"{processor} of CPU time, {output.size(_count(usage, 'peak_memory'))} of peak memory"


def _text(fields: Mapping[str, Any], name: str) -> str:
    return _field(fields, name, str, "")


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return _field(fields, name, tuple[str, ...], ())


def _count(fields: Mapping[str, Any], name: str, default: int = 0) -> int:
    return _field(fields, name, _Count, default)


def _seconds(fields: Mapping[str, Any], name: str) -> float | None:
    found: float | None = _field(fields, name, _Seconds | None, None)
    return found


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _field(fields, name, dict[str, Any], _NONE)


def _field(fields: Mapping[str, Any], name: str, kind: Any, default: T) -> T:
    """Return the field *name* if it is a *kind*, and otherwise *default*."""
    try:
        found: T = msgspec.convert(fields.get(name, default), kind)
    except msgspec.ValidationError:
        return default
    return found
