"""``verify`` and ``gc``: integrity of the store, and removal of unreachable objects."""

import attrs
import click

from worker.cli import failures
from worker.cli import terminal as output
from worker.cli.options import STORE, json_option, with_settings
from worker.config import Config
from worker.config_sources import parse_seconds
from worker.store import gc as garbage
from worker.store import verify as verification
from worker.store.journal import RESUME_LIMIT
from worker.store.missing import StoreMissing
from worker.store.opening import open_store
from worker.store.repository import Store


@click.command()
@json_option
@with_settings(*STORE)
def verify(settings: Config, *, as_json: bool) -> int:
    """Read the whole store and check every digest.

    Every branch, commit, tree and byte is read. Each defect is reported with all commits and files
    that it affects. Nothing is changed. The exit status is 1 if there is a defect.

    \b
    Examples:
      worker verify
      worker verify --store s3://bucket/prefix --json
    """
    store = _open_existing_store(settings)
    with output.count_progress("commits") as step:
        found = verification.verify(store, progress=lambda name: step(str(name)))
    if as_json:
        output.print_json(attrs.asdict(found))
    else:
        for defect in found.defects:
            _print_defect(defect)
        output.print_line(
            f"{output.number(found.commits, 'commit')}, {output.size(found.size)} of files read: "
            + (output.number(len(found.defects), "defect") if found.defects else "no defects")
        )
    return failures.INCOMPLETE if found.defects else 0


def _print_defect(defect: verification.Defect) -> None:
    """Print a defect, and a line for each file that it affects."""
    described = defect.found.removeprefix(f"{defect.name}: ")
    output.print_line(f"{defect.name}: {described}")
    for affected in defect.affected:
        for path in affected.paths:
            output.print_line(f"  affects {affected.commit}:{path}")
        if affected.last is not None:
            files = output.number(affected.count, "file")
            after = "" if affected.after is None else f"after {affected.after!r} "
            output.print_line(f"  affects {affected.commit}: {files} {after}to {affected.last!r}")


def _open_existing_store(settings: Config) -> Store:
    """Open the store; raise StoreMissing for a directory that does not exist."""
    store = open_store(settings.store, settings.store_options)
    if store.is_missing():
        raise StoreMissing(store.url)
    return store


def _seconds(_context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(parse_seconds(text))
    except ValueError as error:
        raise click.BadParameter(f"{error}, found {text!r}", param=parameter) from error


@click.command()
@click.option(
    "--older-than",
    "older_than",
    metavar="DURATION",
    callback=_seconds,
    help="Keep objects written since; must be longer than any job runs (by default 7 days)",
)
@json_option
@with_settings(*STORE)
def gc(settings: Config, *, older_than: float | None, as_json: bool) -> None:
    """Remove objects that no commit reaches.

    Crashed and failed jobs can leave such objects. Commits and branches stay. A running job has
    written objects that no commit reaches yet, so objects younger than --older-than stay as well.

    \b
    Examples:
      worker gc
      worker gc --older-than 48h
    """
    store = _open_existing_store(settings)
    if older_than is not None and older_than < RESUME_LIMIT:
        failures.print_error(
            f"worker: --older-than {older_than:g}s also removes what jobs and check-ins have "
            "written that are still running: make sure that there are none"
        )
    found = garbage.gc(store, grace=garbage.GRACE if older_than is None else older_than)
    if as_json:
        output.print_json(attrs.asdict(found))
        return
    output.print_line(
        f"Removed {output.number(found.blobs, 'blob')}, {output.number(found.trees, 'tree')} and "
        f"{output.number(found.leftovers, 'leftover')}: {output.size(found.size)}"
    )
