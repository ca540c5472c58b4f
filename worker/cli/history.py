"""``log``, ``show`` and ``repos``: commits, their provenance, and the branches they are on."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import attrs
import click

from worker.cli import failures
from worker.cli import terminal as output
from worker.cli.browse import entry_json, file_of
from worker.cli.job_record import print_job
from worker.cli.options import STORE, json_option, with_settings
from worker.config import Config
from worker.model import Commit, CommitName, Entry, Repo, parse_ref
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.text import escape_controls

CONCURRENCY = 8
"""Repos that ``repos`` reads at the same time, because of the latency of an object store."""


def commit_json(commit: Commit) -> dict[str, Any]:
    """Return a commit as JSON values, with names of commits as refs."""
    return {
        **attrs.asdict(commit),
        "name": str(commit.name),
        "branch": None if commit.is_kept else commit.branch,
        "inputs": [{**attrs.asdict(i), "commit": str(i.commit)} for i in commit.inputs],
        "job": dict(commit.job),
    }


def _log_row(commit: Commit) -> tuple[str, str, str, str, str]:
    description = commit.message or (
        "from " + ", ".join(record.name for record in commit.inputs) if commit.inputs else ""
    )
    return (
        commit.name.id,
        output.timestamp(commit.finished),
        output.integer(commit.files),
        str(commit.size) if not output.on_terminal() else output.size(commit.size),
        description,
    )


@click.command()
@click.argument("ref")
@click.option("-n", "--number", type=click.IntRange(min=1), help="Maximum number of commits")
@json_option
@with_settings(*STORE)
def log(settings: Config, *, ref: str, number: int | None, as_json: bool) -> None:
    """List the commits of a branch, newest first.

    The list starts at the commit of REF. For a branch, it has every commit that has been its head;
    for a commit, its ancestors.

    \b
    Examples:
      worker log labresults
      worker log labresults@dev -n 3
      worker log --json labresults | jq -r .digest
    """
    parsed = parse_ref(ref)
    if parsed.path:
        raise click.UsageError(f"{ref} has a path; expected a commit or a branch, without a path")
    store = open_store(settings.store, settings.store_options)
    commits = islice(store.history(parsed), number)
    if as_json:
        for commit in commits:
            output.print_json(commit_json(commit))
        return
    columns = ("commit", "finished", "files", "size", "message")
    output.print_table(columns, map(_log_row, commits), right=("files", "size"), cut="message")


@attrs.frozen
class BranchHead:
    """A branch with its head."""

    repo: str
    branch: str
    commit: Commit | None


def branch_heads(store: Store) -> Iterator[BranchHead]:
    """Yield the branches of all repos in order; a repo without a branch has the branch ``""``."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for lines in pool.map(lambda repo: _branches_of(store, repo), store.repos()):
            yield from lines


def _branches_of(store: Store, repo: Repo) -> list[BranchHead]:
    lines = []
    for branch in store.branches(repo):
        head = store.head(branch)
        commit = store.commit(head.commit) if head else None
        lines.append(BranchHead(str(repo), branch.name, commit))
    return lines or [BranchHead(str(repo), "", None)]


def _report_missing_store(store: Store) -> None:
    """Say that there is no store at a path, which may be mistyped."""
    if store.is_missing():
        failures.print_error(
            f"worker: {store.url} does not exist; the first `worker put` or job creates it"
        )


def _branch_row(line: BranchHead) -> tuple[str, ...]:
    if line.commit is None:
        return (line.repo, line.branch, "", "", "", "")
    head = line.commit
    shown = output.size(head.size) if output.on_terminal() else str(head.size)
    return (
        line.repo,
        line.branch,
        output.integer(head.files),
        shown,
        output.timestamp(head.finished),
        head.name.id,
    )


@click.command()
@json_option
@with_settings(*STORE)
def repos(settings: Config, *, as_json: bool) -> None:
    """List the repos of the store with their branches.

    \b
    Examples:
      worker repos
      worker repos --store s3://bucket/prefix --json
    """
    store = open_store(settings.store, settings.store_options)
    if as_json:
        for line in branch_heads(store):
            head = line.commit
            output.print_json(
                {
                    "repo": line.repo,
                    "branch": line.branch or None,
                    "commit": head.name.id if head else None,
                    "files": head.files if head else 0,
                    "size": head.size if head else 0,
                    "finished": head.finished if head else None,
                }
            )
        return
    lines = list(branch_heads(store)) if output.on_terminal() else branch_heads(store)
    if not output.on_terminal():
        _report_missing_store(store)
    if not lines:
        output.print_line(f"No repos in {store.url}")
        _report_missing_store(store)
        return
    output.print_table(
        ("repo", "branch", "files", "size", "finished", "head"),
        map(_branch_row, lines),
        right=("files", "size"),
        # A branch is referred to by its name.
        optional=("head", "finished", "size", "files"),
    )


@click.command()
@click.argument("ref")
@json_option
@with_settings(*STORE)
def show(settings: Config, *, ref: str, as_json: bool) -> None:
    """Show a commit with its provenance, or one file of it.

    The output commit of a job has its input commits, pipeline, command, job, times, and the
    traffic of each bucket. Every commit has the list of commits made from it.

    \b
    Examples:
      worker show s3_protocol_enabled_pipeline
      worker show labresults@master^
      worker show labresults:README.txt
      worker show --json s3_protocol_enabled_pipeline | jq .job
    """
    parsed = parse_ref(ref)
    store = open_store(settings.store, settings.store_options)
    commit = store.resolve(parsed)
    if parsed.path:
        entry = file_of(store.tree(commit), parsed)
        _show_file(commit.name, entry, as_json=as_json)
        return
    derived = list(store.made_from(commit.name))
    if as_json:
        output.print_json({**commit_json(commit), "made_from_it": [str(name) for name in derived]})
        return
    _print_commit(commit, derived)


def _print_commit(commit: Commit, derived: Iterable[CommitName]) -> None:
    """Print a commit with its provenance and the commits made from it."""
    took = output.duration(commit.finished - commit.started)
    output.print_facts(
        [
            ("commit", str(commit.name)),
            (
                "branch",
                "none: the kept output of a failed job" if commit.is_kept else commit.branch,
            ),
            ("parent", commit.parent or "none"),
            ("finished", f"{output.timestamp(commit.finished)}, after {took}"),
            ("content", f"{output.number(commit.files, 'file')}, {output.size(commit.size)}"),
            ("tree", commit.digest),
            ("message", commit.message),
        ]
    )
    if commit.inputs:
        output.print_title("Inputs")
        output.print_table(
            ("input", "commit", "branch", "as"),
            [
                (i.name, str(i.commit), i.branch, "bucket" if i.s3 else f"files {i.glob}")
                for i in commit.inputs
            ],
        )
    if commit.job:
        print_job(commit.job)
    output.print_title("Derived commits")
    names = [str(name) for name in derived]
    for name in names or ["none"]:
        output.print_line(name)


def _show_file(commit: CommitName, entry: Entry, *, as_json: bool) -> None:
    details = {
        "headers": dict(entry.headers),
        "metadata": dict(entry.metadata),
        "tags": dict(entry.tags),
        "checksum": attrs.asdict(entry.checksum) if entry.checksum else None,
        "parts": len(entry.parts),
        "extents": len(entry.extents),
    }
    if as_json:
        output.print_json({"commit": str(commit), **entry_json(entry), **details})
        return
    checksum = entry.checksum
    output.print_facts(
        [
            ("file", entry.key),
            ("commit", str(commit)),
            ("size", output.size(entry.size)),
            ("bytes", f"{entry.size:,}"),
            ("modified", output.timestamp(entry.modified / 1000)),
            ("etag", entry.etag),
            (
                "checksum",
                f"{checksum.algorithm} {checksum.value} {checksum.type}" if checksum else "",
            ),
            ("parts", str(len(entry.parts) or "")),
            ("headers", _lines(entry.headers)),
            ("metadata", _lines(entry.metadata)),
            ("tags", _lines(entry.tags)),
        ]
    )


def _lines(pairs: Mapping[str, Any]) -> str:
    """Return a line for each of *pairs*, of which none has a line feed."""
    return "\n".join(escape_controls(f"{name}: {value}") for name, value in pairs.items())
