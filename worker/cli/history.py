"""``log``, ``show`` and ``repos``: what was committed, when, from what, and what came of it."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import attrs
import click

from worker.cli import terminal as output
from worker.cli.browse import FileMissing, entry_json
from worker.cli.options import STORE, json_option, with_settings
from worker.cli.provenance import print_commit
from worker.config import Config
from worker.model import Commit, CommitName, Entry, Repo
from worker.store.refs import parse_ref
from worker.store.repository import Store, open_store

AT_ONCE = 8
"""Repos that are looked up at the same time, as an object store answers after milliseconds."""


def commit_json(commit: Commit) -> dict[str, Any]:
    """Return a commit as JSON values, as the store keeps it and with its names as refs."""
    return {
        **attrs.asdict(commit),
        "name": str(commit.name),
        "inputs": [{**attrs.asdict(i), "commit": str(i.commit)} for i in commit.inputs],
        "job": dict(commit.job),
    }


def _log_row(commit: Commit) -> tuple[str, str, str, str, str]:
    what = commit.message or (
        "from " + ", ".join(record.name for record in commit.inputs) if commit.inputs else ""
    )
    return (
        commit.name.id,
        output.timestamp(commit.finished),
        output.integer(commit.files),
        str(commit.size) if not output.on_terminal() else output.size(commit.size),
        what,
    )


@click.command()
@click.argument("ref")
@click.option("-n", "--number", type=click.IntRange(min=1), help="Stop after so many commits")
@json_option
@with_settings(*STORE)
def log(settings: Config, *, ref: str, number: int | None, as_json: bool) -> None:
    """List the commits of a branch, the newest first.

    Starts at the commit that REF names. A branch shows every commit that was its head; from a
    commit on, the log goes back by parents.

    \b
    Examples:
      worker log labresults
      worker log labresults@dev -n 3
      worker log --json labresults | jq -r .digest
    """
    store = open_store(settings.store, settings.store_options)
    commits = islice(store.history(parse_ref(ref)), number)
    if as_json:
        for commit in commits:
            output.print_json(commit_json(commit))
        return
    columns = ("commit", "finished", "files", "size", "what")
    output.print_table(columns, map(_log_row, commits), right=("files", "size"))


@attrs.frozen
class BranchLine:
    """A branch with its head, for the list of repos."""

    repo: str
    branch: str
    commit: Commit | None


def branch_lines(store: Store) -> Iterator[BranchLine]:
    """Yield a line for each branch, in order; several repos are asked for at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for lines in pool.map(lambda repo: _branches_of(store, repo), store.repos()):
            yield from lines


def _branches_of(store: Store, repo: Repo) -> list[BranchLine]:
    lines = []
    for branch in store.branches(repo):
        head = store.head(branch)
        commit = store.commit(head.commit) if head else None
        lines.append(BranchLine(str(repo), branch.name, commit))
    return lines or [BranchLine(str(repo), "", None)]


def _branch_row(line: BranchLine) -> tuple[str, ...]:
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
        # Eighty columns have no room for all of it, and people name a branch by its name.
        head.name.id[:8] if output.on_terminal() else head.name.id,
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
        for line in branch_lines(store):
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
    lines = list(branch_lines(store)) if output.on_terminal() else branch_lines(store)
    if not lines:
        output.print_line(f"No repos yet in {store.url}")
        return
    output.print_table(
        ("repo", "branch", "files", "size", "finished", "head"),
        map(_branch_row, lines),
        right=("files", "size"),
    )


@click.command()
@click.argument("ref")
@json_option
@with_settings(*STORE)
def show(settings: Config, *, ref: str, as_json: bool) -> None:
    """Show a commit with its provenance, or one file of it.

    Of a job's output: the commits it was made from, the pipeline, command and job, times, and what
    went through each bucket. Of any commit: what was made from it.

    \b
    Examples:
      worker show s3_protocol_enabled_pipeline
      worker show labresults@master^
      worker show labresults:README.txt
      worker show --json s3_protocol_enabled_pipeline | jq .job
    """
    wanted = parse_ref(ref)
    store = open_store(settings.store, settings.store_options)
    commit = store.resolve(wanted)
    if wanted.path:
        entry = store.tree(commit).entry(wanted.path)
        if entry is None:
            raise FileMissing(wanted)
        _show_file(commit.name, entry, as_json=as_json)
        return
    made = list(store.made_from(commit.name))
    if as_json:
        output.print_json({**commit_json(commit), "made_from_it": [str(name) for name in made]})
        return
    print_commit(commit, made)


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
    return "\n".join(f"{name}: {value}" for name, value in pairs.items())
