"""How a commit tells where it comes from: its inputs, the job that made it, and what came of it."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from worker.cli import terminal as output
from worker.model import Commit, CommitName

TRAFFIC = ("reads", "writes", "refused", "bytes read", "bytes written")


def print_commit(commit: Commit, made: Iterable[CommitName]) -> None:
    """Print a commit with everything that is known of its origin, and what was made from it."""
    took = output.duration(commit.finished - commit.started)
    output.print_facts(
        [
            ("commit", str(commit.name)),
            ("branch", commit.branch),
            ("parent", commit.parent or "none"),
            ("finished", f"{output.timestamp(commit.finished)}, after {took}"),
            ("content", f"{output.number(commit.files, 'file')}, {output.size(commit.size)}"),
            ("tree", commit.digest),
            ("message", commit.message),
        ]
    )
    if commit.inputs:
        output.print_title("Made from")
        output.print_table(
            ("input", "commit", "branch", "as"),
            [
                (i.name, str(i.commit), i.branch, "bucket" if i.s3 else f"files {i.glob}")
                for i in commit.inputs
            ],
        )
    if commit.job:
        _print_job(commit.job)
    output.print_title("Made from it")
    names = [str(name) for name in made]
    for name in names or ["nothing yet"]:
        output.print_line(name)


def _print_job(job: Mapping[str, Any]) -> None:
    """Print the job as it went; a field that another version did not write is left out."""
    output.print_title("Made by")
    transform = _mapping(_mapping(job.get("spec")).get("transform"))
    took = job.get("finished", 0.0) - job.get("started", 0.0)
    times = _mapping(job.get("times")).items()
    usage = _mapping(job.get("usage"))
    output.print_facts(
        [
            ("job", job.get("id") or ""),
            ("ended in", "" if job.get("state") == "success" else job.get("state") or ""),
            ("pipeline", "/".join(filter(None, (job.get("project"), job.get("pipeline"))))),
            ("described", job.get("description") or ""),
            ("asked by", job.get("parent") or ""),
            ("command", shlex.join(job.get("command", ()))),
            ("stdin", "\n".join(transform.get("stdin", ()))),
            ("image", " ".join(filter(None, (job.get("image"), job.get("image_digest"))))),
            ("started", output.timestamp(job["started"]) if "started" in job else ""),
            ("took", output.duration(took) if "finished" in job else ""),
            ("of that", ", ".join(f"{name} {output.duration(spent)}" for name, spent in times)),
            ("datums", _datums(job)),
            ("used", _usage(usage) if usage else ""),
            ("warnings", "\n".join(job.get("warnings", ()))),
        ]
    )
    if buckets := _mapping(job.get("buckets")):
        output.print_title("Read and written")
        output.print_table(
            ("bucket", *TRAFFIC),
            [(f"s3://{name}", *_traffic(found)) for name, found in buckets.items()],
            right=TRAFFIC,
        )
    if reports := _mapping(job.get("reports")):
        output.print_title("Reported by the command")
        output.print_facts((name, json.dumps(found)) for name, found in reports.items())


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _traffic(found: Mapping[str, int]) -> Iterator[str]:
    for name in TRAFFIC:
        yield output.integer(found.get(name.replace(" ", "_"), 0))


def _datums(job: Mapping[str, Any]) -> str:
    count = job.get("datum_count", 0)
    tries = sum(datum.get("tries", 1) for datum in job.get("datums", ()))
    if not count:
        return ""
    return f"{count:,}" + (f", in {tries:,} tries" if tries > count else "")


def _usage(usage: Mapping[str, Any]) -> str:
    processor = output.duration(usage.get("cpu_seconds", 0.0))
    return f"{processor} of CPU, {output.size(usage.get('peak_memory', 0))} of memory at most"
