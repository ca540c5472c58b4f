"""Files of a datum: inputs are written to read-only folders, ``/pfs/out`` becomes entries."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import attrs

from worker.errors import CommandFailed, Conflict, Invalid
from worker.job.plan import ResolvedInput, Selection
from worker.model import Entry, Extent
from worker.store.backends.base import Backend
from worker.store.blobs import FOLDER, BlobReader
from worker.store.checkin import KEY_LIMIT, walk
from worker.store.checkout import NAME_ERRORS, FolderWriter, path_problem
from worker.store.ingest import Ingest, Problem
from worker.store.repository import Store

WRITERS = 8
"""Files that are written concurrently: disks and object stores are faster with several requests."""
QUEUE = 256
"""Files that may wait for a writer."""
MAX_LINKS = 40
"""Symbolic links that are followed one after the other, as in the kernel."""

Check = Callable[[], None]
"""Called repeatedly during long work; raises to stop it."""


class NotAFileName(Invalid):
    """A key of an input cannot be the name of a file."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(
            f"the key {key!r} cannot be a file: {reason}; "
            'an S3 input ("s3": true) provides every key'
        )
        self.key = key


class NotAnOutput(CommandFailed):
    """``/pfs/out`` contains something that cannot be a file of a commit."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"/pfs/out/{key}: {reason}")
        self.key = key


class SamePath(Conflict):
    """Two datums wrote the same path."""

    def __init__(self, key: str, first: str, second: str) -> None:
        super().__init__(
            f"/pfs/out/{key}: written by datum {first} and by datum {second}; "
            "each path of the output belongs to one datum"
        )
        self.key = key


def materialize(
    store: Store,
    selection: Selection,
    folder: Path,
    *,
    spool: Path,
    check: Check = lambda: None,
) -> int:
    """Write the files of *selection* to *folder*, which must not exist, and return their number.

    Files and folders are read-only. Where the store is a directory, content is copied by the kernel
    and shared by file systems that can. Raises NotAFileName.
    """
    folder.mkdir()
    count = 0
    reader = BlobReader(store.backend, spool)
    empty = selection.input.spec.empty_files
    pending: set[Future[None]] = set()
    with ThreadPoolExecutor(WRITERS) as pool, FolderWriter(folder) as writer:
        for entry in _selected(store, selection):
            check()
            descriptor = _create(writer, folder, entry)
            if descriptor is None:
                continue
            count += 1
            extents = () if empty else entry.extents
            path = os.fspath(folder / entry.key)
            pending.add(
                pool.submit(_fill, store.backend, reader, extents, descriptor, path, entry.modified)
            )
            if len(pending) >= QUEUE:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
        for each in pending:
            each.result()
    reader.close()
    for path, _, _ in os.walk(folder, topdown=False):
        os.chmod(path, 0o555)
    return count


def _selected(store: Store, selection: Selection) -> Iterator[Entry]:
    match = selection.match
    for entry in store.tree(selection.input.commit).entries(prefix=match.prefix):
        if not match.folder and entry.key != match.prefix:
            return
        yield entry


def _create(writer: FolderWriter, folder: Path, entry: Entry) -> int | None:
    """Create the file of *entry* and return its descriptor; None for a folder."""
    reason = path_problem(entry.key, folder)
    if reason is None and entry.key.endswith("/") and entry.size:
        reason = "it ends in / and is not empty"
    if reason is None:
        try:
            if not entry.key.endswith("/"):
                return writer.create(entry.key, 0o444)
            writer.make_folder(entry.key)
            return None
        except OSError as error:
            if error.errno not in NAME_ERRORS:
                error.filename = os.fspath(folder / entry.key)
                raise
            reason = "a file and a folder have this name"
    raise NotAFileName(entry.key, reason)


def _fill(
    backend: Backend,
    reader: BlobReader,
    extents: tuple[Extent, ...],
    descriptor: int,
    path: str,
    modified: int,
) -> None:
    """Write the content of a file, set its mode and time, and close it."""
    try:
        for extent in extents:
            blob = backend.path(FOLDER + extent.blob)
            copied = 0 if blob is None else _copy_range(blob, extent, descriptor)
            if copied < extent.length:
                rest = extent.slice(copied, extent.length - copied)
                for piece in reader.verified((rest,)):
                    view = memoryview(piece)
                    while view:
                        view = view[os.write(descriptor, view) :]
        # Independent of the umask.
        os.fchmod(descriptor, 0o444)
        os.utime(descriptor, ns=(modified * 1_000_000, modified * 1_000_000))
    except OSError as error:
        # An error of a descriptor does not name the file, and so not the disk.
        error.filename = error.filename or path
        raise
    finally:
        os.close(descriptor)


def _copy_range(path: Path, extent: Extent, descriptor: int) -> int:
    """Copy an extent within the kernel; return the number of bytes, fewer where that fails."""
    copied = 0
    with suppress(OSError, AttributeError), open(path, "rb") as source:
        while copied < extent.length:
            count = os.copy_file_range(
                source.fileno(),
                descriptor,
                extent.length - copied,
                offset_src=extent.offset + copied,
            )
            if not count:
                break
            copied += count
    return copied


def fingerprint(folder: Path, *, check: Check = lambda: None) -> bytes:
    """Return a digest that changes when anything in *folder* does; empty if it is no folder.

    The kernel updates the ctime of a file at each change, and no program can set it back.
    """
    if folder.is_symlink() or not folder.is_dir():
        return b""
    digest = hashlib.sha256()

    def add(name: str, found: os.stat_result) -> None:
        facts = found.st_ino, found.st_ctime_ns, found.st_mode, found.st_size
        digest.update(repr((name, *facts)).encode())

    add("", os.lstat(folder))
    todo = [str(folder)]
    while todo:
        check()
        with os.scandir(todo.pop()) as entries:
            for entry in sorted(entries, key=lambda each: each.path):
                add(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return digest.digest()


@attrs.frozen
class InputFolders:
    """The file inputs of a datum below the root, as targets of symbolic links."""

    store: Store
    root: Path
    by_name: Mapping[str, ResolvedInput]
    shown: Path | None = None
    """The root as the command sees it, if that is another path: its links contain this one."""

    def resolve(self, path: str) -> str:
        """Return the real path of a link, followed as the command would follow it."""
        for _ in range(MAX_LINKS):
            if self.shown is None or not os.path.islink(path):
                break
            folder = self.shown / os.path.relpath(os.path.dirname(path), self.root)
            path = os.path.normpath(folder / os.readlink(path))
            if Path(path).is_relative_to(self.shown):
                path = str(self.root / Path(path).relative_to(self.shown))
        return os.path.realpath(path)

    def entries(self, target: str, key: str) -> Iterator[Entry] | None:
        """Yield the entries at the path *target*, renamed to *key*; None if it is in no input.

        A folder yields all files below it. The entries share the extents of the input.
        """
        path = os.path.relpath(target, os.path.realpath(self.root))
        name, _, below = path.partition("/")
        if name not in self.by_name or not os.path.lexists(target):
            return None
        return self._entries(self.by_name[name], below, key, folder=os.path.isdir(target))

    def _entries(
        self, resolved: ResolvedInput, below: str, key: str, *, folder: bool
    ) -> Iterator[Entry]:
        tree = self.store.tree(resolved.commit)
        if not folder:
            entry = tree.entry(below)
            assert entry is not None, below
            yield attrs.evolve(entry, key=key)
            return
        # Only what the datum selected exists here, and only that may be part of its output.
        prefix = f"{below}/" if below else ""
        here = self.root / resolved.name
        for entry in tree.entries(prefix=prefix):
            if not entry.key.endswith("/") and (here / entry.key).is_file():
                yield attrs.evolve(entry, key=f"{key}/{entry.key[len(prefix) :]}")


def collect(
    out: Path, inputs: InputFolders, ingest: Ingest, *, check: Check = lambda: None
) -> Iterator[Entry]:
    """Yield an entry for each file below *out*; raises NotAnOutput.

    A symbolic link to a file or folder of an input shares the extents of the input; any other link,
    a device, a pipe or a socket is an error. Empty folders are ignored.
    """
    for found in walk(out, "", follow_links=False):
        check()
        if isinstance(found, Problem):
            raise NotAnOutput(ascii(os.path.relpath(found.path, out))[1:-1], found.reason)
        if found.key.endswith("/"):
            continue
        if len(found.key.encode()) > KEY_LIMIT:
            raise NotAnOutput(found.key, f"its path is over {KEY_LIMIT:,} bytes")
        if not stat.S_ISLNK(os.lstat(found.path).st_mode):
            entry = ingest.take(found, None)
            yield attrs.evolve(entry, modified=time.time_ns() // 1_000_000)
            continue
        target = inputs.resolve(found.path)
        entries = inputs.entries(target, found.key)
        if entries is None:
            raise NotAnOutput(
                found.key, f"it is a symbolic link to {target}; links may only lead into an input"
            )
        yield from entries
