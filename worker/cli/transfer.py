"""``put`` and ``get``: files of this machine into a commit, and out of one."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from worker.cli import exits
from worker.cli import terminal as output
from worker.cli.options import STORE, json_option, with_settings
from worker.cli.stopping import deferring_signals
from worker.cli.terminal import transfer_progress
from worker.config import Config
from worker.model import Commit
from worker.store.checkin import put_directory, put_file, put_stream
from worker.store.checkout import get_directory
from worker.store.ingest import Compared
from worker.store.refs import Ref, parse_ref
from worker.store.repository import Store, open_store
from worker.store.tar import write_tar
from worker.text import escape_controls

MANY_FILES = 100_000
MANY_BYTES = 1 << 30
"""From here on ``put`` says that it read unchanged files to compare them."""


@click.command()
@click.argument("ref")
@click.argument("source", metavar="DIRECTORY|FILE|-")
@click.option("--keep", is_flag=True, help="Keep files that the folder does not have")
@click.option(
    "--trust-mtime",
    is_flag=True,
    help="Do not read files of the same size that are older than the commit's (see docs/store.md)",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="Why, for the log")
@json_option
@with_settings(*STORE)
def put(
    settings: Config,
    *,
    ref: str,
    source: str,
    keep: bool,
    trust_mtime: bool,
    message: str,
    as_json: bool,
) -> None:
    """Commit a folder, a file or standard input to a branch.

    What lies at the path of REF becomes exactly the folder; without a path, the whole commit does.
    A file or a stream goes beside what is there. Repos and branches are made by the first commit,
    and content that is there already makes no new one. The commit's name is printed.

    \b
    Examples:
      worker put labresults ./results
      worker put labresults@dev:2024 ./results/2024 -m "Reread the scans"
      worker put labresults:README.txt ./README.txt
      tar c . | worker put backups:today.tar -
    """
    wanted = parse_ref(ref)
    if wanted.back or wanted.is_commit:
        raise click.UsageError(f"{ref} is a commit, which never changes; name a branch")
    store = open_store(settings.store, settings.store_options)
    before = store.head(wanted.branch)
    compared = Compared()

    def note(found: Compared) -> None:
        nonlocal compared
        compared = found

    commit = _put(
        store, wanted, source, keep=keep, message=message, trust_mtime=trust_mtime, compared=note
    )
    if compared.files >= MANY_FILES or compared.size >= MANY_BYTES:
        exits.say(
            f"worker: read {output.size(compared.size)} in {compared.files:,} files that had not "
            "changed; --trust-mtime compares their size and times instead"
        )
    same = before is not None and before.commit == commit.name
    if as_json:
        output.print_json(
            {
                "commit": str(commit.name),
                "branch": commit.branch,
                "changed": not same,
                "files": commit.files,
                "size": commit.size,
                "digest": commit.digest,
            }
        )
        return
    output.print_line(str(commit.name))
    if output.on_terminal():
        content = f"{output.number(commit.files, 'file')}, {output.size(commit.size)}"
        output.print_line(f"{content}{', as before' if same else ''}")


def _put(
    store: Store,
    ref: Ref,
    source: str,
    *,
    keep: bool,
    message: str,
    trust_mtime: bool,
    compared: Callable[[Compared], None],
) -> Commit:
    with transfer_progress(f"put {ref}") as watch:
        if source == "-":
            if not ref.path:
                raise click.UsageError(f"standard input needs a name: {ref.repo}:PATH")
            return put_stream(
                store,
                ref.branch,
                sys.stdin.buffer,
                at=ref.path,
                message=message,
                progress=watch,
                publishing=deferring_signals,
            )
        path = Path(source)
        if path.is_dir():
            return put_directory(
                store,
                ref.branch,
                path,
                at=ref.path,
                keep=keep,
                message=message,
                trust_mtime=trust_mtime,
                compared=compared,
                progress=watch,
                publishing=deferring_signals,
            )
        return put_file(
            store,
            ref.branch,
            path,
            at=ref.path,
            message=message,
            progress=watch,
            publishing=deferring_signals,
        )


@click.command()
@click.argument("ref")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--tar", metavar="FILE|-", help="Write a tar instead, which takes every key")
@json_option
@with_settings(*STORE)
def get(
    settings: Config, *, ref: str, directory: Path | None, tar: str | None, as_json: bool
) -> int:
    """Write the files of a commit to a folder or a tar.

    With a path, only that file, or what is below it. Files of the same name are replaced, others
    in the folder stay. A key that can't be a file on this machine (`a` beside `a/b`, `..`, a part
    over 255 bytes) is named, everything else is written, and the exit status is 1; a tar takes
    them all.

    \b
    Examples:
      worker get s3_protocol_enabled_pipeline ./output
      worker get labresults@master^:2024/Basel ./basel
      worker get labresults --tar - | tar tv
    """
    if (directory is None) == (tar is None):
        raise click.UsageError("say where to: DIRECTORY, or --tar FILE")
    wanted = parse_ref(ref)
    store = open_store(settings.store, settings.store_options)
    commit = store.resolve(wanted)
    if directory is None:
        assert tar is not None
        _get_tar(store, commit, wanted, tar)
        return exits.OK
    with transfer_progress(f"get {ref}", None if wanted.path else commit.size) as watch:
        unwritten = get_directory(store, commit, directory, path=wanted.path, progress=watch)
    for each in unwritten:
        if as_json:
            output.print_json({"key": each.key, "reason": each.reason})
        else:
            exits.say(f"worker: {escape_controls(each.key, keep='')}: {each.reason}")
    unfit = sum(not each.damaged for each in unwritten)
    if unfit and not as_json:
        keys = output.number(unfit, "key")
        exits.say(f"worker: {keys} can't be files here; `worker get {ref} --tar FILE` takes all")
    return exits.DAMAGE_FOUND if unwritten else exits.OK


def _get_tar(store: Store, commit: Commit, ref: Ref, tar: str) -> None:
    with transfer_progress(f"get {ref}", None if ref.path else commit.size) as watch:
        if tar == "-":
            write_tar(store, commit, sys.stdout.buffer, path=ref.path, progress=watch)
            return
        with Path(tar).open("wb") as file:
            write_tar(store, commit, file, path=ref.path, progress=watch)
