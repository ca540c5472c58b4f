"""Mount points: folders that a worker creates for its mounts, and removes when none uses them.

Removing a folder detaches what other mount namespaces have mounted there, so a folder may go only
while no other worker uses it. Each user of a mount point holds a shared lock on its parent folder;
the folder is removed under an exclusive one. A folder that a worker has created has a mark, so that
the next worker removes what one that was killed left behind. The shim imports this module under
``python -I -S``, so it imports next to nothing.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator

from worker.directories import DIRECTORY, locate_real_directory, open_real_directory

MARK = "user.worker.mountpoint"
"""The extended attribute of a folder that a worker has created."""
ATTEMPTS = 20
INTERVAL = 0.01
"""Seconds between two attempts: another worker may just remove the folder."""
YOUNG = 1.0
"""Seconds within which another worker may still give its mark to a folder that it has created."""


class MountPoints:
    """Folders in use as mount points. A process that uses several has one such object."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        """Those that a worker has created, as far as can be known yet."""
        self._locks: dict[str, int] = {}
        """A shared lock on each of their parents."""

    def acquire(self, path: str) -> None:
        """Use the folder *path*, which is created if it is missing; raises OSError.

        *path* is absolute, and no component of it is a symbolic link.
        """
        if is_borrowed(path):
            raise PermissionError(errno.EPERM, "the worker of another user removes it", path)
        parent = os.path.dirname(path)
        for attempt in range(ATTEMPTS):
            is_last = attempt == ATTEMPTS - 1
            with contextlib.nullcontext() if is_last else contextlib.suppress(FileNotFoundError):
                _make(parent)
                with self._locked(parent) as lock:
                    _make(path)
                    is_removable = is_marked(path) or _is_young(path)
                    # Until now, another worker could remove the parent.
                    if not is_removable or _is_at(lock, parent) or is_last:
                        if is_removable:
                            self._paths.append(path)
                        return
            time.sleep(INTERVAL)

    def release(self) -> None:
        """Remove the folders that a worker has created, that are empty, and that no other uses.

        The same applies to the folders above them.
        """
        pending = set(self._paths)
        while pending:
            path = max(pending, key=lambda each: each.count("/"))
            pending.remove(path)
            parent = os.path.dirname(path)
            if is_marked(path) and (lock := self._lock(parent)) is not None:
                with contextlib.suppress(OSError):
                    # If it fails, the shared lock is lost: the last user of a folder removes it.
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # After an earlier failure, the locked folder may be gone, and be there again.
                    if _is_at(lock, parent):
                        os.rmdir(os.path.basename(path), dir_fd=lock)
                        pending.add(parent)
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()
        self._paths.clear()

    @contextlib.contextmanager
    def _locked(self, folder: str) -> Iterator[int | None]:
        """Lock a folder in the block, and as long as a mount point in it is used."""
        try:
            yield self._lock(folder)
        finally:
            if folder in self._locks and folder not in map(os.path.dirname, self._paths):
                os.close(self._locks.pop(folder))

    def _lock(self, folder: str) -> int | None:
        """Return a lock on a folder; None if it is gone, unreadable, or locked exclusively."""
        if folder in self._locks:
            return self._locks[folder]
        with contextlib.suppress(OSError):
            found = open_real_directory(folder)
            lock = os.dup(found.fd)
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if _is_at(lock, folder):
                    self._locks[folder] = lock
                    return lock
            os.close(lock)
        return None


def _is_at(descriptor: int | None, path: str) -> bool:
    """Whether the open folder is the one at *path*."""
    return descriptor is not None and os.path.samestat(os.fstat(descriptor), os.stat(path))


def _is_young(path: str) -> bool:
    return abs(time.time() - os.stat(path).st_ctime) < YOUNG


def _make(path: str) -> None:
    """Create a folder and those above it, unless they exist; raises OSError."""
    if os.path.isdir(path):
        return
    parent, name = os.path.split(path)
    _make(parent)
    # Another user may own the parent, and replace a part of the path by a link at any moment.
    above = locate_real_directory(parent)
    try:
        os.mkdir(name, 0o700, dir_fd=above.fd)
    except FileExistsError:
        if os.path.isdir(path):
            return
        if os.path.lexists(path):
            raise
        # Removed since then.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    made = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=above.fd)
    try:
        # Regardless of the umask: the command may run as another user.
        os.fchmod(made, 0o755)
        # A folder without a mark stays: other workers would not know that it may be removed.
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(made, MARK, b"")
    finally:
        os.close(made)


def remove_abandoned(paths: Iterable[str]) -> None:
    """Remove those of *paths* that a killed process has created, and that no other uses."""
    points = MountPoints()
    for path in paths:
        with contextlib.suppress(OSError):
            if os.path.isdir(path):
                points.acquire(path)
    points.release()


def is_marked(path: str) -> bool:
    """Whether a worker has created the folder *path*."""
    with contextlib.suppress(OSError, AttributeError):
        return MARK in os.listxattr(path, follow_symlinks=False)
    return False  # Some file systems and operating systems have no extended attributes.


def is_borrowed(path: str) -> bool:
    """Whether the folder *path* is a mount point that only another user can remove.

    Its worker must not have to wait for this one.
    """
    if os.geteuid() == 0:
        return False
    return is_marked(path) and not os.access(os.path.dirname(path), os.W_OK)
