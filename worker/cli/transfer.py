"""``put`` and ``get``: commit local files, and write the files of a commit."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from worker.cli import failures
from worker.cli import terminal as output
from worker.cli.interrupts import deferring_signals
from worker.cli.options import STORE, json_option, with_settings
from worker.cli.output_file import replaced_file, standard_output
from worker.cli.terminal import transfer_progress
from worker.config import Config
from worker.model import Commit, Ref, parse_ref
from worker.store.checkin import put_directory, put_file, put_stream
from worker.store.checkout import FolderUnavailable, get_directory
from worker.store.ingest import Compared
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.tar import write_tar
from worker.text import escape_controls, shell_word

MANY_FILES = 100_000
MANY_BYTES = 1 << 30
"""From this number or size on, ``put`` reports that it has read unchanged files to compare them."""


@click.command()
@click.argument("ref")
@click.argument("source", metavar="DIRECTORY|FILE|-")
@click.option("--keep", is_flag=True, help="Keep files of the branch that the directory lacks")
@click.option(
    "--trust-mtime",
    is_flag=True,
    help="Compare size and times of files instead of their content (see docs/store.md)",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="Message of the commit")
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
    """Commit a directory, a file or standard input to a branch.

    A directory replaces the content at the path of REF, or without a path the whole content of the
    branch. A file or standard input is added to it. The first commit creates the repo and the
    branch. Unchanged content creates no new commit. Prints the name of the commit.

    \b
    Examples:
      worker put labresults ./results
      worker put labresults@dev:2024 ./results/2024 -m "Reread the scans"
      worker put labresults:README.txt ./README.txt
      tar c . | worker put backups:today.tar -
    """
    parsed = parse_ref(ref)
    if parsed.back or parsed.is_commit:
        raise click.UsageError(f"{ref} is a commit, which cannot change; expected a branch")
    if source != "-":
        # Before the store, which is created if it does not exist.
        os.stat(source)
    store = open_store(settings.store, settings.store_options)
    before = store.head(parsed.branch)
    if before is None and (commits := store.abbreviated(parsed.repo, parsed.at)):
        raise click.UsageError(
            f"{ref} is the beginning of the id of {commits[0]}, which cannot change; expected a "
            "branch"
        )
    compared = Compared()

    def note(found: Compared) -> None:
        nonlocal compared
        compared = found

    commit = _put(
        store, parsed, source, keep=keep, message=message, trust_mtime=trust_mtime, compared=note
    )
    if compared.files >= MANY_FILES or compared.size >= MANY_BYTES:
        failures.print_error(
            f"worker: read {output.size(compared.size)} in {compared.files:,} unchanged files to "
            "compare them; --trust-mtime compares size and times instead"
        )
    unchanged = before is not None and before.commit == commit.name
    if as_json:
        output.print_json(
            {
                "commit": str(commit.name),
                "branch": commit.branch,
                "changed": not unchanged,
                "files": commit.files,
                "size": commit.size,
                "digest": commit.digest,
            }
        )
        return
    output.print_line(str(commit.name))
    if output.on_terminal():
        content = f"{output.number(commit.files, 'file')}, {output.size(commit.size)}"
        output.print_line(f"{content}{', unchanged' if unchanged else ''}")


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
                raise click.UsageError(f"standard input requires a path: {ref.repo}:PATH")
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
@click.option("--tar", metavar="FILE|-", help="Write a tar archive, which can hold every key")
@json_option
@with_settings(*STORE)
def get(
    settings: Config, *, ref: str, directory: Path | None, tar: str | None, as_json: bool
) -> int:
    """Write the files of a commit to a directory or a tar archive.

    With a path, only that file or folder is written. Existing files of the same name are replaced;
    other files in the directory stay. A key that cannot be a file on this machine (`a` beside
    `a/b`, `..`, a component over 255 bytes) is reported, all other files are written, and the exit
    status is 1. A tar archive can hold all keys.

    \b
    Examples:
      worker get s3_protocol_enabled_pipeline ./output
      worker get labresults@master^:2024/Basel ./basel
      worker get labresults --tar - | tar tv
    """
    if (directory is None) == (tar is None):
        raise click.UsageError("expected either DIRECTORY or --tar FILE")
    parsed = parse_ref(ref)
    store = open_store(settings.store, settings.store_options)
    commit = store.resolve(parsed)
    if directory is None:
        assert tar is not None
        _get_tar(store, commit, parsed, tar)
        return 0
    files, size = 0, 0
    with transfer_progress(f"get {ref}", None if parsed.path else commit.size) as show:

        def watch(key: str, written: int) -> None:
            nonlocal files, size
            files, size = files + 1, size + written
            show(key, written)

        try:
            unwritten = get_directory(store, commit, directory, path=parsed.path, progress=watch)
        except FolderUnavailable as error:
            if isinstance(error.__cause__, failures.PATH_ERRORS):
                # The fault of the path that the user has named, as it is of an archive.
                error.__cause__.filename = error.path
                raise error.__cause__ from None
            raise
    for each in unwritten:
        if as_json:
            output.print_json({"key": each.key, "reason": each.reason})
        else:
            failures.print_error(f"worker: {escape_controls(each.key, keep='')}: {each.reason}")
    unfit = sum(not each.damaged for each in unwritten)
    if unfit and not as_json:
        keys = output.number(unfit, "key")
        failures.print_error(
            f"worker: {keys} cannot be files on this machine; "
            f"`worker get {shell_word(ref)} --tar FILE` writes all keys"
        )
    if output.on_terminal() and not as_json:
        written = f"{output.number(files, 'file')}, {output.size(size)}"
        output.print_line(f"{written} of {commit.name} in {directory}")
    return failures.INCOMPLETE if unwritten else 0


def _get_tar(store: Store, commit: Commit, ref: Ref, tar: str) -> None:
    if tar == "-" and output.on_terminal():
        raise click.UsageError("standard output is a terminal; redirect it, or name a file")
    size = None if ref.path else commit.size
    file = standard_output() if tar == "-" else replaced_file(Path(tar))
    with file as opened, transfer_progress(f"get {ref}", size) as watch:
        write_tar(store, commit, opened, path=ref.path, progress=watch)
