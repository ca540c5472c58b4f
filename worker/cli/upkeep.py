"""``verify`` and ``gc``: integrity of the store, and removal of unreferenced data."""

from pathlib import Path

import attrs
import click

from worker.cli import failures, terminal
from worker.cli.options import STORE, json_option, with_settings
from worker.cli.progress import counting_progress
from worker.config import SETTINGS, Config
from worker.model import CommitName
from worker.store.gc import GRACE_PERIOD, collect_garbage
from worker.store.opening import open_store
from worker.store.verify import verify_store


@click.command()
@json_option
@with_settings(*STORE)
def verify(config: Config, *, as_json: bool) -> int:
    """Read all data and check every digest.

    Reads every branch, commit, tree and byte of the store and changes nothing. Damage is listed by
    commit and file; the exit status is 1 if there is any.

    \b
    Examples:
      worker verify
      worker verify --store s3://bucket/prefix --json
    """
    store = open_store(config.store, config.store_options)
    with counting_progress("commits") as step:

        def progress(name: CommitName) -> None:
            step(str(name))

        found = verify_store(store, progress=progress)
    if as_json:
        terminal.print_json(attrs.asdict(found))
    else:
        for defect in found.defects:
            terminal.print_line(f"{defect.name}: {defect.found}")
        damage = (
            terminal.format_count(len(found.defects), "defect") if found.defects else "no defects"
        )
        terminal.print_line(
            f"{terminal.format_count(found.commits, 'commit')}, "
            f"{terminal.format_size(found.size)} of files read: {damage}"
        )
    return failures.INCOMPLETE if found.defects else failures.OK


def _grace(_context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds: float = SETTINGS["grace"].parse(text, Path())
    except ValueError as error:
        raise click.BadParameter(f"{error}, found {text!r}", param=parameter) from error
    return seconds


@click.command()
@click.option(
    "--older-than",
    "older_than",
    metavar="DURATION",
    callback=_grace,
    help="Keep data younger than this; must exceed the duration of a job (default: 7 days)",
)
@json_option
@with_settings(*STORE)
def gc(config: Config, *, older_than: float | None, as_json: bool) -> None:
    """Remove data that no commit references.

    Removes what crashed and failed jobs left behind. Commits and branches stay. Running jobs have
    written data that no commit references yet, so data younger than --older-than stays as well.

    \b
    Examples:
      worker gc
      worker gc --older-than 48h
    """
    store = open_store(config.store, config.store_options)
    found = collect_garbage(store, grace=GRACE_PERIOD if older_than is None else older_than)
    if as_json:
        terminal.print_json(attrs.asdict(found))
        return
    counts = (
        terminal.format_count(found.blobs, "blob"),
        terminal.format_count(found.trees, "tree"),
        terminal.format_count(found.leftovers, "leftover"),
    )
    terminal.print_line(f"Removed {', '.join(counts)}: {terminal.format_size(found.size)}")
