"""Checkout: files of a commit are written to a folder or a tar."""

import contextlib
import errno
import os
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import attrs

from worker.errors import NotFound, Unavailable
from worker.model import Commit, CommitName, Entry
from worker.store.backends.base import Damaged
from worker.store.backends.local import write_fully
from worker.store.blobs import BlobReader
from worker.store.repository import Store
from worker.store.trees import Tree

PART_LIMIT = 255
"""Bytes of a name in a folder, on all common file systems."""
PATH_LIMIT = 4096
"""Bytes of a path, with the NUL that ends it."""
TEMPORARY = ".worker-"
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Errors that concern one name or what exists under it. Any other, such as a full disk, would be the
# same for the next file, and ends the checkout.
NAME_ERRORS = {
    errno.ENOTDIR: "a file or a link is in the way",
    errno.ELOOP: "a link is in the way",
    errno.EEXIST: "a file or a link is in the way",
    errno.EISDIR: "a folder is in the way",
    errno.ENOTEMPTY: "a folder is in the way",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EINVAL: "this file system does not accept the name",
    errno.EILSEQ: "this file system does not accept the name",
}

Progress = Callable[[str, int], None]
"""Called with the key and the size in bytes of each file that was written."""


class PathMissing(NotFound):
    """The commit has no such file, and none below the path."""

    def __init__(self, commit: CommitName, path: str) -> None:
        super().__init__(f"{commit}:{path}: no such file or folder")
        self.path = path


class FolderUnavailable(Unavailable):
    """The folder cannot be written to."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"writing {path}: {error.strerror or error}")
        self.path = path
        self.errno = error.errno


@attrs.frozen
class Unwritten:
    """A key that was not written, and the reason."""

    key: str
    reason: str
    damaged: bool = False
    """Whether its stored data is damaged; otherwise it cannot be a file here."""


def path_problem(name: str, directory: Path) -> str | None:
    """Return why *name* cannot be the path of a file below *directory*; None if it can.

    The file system is not consulted. A trailing slash is allowed. A name without a problem never
    leads out of *directory*.
    """
    if name.startswith("/"):
        return "it begins with /"
    if "\0" in name:
        return "it holds a NUL"
    for part in name.removesuffix("/").split("/"):
        if not part:
            return "a part between two slashes is empty"
        if part in (".", ".."):
            return f"a part is {part}, which is not a file name"
        if len(os.fsencode(part)) > PART_LIMIT:
            return f"a part is over {PART_LIMIT} bytes"
    if len(os.fsencode(directory.absolute())) + len(os.fsencode(name)) >= PATH_LIMIT:
        return f"its path would be over {PATH_LIMIT:,} bytes"
    return None


class FolderWriter:
    """Writes files below *directory*, which is created. A context manager: it keeps folders open.

    Each folder is opened relative to its parent and never through a symbolic link, so that a name
    without a `path_problem` is a file below *directory* whatever exists there.
    """

    def __init__(self, directory: Path) -> None:
        """Write to *directory*, which may itself be a symbolic link."""
        self._directory = directory
        self._open: list[tuple[str, int]] = []

    def __enter__(self) -> "FolderWriter":
        """Create and open the directory; raises FolderUnavailable."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise FolderUnavailable(os.fspath(self._directory), error) from error
        self._open = [("", descriptor)]
        return self

    def __exit__(self, *_: object) -> None:
        """Close the folders."""
        self._close_below(0)

    def make_folder(self, name: str) -> None:
        """Create the folder *name*, if it does not exist; raises OSError."""
        self._enter(name.rstrip("/").split("/"))

    def create(self, name: str, mode: int) -> int:
        """Create the file *name*, which must not exist; return its descriptor. Raises OSError."""
        *folders, last = name.split("/")
        return os.open(last, CREATE, mode, dir_fd=self._enter(folders))

    def replace(self, name: str, pieces: Iterable[bytes], *, modified: int) -> None:
        """Write the file *name*, with *modified* (ns) as its time, atomically; raises OSError.

        An existing file is replaced, and so is a symbolic link, whose target is not touched.
        """
        *folders, last = name.split("/")
        folder = self._enter(folders)
        temporary = TEMPORARY + secrets.token_hex(8)
        descriptor = os.open(temporary, CREATE, 0o666, dir_fd=folder)
        try:
            try:
                position = 0
                for piece in pieces:
                    write_fully(descriptor, piece, position)
                    position += len(piece)
                os.utime(descriptor, ns=(modified, modified))
            finally:
                os.close(descriptor)
            os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise

    def explain(self, name: str, error: OSError) -> str:
        """Return why *name* could not be written; raise FolderUnavailable if all files would fail.

        *error* is what one of the methods above raised.
        """
        if error.errno not in NAME_ERRORS:
            raise FolderUnavailable(f"{self._directory}/{name}", error) from error
        return NAME_ERRORS[error.errno]

    def _enter(self, parts: list[str]) -> int:
        """Return the descriptor of a folder; those in common with the last one are still open."""
        common = 0
        for (name, _), part in zip(self._open[1:], parts, strict=False):
            if name != part:
                break
            common += 1
        self._close_below(common + 1)
        for part in parts[common:]:
            parent = self._open[-1][1]
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=parent)
            self._open.append((part, os.open(part, OPEN_FOLDER, dir_fd=parent)))
        return self._open[-1][1]

    def _close_below(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])


def get_directory(
    store: Store,
    commit: Commit,
    directory: Path,
    *,
    path: str = "",
    progress: Progress | None = None,
) -> tuple[Unwritten, ...]:
    """Write the files of *commit* to *directory* and return the keys that were not written.

    With *path*, only the file of that key is written, under its last part, and the files below it,
    under the rest of their keys. An empty object whose key ends in ``/`` becomes a folder. Of ``a``
    and ``a/b`` only the latter can be a file. Each file is written atomically and verified; nothing
    is written outside of *directory*, even if it contains symbolic links.
    """
    tree = store.tree(commit)
    reader = BlobReader(store.backend)
    unwritten = []
    with FolderWriter(directory) as folder:
        for name, entry in _select(tree, commit.name, path):
            reason = path_problem(name, directory) or _shadow_problem(tree, entry)
            if reason is None and name.endswith("/") and entry.size:
                reason = "it ends in / and is not empty"
            if reason is None:
                try:
                    if name.endswith("/"):
                        folder.make_folder(name)
                    else:
                        modified = entry.modified * 1_000_000
                        folder.replace(name, reader.verified(entry.extents), modified=modified)
                except Damaged as error:
                    unwritten.append(Unwritten(entry.key, str(error), damaged=True))
                    continue
                except OSError as error:
                    reason = folder.explain(name, error)
            if reason is not None:
                unwritten.append(Unwritten(entry.key, reason))
            elif progress is not None:
                progress(entry.key, entry.size)
    reader.close()
    return tuple(unwritten)


def write_tar(
    store: Store,
    commit: Commit,
    file: BinaryIO,
    *,
    path: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the files of *commit* to *file* as a tar (PAX), every key as it is.

    *path* selects and names files as in `get_directory`. Only ``file.write`` is called, so *file*
    may be a pipe. Keys may be absolute or contain ``..``; unpacking them is the reader's risk.
    """
    reader = BlobReader(store.backend)
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, entry in _select(store.tree(commit), commit.name, path):
            member = tarfile.TarInfo(name)
            member.size = entry.size
            member.mtime = entry.modified // 1000
            if "\0" in name:
                # In the fixed header, a NUL would end the name.
                member.pax_headers = {"path": name}
            if name.endswith("/") and entry.size == 0:
                member.type = tarfile.DIRTYPE
                member.mode = 0o755
            tar.addfile(member, _PieceReader(reader.verified(entry.extents)))
            if progress is not None:
                progress(entry.key, entry.size)
    reader.close()


def _shadow_problem(tree: Tree, entry: Entry) -> str | None:
    if entry.key.endswith("/") or next(tree.entries(prefix=entry.key + "/"), None) is None:
        return None
    return f"there are files below {entry.key}/, so this is a folder"


def _select(tree: Tree, commit: CommitName, path: str) -> Iterator[tuple[str, Entry]]:
    """Yield the entries that *path* selects, each with the name to write it under."""
    prefix = f"{path.rstrip('/')}/" if path else ""
    empty = bool(path)
    file = tree.entry(path) if path and not path.endswith("/") else None
    if file is not None:
        empty = False
        yield path.rpartition("/")[2], file
    for entry in tree.entries(prefix=prefix):
        empty = False
        if entry.key != prefix:  # the marker object of the selected folder itself
            yield entry.key[len(prefix) :], entry
    if empty:
        raise PathMissing(commit, path)


class _PieceReader:
    """A file object over an iterator of bytes: each read is filled as long as there is data."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = 1 << 20, /) -> bytes:
        taken = []
        while size:
            if not self._rest:
                self._rest = memoryview(next(self._pieces, b""))
                if not self._rest:
                    break
            taken.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(taken[-1])
        return b"".join(taken)
