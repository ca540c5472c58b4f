"""``verify`` and ``gc``: whether the store is whole, and what of it nobody needs."""

import attrs
import click

from worker.cli import exits
from worker.cli import terminal as output
from worker.cli.options import STORE, json_option, with_settings
from worker.cli.terminal import count_progress
from worker.config import Config, parse_seconds
from worker.model import CommitName
from worker.store.gc import GRACE
from worker.store.gc import gc as collect_garbage
from worker.store.repository import open_store
from worker.store.verify import verify as verify_store


@click.command()
@json_option
@with_settings(*STORE)
def verify(settings: Config, *, as_json: bool) -> int:
    """Read everything again and check every digest.

    Every branch, commit, tree and byte. Damage is named by commit and file, nothing is changed, and
    the exit status is 1 if there is any.

    \b
    Examples:
      worker verify
      worker verify --store s3://bucket/prefix --json
    """
    store = open_store(settings.store, settings.store_options)
    with count_progress("commits") as step:

        def progress(name: CommitName) -> None:
            step(str(name))

        found = verify_store(store, progress=progress)
    if as_json:
        output.print_json(attrs.asdict(found))
    else:
        for defect in found.defects:
            output.print_line(f"{defect.name}: {defect.found}")
        damage = output.number(len(found.defects), "defect") if found.defects else "all is well"
        output.print_line(
            f"{output.number(found.commits, 'commit')}, "
            f"{output.size(found.size)} of files read: {damage}"
        )
    return exits.DAMAGE_FOUND if found.defects else exits.OK


def _grace(_context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds: float = parse_seconds(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}, found {text!r}", param=parameter) from error
    return seconds


@click.command()
@click.option(
    "--older-than",
    "older_than",
    metavar="DURATION",
    callback=_grace,
    help="Keep what was written since; must be longer than a job runs (by default 7 days)",
)
@json_option
@with_settings(*STORE)
def gc(settings: Config, *, older_than: float | None, as_json: bool) -> None:
    """Remove what no commit reaches.

    What crashed jobs left, and what failed ones could not take back. Commits and branches stay.
    Running jobs have written bytes that no commit reaches yet, so what is younger than the time of
    --older-than stays too.

    \b
    Examples:
      worker gc
      worker gc --older-than 48h
    """
    store = open_store(settings.store, settings.store_options)
    found = collect_garbage(store, grace=GRACE if older_than is None else older_than)
    if as_json:
        output.print_json(attrs.asdict(found))
        return
    output.print_line(
        f"Removed {output.number(found.blobs, 'blob')}, {output.number(found.trees, 'tree')} and "
        f"{output.number(found.leftovers, 'leftover')}: {output.size(found.size)}"
    )
