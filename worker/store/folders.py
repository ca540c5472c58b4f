"""A folder of this machine as keys: what is in it, in the order of a tree."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from worker.errors import NotFound


class FolderMissing(NotFound):
    """There is no such folder on this machine."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: there is no such folder here")
        self.path = path


@attrs.frozen
class Found:
    """A file and the key it gets. An empty folder is found as a key that ends in ``/``."""

    key: str
    path: str


@attrs.frozen
class Problem:
    """What can't become a file of a commit, and why."""

    path: str
    reason: str


KINDS = {
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFBLK: "it is a device",
    stat.S_IFCHR: "it is a device",
    stat.S_IFDIR: "it is a folder",
}


def walk(directory: Path, prefix: str) -> Iterator[Found | Problem]:
    """Yield what is below *directory*, keys beginning with *prefix*, sorted by key, lazily.

    The folder itself may be a symbolic link; in it, only links to files in it are followed. Names
    that are not UTF-8 come as problems, at their place in the order.
    """
    if not directory.is_dir():
        raise FolderMissing(os.fspath(directory))
    root = os.path.realpath(directory)
    yield from _walk(os.fspath(directory), prefix, inside=root + os.sep if root != "/" else "/")


def not_a_file(mode: int) -> str:
    """Return why what has this mode is no regular file."""
    return KINDS.get(stat.S_IFMT(mode), "it is not a regular file") + ", and only files can be put"


def _walk(folder: str, prefix: str, *, inside: str) -> Iterator[Found | Problem]:
    try:
        with os.scandir(folder) as entries:
            # A folder's name with the slash that follows it in its keys sorts as its keys do.
            found = sorted(
                (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                for entry in entries
            )
    except OSError as error:
        yield Problem(folder, error.strerror or str(error))
        return
    if not found and prefix:
        yield Found(prefix, folder)
    for name, entry in found:
        reason = _problem(name, entry, inside)
        if reason:
            yield Problem(entry.path, reason)
        elif name.endswith("/"):
            yield from _walk(entry.path, prefix + name, inside=inside)
        else:
            yield Found(prefix + name, entry.path)


def _problem(name: str, entry: "os.DirEntry[str]", inside: str) -> str | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if name.endswith("/") or entry.is_file(follow_symlinks=False):
        return None
    if not entry.is_symlink():
        return not_a_file(entry.stat(follow_symlinks=False).st_mode)
    target = os.path.realpath(entry.path)
    if not target.startswith(inside):
        return f"it is a link to {target}, outside of the folder"
    if not os.path.isfile(target):
        return f"it is a link to {target}, which is not a file"
    return None
