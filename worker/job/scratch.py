"""The folders of a run: its scratch directory and the root of its file inputs."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from worker.errors import Misconfigured, is_not_writable
from worker.supervisor import mountpoints

PREFIX = "worker-job-"
LOCK = "lock"
MARK = "user.worker.job"
"""The extended attribute of a root that a worker has claimed."""
LOCK_ATTEMPTS, LOCK_INTERVAL = 5, 0.01
"""Attempts to lock a root, and the seconds between two of them."""


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Create a scratch folder below *parent*, and remove it at the end.

    The folders of workers that were killed are removed as well: their locks are free.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for old in parent.glob(f"{PREFIX}*"):
            _remove_abandoned(old)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        if is_not_writable(error) and error.errno != errno.EROFS:
            raise
        raise Misconfigured(
            f"scratch: {parent}: {error.strerror}; choose another directory with --scratch"
        ) from error
    # A command that runs as another user must be able to reach its inputs.
    folder.chmod(0o711)
    with open(folder / f"{LOCK}.new", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Renamed when it is locked: a folder with a free lock counts as abandoned.
        os.rename(lock.name, folder / LOCK)
        try:
            yield folder
        finally:
            remove_tree(folder)


class RootUnavailable(Misconfigured):
    """A folder cannot be the root of the file inputs."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"pfs_root: {folder}: {reason}; choose an empty or a new folder with --pfs-root, or do "
            "not set it"
        )
        self.folder = folder
        self.reason = reason


@contextlib.contextmanager
def claimed_root(folder: Path) -> Iterator[Path]:
    """Claim an empty folder as the root of the file inputs, and restore it at the end.

    It is created if it is missing. Raises RootUnavailable.
    """
    points = mountpoints.MountPoints()
    try:
        try:
            points.acquire(os.path.realpath(folder))
        except OSError as error:
            raise _not_created(folder, error) from error
        lock = _claim(folder)
        try:
            yield folder
        finally:
            _empty(folder)
            if MARK in _marks(folder):
                os.removexattr(folder, MARK)
            os.close(lock)
    finally:
        points.release()


def check_root(folder: Path) -> Path:
    """Return *folder* if it could be claimed now; change nothing. Raises RootUnavailable."""
    existing = Path(os.path.realpath(folder))
    while not os.path.lexists(existing):
        existing = existing.parent
    if existing == Path(os.path.realpath(folder)):
        os.close(_claim(folder, keeps=False))
    elif not existing.is_dir():
        raise _not_created(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    elif not os.access(existing, os.W_OK | os.X_OK):
        raise _not_created(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return folder


def remove_tree(path: Path) -> None:
    """Remove a file or a folder tree, including read-only folders; do not follow links."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, names, _ in os.walk(path):
        for name in names:
            below = os.path.join(folder, name)
            if not os.path.islink(below):
                os.chmod(below, stat.S_IRWXU)
    os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(path)


def _not_created(folder: Path, error: OSError) -> RootUnavailable:
    return RootUnavailable(folder, f"it cannot be created: {error.strerror}")


def _claim(folder: Path, *, keeps: bool = True) -> int:
    """Return a lock on an empty folder, which is marked as claimed; raises RootUnavailable.

    A folder with the mark of a worker that was killed is emptied. Without *keeps*, nothing is
    changed and the lock does not exclude others.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RootUnavailable(folder, f"it cannot be opened: {error.strerror}") from error
    try:
        _lock(lock, folder, fcntl.LOCK_EX if keeps else fcntl.LOCK_SH)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise RootUnavailable(folder, f"uid {os.geteuid()} may not write to it")
        is_abandoned = MARK in _marks(folder)
        if is_abandoned and keeps:
            _empty(folder)
        if os.listdir(folder) and (keeps or not is_abandoned):
            raise RootUnavailable(folder, "it is not empty")
        if keeps:
            with contextlib.suppress(OSError, AttributeError):
                os.setxattr(folder, MARK, b"")
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(descriptor: int, folder: Path, kind: int) -> None:
    for _ in range(LOCK_ATTEMPTS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        # A plan looks at the folder for a moment.
        time.sleep(LOCK_INTERVAL)
    raise RootUnavailable(folder, "another job uses it")


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        remove_tree(child)


def _marks(folder: Path) -> list[str]:
    with contextlib.suppress(OSError, AttributeError):
        return os.listxattr(folder)
    return []  # Some file systems and operating systems have no extended attributes.


def _remove_abandoned(folder: Path) -> None:
    # Folders of other users, and one that is being removed, are left alone. In a folder that all
    # users can write to, such as /tmp, the name may belong to a link, and the lock may be a pipe.
    with contextlib.suppress(OSError):
        found = folder.lstat()
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            return
        with open(folder / LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
