"""The folders of a run: its scratch directory and the root of its file inputs."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from worker.errors import Misconfigured, is_not_writable

PREFIX = "worker-job-"
LOCK = "lock"
PFS = Path("/pfs")
MARK = "user.worker.job"
"""The extended attribute of a root that a worker has claimed."""


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


@contextlib.contextmanager
def pfs_folder(chosen: Path | None, scratch: Path) -> Iterator[Path]:
    """Claim the empty root folder of the file inputs, and restore it at the end.

    It is *chosen*, or ``/pfs`` if that is writable and no other job uses it, or a folder in
    *scratch*.
    """
    candidate = chosen or PFS
    if (claim := _claim(candidate, create=chosen is not None)) is not None:
        lock, created = claim
        try:
            yield candidate
        finally:
            _empty(candidate)
            if created:
                candidate.rmdir()
            elif MARK in _marks(candidate):
                os.removexattr(candidate, MARK)
            os.close(lock)
        return
    folder = scratch / "pfs"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder


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


def _claim(folder: Path, *, create: bool) -> tuple[int, bool] | None:
    """Lock an empty folder; return the lock and whether the folder was created, or None.

    A folder with the mark of a worker that was killed is emptied. None means that the folder cannot
    be created or written to, is not empty, or is locked by another job.
    """
    created = False
    try:
        if create or os.access(folder.parent, os.W_OK):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=create)
                created = True
                # Regardless of the umask: the command may run as another user.
                folder.chmod(0o755)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another job may have removed and recreated the folder since it was opened.
        same = os.path.samestat(os.fstat(lock), os.stat(folder))
        if same and os.access(folder, os.W_OK | os.X_OK):
            if MARK in _marks(folder):
                _empty(folder)
            if not os.listdir(folder):
                with contextlib.suppress(OSError, AttributeError):
                    os.setxattr(folder, MARK, b"")
                return lock, created
    os.close(lock)
    return None


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
