"""How a commit tells where it comes from: its inputs, the job that made it, and what came of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from worker.cli import output
from worker.store.model import Commit, CommitName


def print_commit(commit: Commit, made: Iterable[CommitName]) -> None:
    """Print a commit with everything that is known of its origin, and what was made from it."""
    took = output.duration(commit.finished - commit.started)
    output.print_facts(
        [
            ("commit", str(commit.name)),
            ("branch", commit.branch),
            ("parent", commit.parent or "none"),
            ("finished", f"{output.moment(commit.finished)}, after {took}"),
            ("content", f"{output.number(commit.files, 'file')}, {output.size(commit.size)}"),
            ("tree", commit.digest),
            ("message", commit.message),
        ]
    )
    if commit.inputs:
        output.title("Made from")
        output.print_table(
            ("input", "commit", "branch", "as"),
            [
                (i.name, str(i.commit), i.branch, "bucket" if i.s3 else f"files {i.glob}")
                for i in commit.inputs
            ],
        )
    if commit.job:
        _print_job(commit.job)
    output.title("Made from it")
    names = [str(name) for name in made]
    for name in names or ["nothing yet"]:
        output.print_line(name)


def _print_job(job: Mapping[str, Any]) -> None:
    """Print how the job went; a field that another version left out is left out here."""
    output.title("Made by")
    output.print_facts((name, str(value)) for name, value in job.items() if _plain(value))
    for name, value in job.items():
        if isinstance(value, Mapping) and value and name != "pipeline":
            output.title(name.capitalize())
            output.print_facts((key, str(each)) for key, each in value.items() if _plain(each))


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)
