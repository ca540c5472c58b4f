"""File inputs as files: what a datum selects of a commit is laid out below a folder, read-only."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import attrs

from worker.errors import Invalid
from worker.job.plan import Selection
from worker.model import Entry, Extent
from worker.store.backends.base import Backend
from worker.store.blobs import FOLDER, BlobReader
from worker.store.repository import Store

WRITERS = 8
"""How many files are written at a time: a disk or an object store is quicker when asked so."""
AHEAD = 256
"""How many files may wait for a writer."""
NAME_LIMIT = 255
PATH_LIMIT = 4000


class NotAFileName(Invalid):
    """A key of an input can't be the name of a file."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"the key {key!r} cannot be a file: {why}; an S3 input could show it")
        self.key = key


@attrs.frozen
class PlannedFile:
    """A file, or with no entry a folder, that is to be made."""

    path: str
    """Relative to the input's folder."""
    entry: Entry | None


def file_path(key: str) -> str:
    """Return the relative path that *key* means, or raise NotAFileName.

    A path never leads out of the folder that it is relative to.
    """
    path = key.removesuffix("/")
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise NotAFileName(key, "it has a NUL character")
    if len(raw) > PATH_LIMIT:
        raise NotAFileName(key, f"it is longer than {PATH_LIMIT:,} bytes")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise NotAFileName(key, f"it has the part {part!r}")
        if len(os.fsencode(part)) > NAME_LIMIT:
            raise NotAFileName(key, f"it has a part of more than {NAME_LIMIT} bytes")
    return path


def plan_files(store: Store, selection: Selection) -> Iterator[PlannedFile]:
    """Yield what is to be made for a selection, a folder before what is in it."""
    tree, match = store.tree(selection.input.commit), selection.match
    last = ""
    for entry in tree.entries(prefix=match.prefix):
        if not match.folder and entry.key != match.prefix:
            return
        path = file_path(entry.key)
        folder = path if entry.key.endswith("/") else os.path.dirname(path)
        if entry.key.endswith("/") and entry.size:
            raise NotAFileName(entry.key, "it ends in a slash and has content")
        if folder != last:
            yield PlannedFile(folder, None)
            last = folder
        if not entry.key.endswith("/"):
            yield PlannedFile(path, entry)


def materialize(
    store: Store,
    selection: Selection,
    root: Path,
    *,
    spool: Path,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Lay a selection out below *root*, which must not be there yet, and return how many files.

    The bytes are copied inside the kernel where the store is a folder of this machine, and shared
    by the file system where it can. An S3 input is an empty folder. *check* is called again and
    again, and may raise to stop.
    """
    root.mkdir()
    count = 0
    if not selection.input.spec.s3:
        reader = BlobReader(store.backend, spool)
        writer = _Writer(store.backend, reader, empty=selection.input.spec.empty_files)
        pending: set[Future[None]] = set()
        with ThreadPoolExecutor(WRITERS) as pool:
            for planned in plan_files(store, selection):
                check()
                target = root / planned.path
                if planned.entry is None:
                    _make_folder(target, planned.path)
                    continue
                count += 1
                pending.add(pool.submit(writer.write, planned.entry, target))
                if len(pending) >= AHEAD:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for each in done:
                        each.result()
            for each in pending:
                each.result()
        reader.close()
    for folder, _, _ in os.walk(root, topdown=False):
        os.chmod(folder, 0o555)
    return count


def fingerprint(root: Path, *, check: Callable[[], None] = lambda: None) -> bytes:
    """Return what changes when anything at or below *root* does; empty if that is no folder.

    The kernel sets the ctime of a file at each change of it, and nobody can set it back.
    """
    if root.is_symlink() or not root.is_dir():
        return b""
    digest = hashlib.sha256()

    def add(name: str, found: os.stat_result) -> None:
        facts = found.st_ino, found.st_ctime_ns, found.st_mode, found.st_size
        digest.update(repr((name, *facts)).encode())

    add("", os.lstat(root))
    todo = [str(root)]
    while todo:
        check()
        with os.scandir(todo.pop()) as entries:
            for entry in sorted(entries, key=lambda each: each.path):
                add(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return digest.digest()


def _make_folder(target: Path, key: str) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotAFileName(key, "a file and a folder have this name") from None


class _Writer:
    """Writes the content of entries to files."""

    def __init__(self, backend: Backend, reader: BlobReader, *, empty: bool) -> None:
        self._backend = backend
        self._reader = reader
        self._empty = empty

    def write(self, entry: Entry, target: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(target, flags, 0o444)
        except (FileExistsError, IsADirectoryError):
            raise NotAFileName(entry.key, "a file and a folder have this name") from None
        try:
            if not self._empty:
                for extent in entry.extents:
                    self._copy(extent, file)
            # The same for everybody, whatever the umask is.
            os.fchmod(file, 0o444)
            times = entry.modified * 1_000_000
            os.utime(file, ns=(times, times))
        except OSError as error:
            # Writes to a descriptor do not say which file, and so which disk, they failed on.
            error.filename = error.filename or str(target)
            raise
        finally:
            os.close(file)

    def _copy(self, extent: Extent, file: int) -> None:
        path = self._backend.path(FOLDER + extent.blob)
        copied = 0 if path is None else _copy_range(path, extent, file)
        if copied < extent.length:
            rest = extent.slice(copied, extent.length - copied)
            for piece in self._reader.verified((rest,)):
                view = memoryview(piece)
                while view:
                    view = view[os.write(file, view) :]


def _copy_range(path: Path, extent: Extent, file: int) -> int:
    """Copy inside the kernel, and return how many bytes; fewer where the systems do not let us."""
    copied = 0
    with suppress(OSError, AttributeError), open(path, "rb") as source:
        while copied < extent.length:
            count = os.copy_file_range(
                source.fileno(),
                file,
                extent.length - copied,
                offset_src=extent.offset + copied,
            )
            if not count:
                break
            copied += count
    return copied
