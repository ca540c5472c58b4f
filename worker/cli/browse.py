"""``ls`` and ``cat``: the files of a commit."""

from collections.abc import Iterator

import attrs
import click

from worker.cli import terminal as output
from worker.cli.options import STORE, json_option, with_settings
from worker.cli.output_file import standard_output
from worker.config import Config
from worker.errors import NotFound
from worker.model import Entry, Ref, parse_ref
from worker.store.blobs import BlobReader
from worker.store.opening import open_store
from worker.store.trees import Tree
from worker.text import shell_word


class FileMissing(NotFound):
    """The commit has no file or folder at the path of a ref."""

    def __init__(self, ref: Ref) -> None:
        super().__init__(f"{ref}: the commit has no such file or folder")
        self.ref = ref


def file_of(tree: Tree, ref: Ref) -> Entry:
    """Return the file at the path of *ref*; raises UsageError for a folder, and FileMissing."""
    entry = tree.entry(ref.path)
    if entry is None:
        folder = f"{ref.path.rstrip('/')}/"
        if next(tree.entries(prefix=folder), None) is not None:
            raise click.UsageError(
                f"{ref} is a folder; `worker ls {shell_word(str(ref))}` lists its files"
            )
        raise FileMissing(ref)
    return entry


@attrs.frozen
class Folder:
    """All keys with the prefix *key*, which ends in a slash."""

    key: str


def children(tree: Tree, prefix: str) -> Iterator[Entry | Folder]:
    """Yield the files and folders directly below *prefix*, without reading the folders' files."""
    after = ""
    while True:
        for entry in tree.entries(after=after, prefix=prefix):
            name, slash, _ = entry.key[len(prefix) :].partition("/")
            if not slash:
                yield entry
                continue
            folder = f"{prefix}{name}/"
            yield Folder(folder)
            # Continue after the folder: this text of the highest code point is longer than any key
            # and sorts after all keys of the folder.
            after = folder + "\U0010ffff" * 260
            break
        else:
            return


def listed(tree: Tree, ref: Ref, *, recursive: bool) -> Iterator[Entry | Folder]:
    """Yield the file at the path of *ref*, and the content of the folder at that path.

    Raises FileMissing if there is neither.
    """
    found = False
    folder = ref.path if not ref.path or ref.path.endswith("/") else ref.path + "/"
    if ref.path and folder != ref.path and (entry := tree.entry(ref.path)) is not None:
        found = True
        yield entry
    for each in tree.entries(prefix=folder) if recursive else children(tree, folder):
        found = True
        yield each
    if ref.path and not found:
        raise FileMissing(ref)


def entry_json(entry: Entry | Folder) -> dict[str, object]:
    """Return a file or folder as JSON values."""
    if isinstance(entry, Folder):
        return {"type": "folder", "key": entry.key}
    return {
        "type": "file",
        "key": entry.key,
        "size": entry.size,
        "etag": entry.etag,
        "modified": entry.modified / 1000,
    }


def _row(entry: Entry | Folder) -> tuple[str, str, str]:
    if isinstance(entry, Folder):
        return ("", "", entry.key)
    return (output.timestamp(entry.modified / 1000), str(entry.size), entry.key)


@click.command()
@click.argument("ref")
@click.option("-r", "--recursive", is_flag=True, help="List all files below, not one level only")
@json_option
@with_settings(*STORE)
def ls(settings: Config, *, ref: str, recursive: bool, as_json: bool) -> None:
    """List the files of a commit with time and size.

    REF is [project/]repo[@branch-or-commit][^ or ~N][:path]. A branch stands for its head; the
    default branch is master. With a path, the folder at that path is listed.

    \b
    Examples:
      worker ls labresults
      worker ls labresults:2024/Basel
      worker ls -r labresults@master^
      worker ls --json lab/results@dev | jq .size
    """
    parsed = parse_ref(ref)
    store = open_store(settings.store, settings.store_options)
    tree = store.tree(store.resolve(parsed))
    entries = listed(tree, parsed, recursive=recursive)
    if as_json:
        for entry in entries:
            output.print_json(entry_json(entry))
        return
    output.print_table(("modified", "size", "key"), map(_row, entries), right=("size",))


@click.command()
@click.argument("ref")
@with_settings(*STORE)
def cat(settings: Config, *, ref: str) -> None:
    """Write one file of a commit to standard output.

    \b
    Examples:
      worker cat labresults:README.txt
      worker cat s3_protocol_enabled_pipeline@master~2:plates/1.csv | head
    """
    parsed = parse_ref(ref)
    if not parsed.path:
        raise click.UsageError(
            f"{ref} has no path; expected REF:PATH, such as {parsed.repo}:README"
        )
    store = open_store(settings.store, settings.store_options)
    tree = store.tree(store.resolve(parsed))
    entry = file_of(tree, parsed)
    with standard_output() as file:
        for piece in BlobReader(store.backend).verified(entry.extents):
            file.write(piece)
