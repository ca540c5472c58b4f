"""Files of a commit to outside: into a folder, as far as they can be files, or into a tar."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import attrs

from worker.errors import NotFound
from worker.model import Commit, CommitName, Entry
from worker.store.backends.base import Damaged
from worker.store.blobs import BlobReader
from worker.store.repository import Store
from worker.store.target import Target
from worker.store.trees import Tree

Progress = Callable[[str, int], None]
"""Told the key and the size of each file that was written."""

PART_LIMIT = 255
PATH_LIMIT = 4095


class PathMissing(NotFound):
    """The commit has no file of this path, nor any below it."""

    def __init__(self, name: CommitName, path: str) -> None:
        super().__init__(f"{name}:{path}: the commit has no file of this name, nor any below it")
        self.name = name
        self.path = path


@attrs.frozen
class Unwritten:
    """A key that can't be a file here, and why."""

    key: str
    reason: str
    damaged: bool = False
    """Whether not the key is to blame but the store, which has lost the file."""


def get_directory(
    store: Store,
    commit: Commit,
    directory: Path,
    *,
    path: str = "",
    progress: Progress | None = None,
) -> tuple[Unwritten, ...]:
    """Write the files of *commit* into *directory* and return the keys that can't be files there.

    With *path*, only the file of that key, by its last part, and what is below it, by the rest of
    its key. An empty key that ends in ``/`` is a folder. Of ``a`` and ``a/b`` only the latter can
    be a file. Each file appears whole, with the bytes that were stored, or not at all, in place of
    one that was there; nothing is written outside of *directory*, also not by way of links that are
    in it.
    """
    tree = store.tree(commit)
    reader = BlobReader(store.backend)
    unwritten = []
    with Target(directory) as target:
        for name, entry in _chosen(tree, commit.name, path):
            reason = unfit(name, directory) or _shadow(tree, entry)
            if reason is None and name.endswith("/"):
                reason = _folder(target, name, entry)
            elif reason is None:
                modified = entry.modified * 1_000_000
                try:
                    reason = target.write(name, reader.verified(entry.extents), modified=modified)
                except Damaged as error:
                    unwritten.append(Unwritten(entry.key, str(error), damaged=True))
                    continue
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

    *path* chooses and names as in ``get_directory``. Only ``file.write`` is called, so a pipe will
    do. Unpacking is at the reader's risk: keys may be absolute or hold ``..``.
    """
    reader = BlobReader(store.backend)
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, entry in _chosen(store.tree(commit), commit.name, path):
            member = tarfile.TarInfo(name)
            member.size = entry.size
            member.mtime = entry.modified // 1000
            if "\0" in name:
                # In the fixed header the name would end there.
                member.pax_headers = {"path": name}
            if name.endswith("/") and entry.size == 0:
                member.type = tarfile.DIRTYPE
                member.mode = 0o755
            tar.addfile(member, _Stream(reader.verified(entry.extents)))
            if progress is not None:
                progress(entry.key, entry.size)
    reader.close()


def unfit(name: str, directory: Path) -> str | None:
    """Return why no file below *directory* can be called *name*, or None; the disk is not asked."""
    if name.startswith("/"):
        return "it begins with /"
    if "\0" in name:
        return "it holds a NUL"
    parts = name.removesuffix("/").split("/")
    if "" in parts:
        return "a part between two slashes is empty"
    for special in (".", ".."):
        if special in parts:
            return f"a part is {special}, which is no name of a file"
    if any(len(part.encode()) > PART_LIMIT for part in parts):
        return f"a part is over {PART_LIMIT} bytes"
    if (
        len(str(directory.absolute()).encode(errors="surrogateescape")) + len(name.encode())
        >= PATH_LIMIT
    ):
        return f"its path would be over {PATH_LIMIT:,} bytes"
    return None


def _shadow(tree: Tree, entry: Entry) -> str | None:
    if entry.key.endswith("/") or next(tree.entries(prefix=entry.key + "/"), None) is None:
        return None
    return f"there are files below {entry.key}/, so this is a folder"


def _folder(target: Target, name: str, entry: Entry) -> str | None:
    if entry.size:
        return "it ends in / and is not empty"
    return target.make_folder(name)


def _chosen(tree: Tree, commit: CommitName, path: str) -> Iterator[tuple[str, Entry]]:
    """Yield the entries that *path* chooses, each with its name in what is written."""
    prefix = f"{path.rstrip('/')}/" if path else ""
    empty = bool(path)
    file = tree.entry(path) if path and not path.endswith("/") else None
    if file is not None:
        empty = False
        yield path.rpartition("/")[2], file
    for entry in tree.entries(prefix=prefix):
        empty = False
        if entry.key != prefix:  # the mark of the chosen folder itself
            yield entry.key[len(prefix) :], entry
    if empty:
        raise PathMissing(commit, path)


class _Stream:
    """Pieces as what a tar reads from: each read is filled as long as there is something."""

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
