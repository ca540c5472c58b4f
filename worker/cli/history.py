"""``log``, ``show`` and ``repos``: commits, their provenance, and branches."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import attrs
import click

from worker.cli import terminal
from worker.cli.browse import FileMissing, entry_to_json
from worker.cli.options import STORE, json_option, with_settings
from worker.config import Config
from worker.model import Commit, CommitName, Entry, Repo
from worker.store.opening import open_store
from worker.store.refs import parse_ref
from worker.store.repository import Store

CONCURRENCY = 8
"""Repos that are read at the same time, since an object store responds after milliseconds."""
TRAFFIC = ("reads", "writes", "refused", "bytes read", "bytes written")


@click.command()
@click.argument("ref")
@click.option("-n", "--number", type=click.IntRange(min=1), help="Stop after this many commits")
@json_option
@with_settings(*STORE)
def log(config: Config, *, ref: str, number: int | None, as_json: bool) -> None:
    """List the commits of a branch, newest first.

    Starts at the commit that REF names. A branch shows every commit that was its head; from a
    commit, the log follows parents.

    \b
    Examples:
      worker log labresults
      worker log labresults@dev -n 3
      worker log --json labresults | jq -r .digest
    """
    store = open_store(config.store, config.store_options)
    commits = islice(store.history(parse_ref(ref)), number)
    if as_json:
        for commit in commits:
            terminal.print_json(commit_to_json(commit))
        return
    columns = ("commit", "finished", "files", "size", "what")
    terminal.print_table(columns, map(_log_row, commits), right=("files", "size"))


def commit_to_json(commit: Commit) -> dict[str, Any]:
    """Return a commit as JSON values, with names as refs."""
    return {
        **attrs.asdict(commit),
        "name": str(commit.name),
        "inputs": [{**attrs.asdict(i), "commit": str(i.commit)} for i in commit.inputs],
        "job": dict(commit.job),
    }


def _log_row(commit: Commit) -> tuple[str, str, str, str, str]:
    sources = ", ".join(record.name for record in commit.inputs)
    return (
        commit.name.id,
        terminal.format_time(commit.finished),
        terminal.format_integer(commit.files),
        terminal.format_size(commit.size) if terminal.is_terminal() else str(commit.size),
        commit.message or (f"from {sources}" if sources else ""),
    )


@attrs.frozen
class BranchRow:
    """A branch and its head, or a repo without branches, in the list of repos."""

    repo: str
    branch: str
    commit: Commit | None


def branch_rows(store: Store) -> Iterator[BranchRow]:
    """Yield a row for each branch in order; several repos are read concurrently."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for rows in pool.map(lambda repo: _branches_of(store, repo), store.repos()):
            yield from rows


def _branches_of(store: Store, repo: Repo) -> list[BranchRow]:
    rows = []
    for branch in store.branches(repo):
        head = store.head(branch)
        commit = store.commit(head.commit) if head else None
        rows.append(BranchRow(str(repo), branch.name, commit))
    return rows or [BranchRow(str(repo), "", None)]


@click.command()
@json_option
@with_settings(*STORE)
def repos(config: Config, *, as_json: bool) -> None:
    """List the repos of the store with their branches.

    \b
    Examples:
      worker repos
      worker repos --store s3://bucket/prefix --json
    """
    store = open_store(config.store, config.store_options)
    if as_json:
        for row in branch_rows(store):
            head = row.commit
            terminal.print_json(
                {
                    "repo": row.repo,
                    "branch": row.branch or None,
                    "commit": head.name.id if head else None,
                    "files": head.files if head else 0,
                    "size": head.size if head else 0,
                    "finished": head.finished if head else None,
                }
            )
        return
    rows = list(branch_rows(store)) if terminal.is_terminal() else branch_rows(store)
    if not rows:
        terminal.print_line(f"No repos yet in {store.url}")
        return
    terminal.print_table(
        ("repo", "branch", "files", "size", "finished", "head"),
        map(_branch_cells, rows),
        right=("files", "size"),
    )


def _branch_cells(row: BranchRow) -> tuple[str, ...]:
    if row.commit is None:
        return (row.repo, row.branch, "", "", "", "")
    head, is_terminal = row.commit, terminal.is_terminal()
    return (
        row.repo,
        row.branch,
        terminal.format_integer(head.files),
        terminal.format_size(head.size) if is_terminal else str(head.size),
        terminal.format_time(head.finished),
        # A whole id does not fit into 80 columns, and a branch is referred to by its name.
        head.name.id[:8] if is_terminal else head.name.id,
    )


@click.command()
@click.argument("ref")
@json_option
@with_settings(*STORE)
def show(config: Config, *, ref: str, as_json: bool) -> None:
    """Show a commit with its provenance, or one file of it.

    Of a job's output: the input commits, the pipeline, command and job, times, and the traffic of
    each bucket. Of any commit: the commits that were made from it.

    \b
    Examples:
      worker show s3_protocol_enabled_pipeline
      worker show labresults@master^
      worker show labresults:README.txt
      worker show --json s3_protocol_enabled_pipeline | jq .job
    """
    wanted = parse_ref(ref)
    store = open_store(config.store, config.store_options)
    commit = store.resolve(wanted)
    if wanted.path:
        entry = store.tree(commit).entry(wanted.path)
        if entry is None:
            raise FileMissing(wanted)
        _show_file(commit.name, entry, as_json=as_json)
        return
    made = list(store.made_from(commit.name))
    if as_json:
        terminal.print_json({**commit_to_json(commit), "made_from_it": [str(n) for n in made]})
        return
    _show_commit(commit, made)


def _show_commit(commit: Commit, made: Iterable[CommitName]) -> None:
    took = terminal.format_seconds(commit.finished - commit.started)
    count = terminal.format_count(commit.files, "file")
    terminal.print_facts(
        [
            ("commit", str(commit.name)),
            ("branch", commit.branch),
            ("parent", commit.parent or "none"),
            ("finished", f"{terminal.format_time(commit.finished)}, after {took}"),
            ("content", f"{count}, {terminal.format_size(commit.size)}"),
            ("tree", commit.digest),
            ("message", commit.message),
        ]
    )
    if commit.inputs:
        terminal.print_title("Made from")
        terminal.print_table(
            ("input", "commit", "branch", "as"),
            [
                (i.name, str(i.commit), i.branch, "bucket" if i.s3 else f"files {i.glob}")
                for i in commit.inputs
            ],
        )
    if commit.job:
        _show_job(commit.job)
    terminal.print_title("Made from it")
    for line in [str(name) for name in made] or ["nothing yet"]:
        terminal.print_line(line)


def _show_job(job: Mapping[str, Any]) -> None:
    """Print the record of a job; fields that another version did not write are left out."""
    terminal.print_title("Made by")
    transform = _mapping(_mapping(job.get("spec")).get("transform"))
    took = job.get("finished", 0.0) - job.get("started", 0.0)
    times = _mapping(job.get("times")).items()
    terminal.print_facts(
        [
            ("job", job.get("id") or ""),
            ("ended in", "" if job.get("state") == "success" else job.get("state") or ""),
            ("pipeline", "/".join(filter(None, (job.get("project"), job.get("pipeline"))))),
            ("described", job.get("description") or ""),
            ("asked by", job.get("parent") or ""),
            ("command", shlex.join(job.get("command", ()))),
            ("stdin", "\n".join(transform.get("stdin", ()))),
            ("image", " ".join(filter(None, (job.get("image"), job.get("image_digest"))))),
            ("started", terminal.format_time(job["started"]) if "started" in job else ""),
            ("took", terminal.format_seconds(took) if "finished" in job else ""),
            ("of that", ", ".join(f"{n} {terminal.format_seconds(spent)}" for n, spent in times)),
            ("datums", _format_datums(job)),
            ("used", _format_usage(_mapping(job.get("usage")))),
            ("warnings", "\n".join(job.get("warnings", ()))),
        ]
    )
    if buckets := _mapping(job.get("buckets")):
        terminal.print_title("Read and written")
        terminal.print_table(
            ("bucket", *TRAFFIC),
            [
                (f"s3://{bucket}", *(terminal.format_integer(_count(found, n)) for n in TRAFFIC))
                for bucket, found in buckets.items()
            ],
            right=TRAFFIC,
        )
    if reports := _mapping(job.get("reports")):
        terminal.print_title("Reported by the command")
        terminal.print_facts((name, json.dumps(found)) for name, found in reports.items())


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(found: Mapping[str, int], column: str) -> int:
    return found.get(column.replace(" ", "_"), 0)


def _format_datums(job: Mapping[str, Any]) -> str:
    count = job.get("datum_count", 0)
    tries = sum(datum.get("tries", 1) for datum in job.get("datums", ()))
    if not count:
        return ""
    return f"{count:,}" + (f", in {tries:,} tries" if tries > count else "")


def _format_usage(usage: Mapping[str, Any]) -> str:
    if not usage:
        return ""
    cpu = terminal.format_seconds(usage.get("cpu_seconds", 0.0))
    return f"{cpu} of CPU, peak memory {terminal.format_size(usage.get('peak_memory', 0))}"


def _show_file(commit: CommitName, entry: Entry, *, as_json: bool) -> None:
    checksum = entry.checksum
    if as_json:
        terminal.print_json(
            {
                "commit": str(commit),
                **entry_to_json(entry),
                "headers": dict(entry.headers),
                "metadata": dict(entry.metadata),
                "tags": dict(entry.tags),
                "checksum": attrs.asdict(checksum) if checksum else None,
                "parts": len(entry.parts),
                "extents": len(entry.extents),
            }
        )
        return
    terminal.print_facts(
        [
            ("file", entry.key),
            ("commit", str(commit)),
            ("size", terminal.format_size(entry.size)),
            ("bytes", f"{entry.size:,}"),
            ("modified", terminal.format_time(entry.modified / 1000)),
            ("etag", entry.etag),
            (
                "checksum",
                f"{checksum.algorithm} {checksum.value} {checksum.type}" if checksum else "",
            ),
            ("parts", str(len(entry.parts) or "")),
            ("headers", _format_pairs(entry.headers)),
            ("metadata", _format_pairs(entry.metadata)),
            ("tags", _format_pairs(entry.tags)),
        ]
    )


def _format_pairs(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in pairs.items())
