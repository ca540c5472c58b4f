"""Checkout: write the files of a commit below a folder of this machine."""

import contextlib
import errno
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import attrs

from worker.directories import Directory, open_directory
from worker.errors import Invalid, NotFound, Unavailable
from worker.model import Commit, CommitName, Entry, Extent
from worker.store.backends.base import Damaged
from worker.store.backends.local import write_fully
from worker.store.blobs import BlobReader
from worker.store.repository import Store
from worker.store.trees import Tree

Copy = Callable[[Entry, int], None]
"""Writes the content of an entry to an empty file, which is given as a file descriptor."""
Progress = Callable[[str, int], None]
"""Called with the key and the size of each file."""

NAME_LIMIT = 255
PATH_LIMIT = 4095
"""The longest name and path in bytes, as in Linux."""
WRITERS = 8
"""Files that are written at a time; disks and object stores are faster with several requests."""
AHEAD = 64
"""Files that are written or wait for it."""
TEMPORARY = ".worker-"
# Errors of one name or of what exists under it. Any other error (a full disk, no permission) would
# be the same for the next file, and ends the checkout.
IN_THE_WAY = {
    errno.ENOTDIR: "a file or a link is in the way",
    errno.ELOOP: "a link is in the way",
    errno.EEXIST: "a file or a link is in the way",
    errno.EISDIR: "a folder is in the way",
    errno.ENOTEMPTY: "a folder is in the way",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EINVAL: "this file system does not allow the name",
    errno.EILSEQ: "this file system does not allow the name",
}


class PathMissing(NotFound):
    """The commit has no file at this path, and none below it."""

    def __init__(self, name: CommitName, path: str) -> None:
        super().__init__(f"{name}:{path}: the commit has no file of this name, nor any below it")
        self.name = name
        self.path = path


class KeyNotAFile(Invalid):
    """A key of a commit cannot be a file in this folder."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(
            f"the key {key!r} cannot be a file: {reason}; an S3 input and a tar allow every key"
        )
        self.key = key
        self.reason = reason


class FolderUnavailable(Unavailable):
    """A file or folder cannot be written, for a reason other than its name."""

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
    """Whether the content is damaged in the store; otherwise the key cannot be a file here."""


def get_directory(
    store: Store,
    commit: Commit,
    directory: Path,
    *,
    path: str = "",
    progress: Progress | None = None,
) -> tuple[Unwritten, ...]:
    """Write the files of *commit* below *directory* and return the keys that were not written.

    With *path*, only the file of that key, under its last part, and those below it, under the rest
    of their keys. An empty key that ends in ``/`` is a folder. Of ``a`` and ``a/b`` only the latter
    can be a file. Each file appears atomically and with verified content, and replaces an existing
    one. Nothing is written outside *directory*, and no link in it is followed. Raises PathMissing
    and FolderUnavailable.
    """
    tree, reader = store.tree(commit), BlobReader(store.backend)
    files = select(tree, commit.name, path)
    # The directory is not created for a path that the commit lacks.
    first = list(islice(files, 1))
    unwritten = []
    with FolderWriter(
        _create(directory), lambda entry, fd: copy_verified(reader, entry.extents, fd), tree=tree
    ) as writer:
        for entry, error in writer.write(chain(first, files)):
            if isinstance(error, KeyNotAFile):
                unwritten.append(Unwritten(entry.key, error.reason))
            elif error is not None:
                unwritten.append(Unwritten(entry.key, str(error), damaged=True))
            elif progress is not None:
                progress(entry.key, entry.size)
    reader.close()
    return tuple(unwritten)


def _create(directory: Path) -> Directory:
    """Create *directory*, which is allowed to be a link to a folder, unless it exists; open it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return open_directory(directory)
    except OSError as error:
        raise FolderUnavailable(os.fspath(directory), error) from error


class FolderWriter:
    """Writes entries below *directory*, several at a time. A context manager, as it owns threads.

    Each folder is opened relative to its parent and never through a link. So nothing is written
    outside *directory*, even if another process replaces folders meanwhile.
    """

    def __init__(
        self,
        directory: Directory,
        copy: Copy,
        *,
        tree: Tree | None = None,
        new: bool = False,
        mode: int | None = None,
    ) -> None:
        """Prepare to write below *directory*.

        *tree* is where a file and a folder of one name are looked for. In a *new* directory a file
        is created under its own name, else it replaces an existing one atomically. *mode* is the
        mode of files; if None, the umask decides.
        """
        self._directory = directory
        self._copy = copy
        self._tree = tree
        self._new = new
        self._mode = mode
        self._longest = PATH_LIMIT - 1 - len(os.fsencode(os.path.abspath(directory.path)))
        self._open = [("", directory)]
        """The names of the folders down to the current one. Pending files keep others open."""
        self._pool = ThreadPoolExecutor(WRITERS)

    def __enter__(self) -> "FolderWriter":
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the files that are being written, and close all folders."""
        self._pool.shutdown()
        self._open.clear()

    def write(
        self, files: Iterable[tuple[str, Entry]]
    ) -> Iterator[tuple[Entry, KeyNotAFile | Damaged | None]]:
        """Write each entry under its path; yield it, in order, with the error if it has one."""
        pending: deque[tuple[Entry, _Outcome]] = deque()
        for path, entry in files:
            pending.append((entry, self._start(path, entry)))
            if len(pending) == AHEAD:
                # Half of them in turn, as to wait for each file would cost a switch of threads.
                for _ in range(AHEAD // 2):
                    yield _result(*pending.popleft())
        while pending:
            yield _result(*pending.popleft())

    def _start(self, path: str, entry: Entry) -> "_Outcome":
        reason = path_fault(path, self._longest)
        if reason is None and path.endswith("/") and entry.size:
            reason = "it ends in / and is not empty"
        if reason is None and self._tree is not None and not entry.key.endswith("/"):
            below = entry.key + "/"
            if next(self._tree.entries(prefix=below), None) is not None:
                reason = f"there are files below {below}, so this is a folder"
        if reason is not None:
            return KeyNotAFile(entry.key, reason)
        *folders, name = path.split("/")
        try:
            folder = self._folder(folders)
            if not name:
                return None
            return self._pool.submit(self._write_file, folder, name, path, entry)
        except OSError as error:
            return self._not_a_file(path, entry, error)

    def _write_file(
        self, folder: Directory, name: str, path: str, entry: Entry
    ) -> KeyNotAFile | Damaged | None:
        temporary = name if self._new else TEMPORARY + secrets.token_hex(8)
        try:
            fd = folder.create(temporary, 0o666)
            try:
                try:
                    self._copy(entry, fd)
                    if self._mode is not None:
                        os.fchmod(fd, self._mode)
                    modified = entry.modified * 1_000_000
                    os.utime(fd, ns=(modified, modified))
                finally:
                    os.close(fd)
                if not self._new:
                    # This replaces a link of this name, and does not touch its target.
                    os.replace(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder.fd)
                raise
        except Damaged as error:
            return error
        except OSError as error:
            return self._not_a_file(path, entry, error)
        return None

    def _folder(self, parts: list[str]) -> Directory:
        """Open the folder, creating missing ones. Folders shared with the last path stay open."""
        shared = 0
        for (name, _), part in zip(self._open[1:], parts, strict=False):
            if name != part:
                break
            shared += 1
        del self._open[shared + 1 :]
        for part in parts[shared:]:
            parent = self._open[-1][1]
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=parent.fd)
            self._open.append((part, parent.directory(part)))
        return self._open[-1][1]

    def _not_a_file(self, path: str, entry: Entry, error: OSError) -> KeyNotAFile:
        if error.errno not in IN_THE_WAY:
            raise FolderUnavailable(f"{self._directory.path}/{path}", error) from error
        return KeyNotAFile(entry.key, IN_THE_WAY[error.errno])


_Outcome = Future[KeyNotAFile | Damaged | None] | KeyNotAFile | Damaged | None


def _result(entry: Entry, outcome: _Outcome) -> tuple[Entry, KeyNotAFile | Damaged | None]:
    return entry, outcome.result() if isinstance(outcome, Future) else outcome


def copy_verified(
    reader: BlobReader, extents: Iterable[Extent], fd: int, position: int = 0
) -> None:
    """Write the content of *extents* to *fd* from *position* on; raise Damaged."""
    for piece in reader.verified(extents):
        write_fully(fd, piece, position)
        position += len(piece)


def path_fault(path: str, longest: int = PATH_LIMIT) -> str | None:
    """Return why *path* cannot be a relative path of at most *longest* bytes, or None.

    A path without fault leads to a file or folder below the folder that it is relative to.
    """
    if path.startswith("/"):
        return "it starts with /"
    if "\0" in path:
        return "it contains a NUL character"
    parts = path.removesuffix("/").split("/")
    if "" in parts:
        return "a part between two slashes is empty"
    for special in (".", ".."):
        if special in parts:
            return f"it has the part {special}"
    if any(len(part.encode()) > NAME_LIMIT for part in parts):
        return f"a part is longer than {NAME_LIMIT} bytes"
    if len(path.encode()) > longest:
        return f"its path is longer than {PATH_LIMIT:,} bytes"
    return None


def select(tree: Tree, commit: CommitName, path: str) -> Iterator[tuple[str, Entry]]:
    """Yield the entries at and below *path* with their paths relative to it; raise PathMissing."""
    prefix = f"{path.rstrip('/')}/" if path else ""
    is_missing = bool(path)
    file = tree.entry(path) if path and not path.endswith("/") else None
    if file is not None:
        is_missing = False
        yield path.rpartition("/")[2], file
    for entry in tree.entries(prefix=prefix):
        is_missing = False
        if entry.key != prefix:  # the marker of the selected folder itself
            yield entry.key[len(prefix) :], entry
    if is_missing:
        raise PathMissing(commit, path)
