"""Directories by descriptor: what is below one is opened, created and removed without links.

A path is looked up anew in each system call, and another process may replace a part of it by a
symbolic link between two of them. So an agent of root that checks a path and then uses it can be
led to a file of root. A descriptor keeps leading to the directory that was opened, and here each
name is looked up in the directory of such a descriptor, with O_NOFOLLOW.

The supervisor shim imports this module under ``python -I -S``, so it imports next to nothing.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator

READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags to read a file. To open a pipe that has replaced it would block without O_NONBLOCK."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
LOOKUP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags to look up names in a directory only, for which Linux needs no permission to read it."""
LINKS = 40
"""Links that are followed in a path, as in Linux."""
PASSES = 1_000_000
"""Passes over a tree that is removed: as many levels, and a limit if a process still writes."""


class Directory:
    """An open directory, which is closed with the last reference to it.

    All methods raise OSError. A name that is a symbolic link where a directory is expected is
    an error with ENOTDIR, and with ELOOP where a file is.
    """

    __slots__ = ("fd", "path")

    def __init__(self, fd: int, path: str) -> None:
        """Own the descriptor *fd*; *path* is for messages."""
        self.fd = fd
        self.path = path

    def __del__(self) -> None:
        os.close(self.fd)

    def directory(self, name: str) -> "Directory":
        """Open the directory *name*."""
        fd = os.open(_part(name), DIRECTORY | os.O_NOFOLLOW, dir_fd=self.fd)
        return Directory(fd, os.path.join(self.path, name))

    def descend(self, names: Iterable[str]) -> "Directory":
        """Open the directory that *names* lead to, one after the other; itself without names."""
        found = self
        for name in names:
            found = found.directory(name)
        return found

    def make(self, name: str, mode: int = 0o700) -> "Directory":
        """Create the directory *name* with *mode*, whatever the umask is, and open it."""
        os.mkdir(_part(name), 0o700, dir_fd=self.fd)
        made = self.directory(name)
        os.fchmod(made.fd, mode)
        return made

    def open(self, name: str) -> int:
        """Open the file *name* for reading, and return its descriptor."""
        return os.open(_part(name), READING | os.O_NOFOLLOW, dir_fd=self.fd)

    def create(self, name: str, mode: int) -> int:
        """Create the file *name*, open it for writing, and return its descriptor.

        The umask is applied to *mode*. Fails with EEXIST if there is anything of this name.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(_part(name), flags, mode, dir_fd=self.fd)

    def status(self, name: str) -> os.stat_result:
        """Return the status of *name*, which may be a link."""
        return os.stat(_part(name), dir_fd=self.fd, follow_symlinks=False)

    def children(self) -> Iterator[tuple[str, int | OSError]]:
        """Yield the names in the directory, each with its type as in ``st_mode`` or an error."""
        with os.scandir(self.fd) as entries:
            for entry in entries:
                yield entry.name, _type(entry)

    def directories(self) -> Iterator["Directory"]:
        """Yield the directories below this one, and at last itself; each after those below it."""
        for name, mode in list(self.children()):
            if not isinstance(mode, OSError) and stat.S_ISDIR(mode):
                yield from self.directory(name).directories()
        yield self

    def remove(self, name: str) -> None:
        """Remove *name*, a file or a tree, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(self.status(name).st_mode):
                self._writable(name).empty()
                os.rmdir(name, dir_fd=self.fd)
            else:
                os.unlink(name, dir_fd=self.fd)

    def empty(self) -> None:
        """Remove everything in the directory.

        A tree can be deeper than the number of descriptors that a process may have, and than a
        path may be long. So the directories of the second level are moved to the first one, until
        there is no second level.
        """
        for _ in range(PASSES):
            names = os.listdir(self.fd)
            if not names:
                return
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._remove_or_raise_children(name)
        raise OSError(errno.ENOTEMPTY, "a process still writes to the folder", self.path)

    def _remove_or_raise_children(self, name: str) -> None:
        """Remove *name*; the directories that it contains become children of this one."""
        if not stat.S_ISDIR(self.status(name).st_mode):
            os.unlink(name, dir_fd=self.fd)
            return
        child = self._writable(name)
        for below in os.listdir(child.fd):
            if stat.S_ISDIR(child.status(below).st_mode):
                # To move a directory changes its `..`, for which it must be writable.
                child._writable(below)
                moved = f".removed-{os.urandom(8).hex()}"
                os.rename(below, moved, src_dir_fd=child.fd, dst_dir_fd=self.fd)
            else:
                os.unlink(below, dir_fd=child.fd)
        # What a process has written meanwhile is removed by the next pass.
        try:
            os.rmdir(name, dir_fd=self.fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def _writable(self, name: str) -> "Directory":
        """Open the directory *name*, and permit the owner everything if it does not."""
        try:
            found = self.directory(name)
        except PermissionError:
            self._permit(name)
            found = self.directory(name)
        if os.fstat(found.fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            # A directory of another user: whether it can be removed is not up to its mode.
            with contextlib.suppress(PermissionError):
                os.fchmod(found.fd, stat.S_IRWXU)
        return found

    def _permit(self, name: str) -> None:
        """Permit the owner everything in a directory that cannot be opened."""
        if not hasattr(os, "O_PATH"):
            os.chmod(name, stat.S_IRWXU, dir_fd=self.fd, follow_symlinks=False)
            return
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        located = os.open(name, flags, dir_fd=self.fd)
        try:
            # Not fchmod(2), which rejects such a descriptor.
            os.chmod(f"/proc/self/fd/{located}", stat.S_IRWXU)
        finally:
            os.close(located)


def open_directory(path: str | os.PathLike[str]) -> Directory:
    """Open the directory *path*, of which every part is allowed to be a link; raises OSError.

    For paths that the user of the agent has chosen.
    """
    return Directory(os.open(path, DIRECTORY), os.fspath(path))


def open_parent(path: str | os.PathLike[str]) -> tuple[Directory, str]:
    """Open the directory of *path*, to look up names, and return it with the last part of *path*.

    As ``open_directory``.
    """
    parent, name = os.path.split(os.fspath(path))
    return Directory(os.open(parent or ".", LOOKUP), parent), name


def locate_real_directory(path: str | os.PathLike[str]) -> Directory:
    """Find the directory at a real *path*, to look up names in it.

    Raises OSError if a part of it has become a link. A user may have to look up names in a
    directory that it cannot read.
    """
    found, _ = open_parent("/")
    for part in filter(None, os.fspath(path).split("/")):
        fd = os.open(_part(part), LOOKUP | os.O_NOFOLLOW, dir_fd=found.fd)
        found = Directory(fd, os.path.join(found.path, part))
    return found


def open_real_directory(path: str | os.PathLike[str]) -> Directory:
    """Open the directory at a real *path*; raises OSError if a part of it has become a link."""
    parent, name = os.path.split(os.fspath(path))
    return locate_real_directory(parent).directory(name) if name else open_directory("/")


def real_path(path: str | os.PathLike[str]) -> str:
    """Return *path* as an absolute path without links, of which some parts may be missing.

    As ``os.path.realpath``, but in bounded time, and without recursion: after as many links as
    Linux follows, the path of the next one is returned.
    """
    found, rest = _resolve(path, _target)
    return os.path.join(found, *rest)


def trusted_path(path: str | os.PathLike[str]) -> str:
    """Return *path* as an absolute path without links, of which some parts may be missing.

    Raises PermissionError for a link that belongs neither to root nor to this user: it leads where
    another user wants, as in ``fs.protected_symlinks`` (proc_sys_fs(5)). Raises OSError with ELOOP
    for more links than Linux follows.
    """
    found, rest = _resolve(path, _trusted_target)
    if rest:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), found)
    return found


def _resolve(
    path: str | os.PathLike[str], target_of: Callable[[str], str | None]
) -> tuple[str, list[str]]:
    """Follow up to LINKS links; return the path, and the parts after one link more."""
    whole = os.fspath(path)
    # The working directory may have been removed.
    pending = (whole if whole.startswith("/") else f"{os.getcwd()}/{whole}").split("/")[::-1]
    found, links = "/", 0
    while pending:
        part = pending.pop()
        if part == "..":
            found = os.path.dirname(found)
        elif part not in ("", "."):
            below = os.path.join(found, part)
            target = target_of(below)
            if target is None:
                found = below
            elif links == LINKS:
                return found, [part, *pending[::-1]]
            else:
                links += 1
                found = "/" if target.startswith("/") else found
                pending += target.split("/")[::-1]
    return found, []


def _target(path: str) -> str | None:
    """Return the target of the link *path*; None if it is no link, missing, or unreadable."""
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return None


def _trusted_target(path: str) -> str | None:
    """Return the target of the link *path*, as ``trusted_path`` demands; raises OSError."""
    flags = getattr(os, "O_PATH", None)
    link: int | None = None
    try:
        if flags is None:
            status, target = os.lstat(path), os.readlink(path)
        else:
            link = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
            status, target = os.fstat(link), os.readlink("", dir_fd=link)
    except OSError as error:
        # What is no link, has no target: EINVAL for a path, ENOENT for a descriptor.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
            return None
        raise
    finally:
        if link is not None:
            os.close(link)
    if status.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "it is a link of another user", path)
    return target


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove *path*, a file or a tree, if it exists; raises OSError.

    The directory that contains it is looked up by its path.
    """
    parent, name = open_parent(path)
    parent.remove(name)


def _part(name: str) -> str:
    """Return *name* if it is one part of a path, and leads to no parent."""
    if "/" in name or name in ("", ".", ".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return name


def _type(entry: os.DirEntry[str]) -> int | OSError:
    """Return the type of an entry as in ``st_mode``, mostly without a system call."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        if entry.is_symlink():
            return stat.S_IFLNK
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        return entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        return error
