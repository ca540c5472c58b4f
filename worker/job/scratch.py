"""The folders of a run: its scratch directory and the root of its file inputs, both removed."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "worker-job-"
LOCK = "lock"
PFS = Path("/pfs")
MARK = "user.worker.job"
"""The extended attribute of a root that a worker has claimed."""


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder of one's own below *parent*, and remove it with all that is in it.

    What workers left there that were killed is removed too: its lock is free.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(f"{PREFIX}*"):
        _remove_abandoned(old)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    # Another user's command must be able to reach its inputs below.
    folder.chmod(0o711)
    with open(folder / f"{LOCK}.new", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # It appears locked: a free one, even for a moment, would be taken for that of the dead.
        os.rename(lock.name, folder / LOCK)
        try:
            yield folder
        finally:
            remove_tree(folder)


@contextlib.contextmanager
def pfs_folder(chosen: Path | None, scratch: Path) -> Iterator[Path]:
    """Yield the root for file inputs, empty, and leave it as it was.

    It is the folder that was chosen, or else ``/pfs`` if that can be had and no other job has it,
    or else a folder in *scratch*.
    """
    for wish in (chosen, None if chosen else PFS):
        if wish is not None and (claim := _claim(wish, make=wish == chosen)) is not None:
            lock, made = claim
            try:
                yield wish
            finally:
                _empty(wish)
                if made:
                    wish.rmdir()
                elif MARK in _marks(wish):
                    os.removexattr(wish, MARK)
                os.close(lock)
            return
    folder = scratch / "pfs"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, read-only or not; follow no link."""
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


def _claim(folder: Path, *, make: bool) -> tuple[int, bool] | None:
    """Return a lock on an empty folder, and whether it was made; None if it cannot be had.

    What a worker that was killed left there is removed: it had marked the folder as its own.
    """
    made = False
    try:
        if make or os.access(folder.parent, os.W_OK):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=make)
                made = True
                # Whatever the umask is: the command may be another user's.
                folder.chmod(0o755)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another job may have removed this folder and made it again since we opened it.
        same = os.path.samestat(os.fstat(lock), os.stat(folder))
        if same and os.access(folder, os.W_OK | os.X_OK):
            if MARK in _marks(folder):
                _empty(folder)
            if not os.listdir(folder):
                with contextlib.suppress(OSError, AttributeError):
                    os.setxattr(folder, MARK, b"")
                return lock, made
    os.close(lock)
    return None


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        remove_tree(child)


def _marks(folder: Path) -> list[str]:
    with contextlib.suppress(OSError, AttributeError):
        return os.listxattr(folder)
    return []  # Not every file system, and not every system, has such marks.


def _remove_abandoned(folder: Path) -> None:
    # Somebody else's folder, or one that is just being removed, is left alone. Where everybody can
    # make folders, such as in /tmp, anything may be called so: a link, or a pipe for a lock.
    with contextlib.suppress(OSError):
        found = folder.lstat()
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            return
        with open(folder / LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
