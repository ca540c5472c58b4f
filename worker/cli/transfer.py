"""``put`` and ``get``: files of this machine into a commit, and back."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from worker.cli import failures, terminal
from worker.cli.options import STORE, json_option, with_settings
from worker.cli.progress import transfer_progress
from worker.cli.signals import deferring_signals
from worker.config import Config
from worker.model import Commit
from worker.store.checkin import put_directory, put_file, put_stream
from worker.store.checkout import get_directory, write_tar
from worker.store.ingest import Compared
from worker.store.opening import open_store
from worker.store.refs import Ref, parse_ref
from worker.store.repository import Store
from worker.text import escape_control

MANY_FILES = 100_000
MANY_BYTES = 1 << 30
"""Unchanged files and bytes read from which ``put`` mentions ``--trust-mtime``."""


@click.command()
@click.argument("ref")
@click.argument("source", metavar="DIRECTORY|FILE|-")
@click.option(
    "--keep", is_flag=True, help="Keep files of the commit that the folder does not contain"
)
@click.option(
    "--trust-mtime",
    is_flag=True,
    help="Do not read files of the same size that are older than the commit's (see docs/store.md)",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="Message of the commit")
@json_option
@with_settings(*STORE)
def put(
    config: Config,
    *,
    ref: str,
    source: str,
    keep: bool,
    trust_mtime: bool,
    message: str,
    as_json: bool,
) -> None:
    """Commit a folder, a file or standard input to a branch.

    The folder replaces everything below the path of REF; without a path, the whole commit. A file
    or a stream is added. Repos and branches are created by their first commit, and unchanged
    content makes no new commit. The name of the commit is printed.

    \b
    Examples:
      worker put labresults ./results
      worker put labresults@dev:2024 ./results/2024 -m "Reread the scans"
      worker put labresults:README.txt ./README.txt
      tar c . | worker put backups:today.tar -
    """
    wanted = parse_ref(ref)
    if wanted.back or wanted.is_commit:
        raise click.UsageError(f"{ref} is a commit, which cannot be changed; expected a branch")
    store = open_store(config.store, config.store_options)
    before = store.head(wanted.branch)
    compared = Compared()

    def note(found: Compared) -> None:
        nonlocal compared
        compared = found

    commit = _put(
        store, wanted, source, keep=keep, message=message, trust_mtime=trust_mtime, compared=note
    )
    if compared.files >= MANY_FILES or compared.size >= MANY_BYTES:
        failures.say(
            f"worker: read {terminal.format_size(compared.size)} of unchanged files; "
            "--trust-mtime compares their size and times instead"
        )
    same = before is not None and before.commit == commit.name
    if as_json:
        terminal.print_json(
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
    terminal.print_line(str(commit.name))
    if terminal.is_terminal():
        content = (
            f"{terminal.format_count(commit.files, 'file')}, {terminal.format_size(commit.size)}"
        )
        terminal.print_line(f"{content}{', as before' if same else ''}")


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
@click.option("--tar", metavar="FILE|-", help="Write a tar instead, which accepts every key")
@json_option
@with_settings(*STORE)
def get(config: Config, *, ref: str, directory: Path | None, tar: str | None, as_json: bool) -> int:
    """Write the files of a commit to a folder or a tar.

    With a path, only that file or the files below it. Files of the same name are replaced, others
    in the folder stay. A key that cannot be a file name on this machine (`a` beside `a/b`, `..`, a
    part over 255 bytes) is reported, all other files are written, and the exit status is 1; a tar
    accepts every key.

    \b
    Examples:
      worker get s3_protocol_enabled_pipeline ./output
      worker get labresults@master^:2024/Basel ./basel
      worker get labresults --tar - | tar tv
    """
    if (directory is None) == (tar is None):
        raise click.UsageError("expected either DIRECTORY or --tar FILE")
    wanted = parse_ref(ref)
    store = open_store(config.store, config.store_options)
    commit = store.resolve(wanted)
    if directory is None:
        assert tar is not None
        _get_tar(store, commit, wanted, tar)
        return failures.OK
    with transfer_progress(f"get {ref}", None if wanted.path else commit.size) as watch:
        unwritten = get_directory(store, commit, directory, path=wanted.path, progress=watch)
    for each in unwritten:
        if as_json:
            terminal.print_json({"key": each.key, "reason": each.reason})
        else:
            failures.say(f"worker: {escape_control(each.key)}: {each.reason}")
    unfit = sum(not each.damaged for each in unwritten)
    if unfit and not as_json:
        keys = terminal.format_count(unfit, "key")
        failures.say(
            f"worker: {keys} cannot be files here; `worker get {ref} --tar FILE` writes all"
        )
    return failures.INCOMPLETE if unwritten else failures.OK


def _get_tar(store: Store, commit: Commit, ref: Ref, tar: str) -> None:
    with transfer_progress(f"get {ref}", None if ref.path else commit.size) as watch:
        if tar == "-":
            write_tar(store, commit, sys.stdout.buffer, path=ref.path, progress=watch)
            return
        with Path(tar).open("wb") as file:
            write_tar(store, commit, file, path=ref.path, progress=watch)
