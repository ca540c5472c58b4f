"""The folders of a run: its scratch directory and the root of its file inputs."""

import contextlib
import errno
import fcntl
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.directories import Directory, open_directory, open_real_directory, remove_tree
from worker.errors import CommandFailed, Misconfigured, is_not_writable
from worker.supervisor import mountpoints

PREFIX = "worker-job-"
LOCK = "lock"
MARK = "user.worker.job"
"""The extended attribute of a root that a worker has claimed."""
ACL = "system.posix_acl_access"
"""The extended attribute with the access control list of a file."""
ACL_VERSION = 2
ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
ACL_EXECUTE, ACL_ALL = 0o1, 0o7
LOCK_ATTEMPTS, LOCK_INTERVAL = 5, 0.01
"""Attempts to lock a root, and the seconds between two of them."""


class NotRemoved(CommandFailed):
    """The command left something below the root of its files that cannot be removed."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(
            f"{folder}: the command left what worker cannot remove: {error}; it may have the "
            'attribute "immutable", or belong to another user'
        )
        self.folder = folder


@contextlib.contextmanager
def scratch_folder(
    parent: Path, *, not_removed: Callable[[OSError], None] = lambda _: None
) -> Iterator[Path]:
    """Create a scratch folder below *parent* for this user alone, and remove it at the end.

    The folders of workers that were killed are removed as well: their locks are free. A command of
    root can prevent the removal, for example by the attribute "immutable" of a file; *not_removed*
    is called with the error then.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for old in parent.glob(f"{PREFIX}*"):
            _remove_abandoned(parent, old.name)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        if is_not_writable(error) and error.errno != errno.EROFS:
            raise
        raise Misconfigured(
            f"scratch: {parent}: {error.strerror}; choose another directory with --scratch"
        ) from error
    with open(folder / f"{LOCK}.new", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Renamed when it is locked: a folder with a free lock counts as abandoned.
        os.rename(lock.name, folder / LOCK)
        try:
            yield folder
        finally:
            try:
                remove_tree(folder)
            except OSError as error:
                not_removed(error)


def admit(folder: Path, uid: int, gid: int) -> None:
    """Let the user *uid* look up names in *folder*, and no other user.

    Where the file system has no access control lists, the users of the group *gid* can as well.
    """
    try:
        os.setxattr(folder, ACL, _acl_for_lookup(uid))
    except (OSError, AttributeError):
        os.chown(folder, -1, gid)
        folder.chmod(0o710)


def _acl_for_lookup(uid: int) -> bytes:
    """Return the access control list for a folder of this user in which *uid* can look up names.

    The format is that of Linux (``include/uapi/linux/posix_acl_xattr.h``).
    """
    nobody = 0xFFFFFFFF
    entries = (
        (ACL_USER_OBJ, ACL_ALL, nobody),
        (ACL_USER, ACL_EXECUTE, uid),
        (ACL_GROUP_OBJ, 0, nobody),
        (ACL_MASK, ACL_EXECUTE, nobody),
        (ACL_OTHER, 0, nobody),
    )
    return struct.pack("<I", ACL_VERSION) + b"".join(struct.pack("<HHI", *each) for each in entries)


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

    It is created if it is missing. Return its real path. Raises RootUnavailable.
    """
    points = mountpoints.MountPoints()
    try:
        real = Path(os.path.realpath(folder))
        try:
            points.acquire(str(real))
        except OSError as error:
            raise _not_created(folder, error) from error
        root = _claim(real, folder)
        try:
            yield real
        finally:
            try:
                root.empty()
            except OSError as error:
                raise NotRemoved(folder, error) from error
            if MARK in _marks(root):
                os.removexattr(root.fd, MARK)
            # Unlocked before the mount point is released.
            del root
    finally:
        points.release()


def check_root(folder: Path) -> Path:
    """Return *folder* if it could be claimed now; change nothing. Raises RootUnavailable."""
    existing = Path(os.path.realpath(folder))
    while not os.path.lexists(existing):
        existing = existing.parent
    if existing == Path(os.path.realpath(folder)):
        _claim(existing, folder, keeps=False)
    elif not existing.is_dir():
        raise _not_created(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    elif not os.access(existing, os.W_OK | os.X_OK):
        raise _not_created(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return folder


def _not_created(folder: Path, error: OSError) -> RootUnavailable:
    return RootUnavailable(folder, f"it cannot be created: {error.strerror}")


def _claim(real: Path, folder: Path, *, keeps: bool = True) -> Directory:
    """Lock an empty folder, and mark it as claimed; raises RootUnavailable.

    *real* is the real path of *folder*. The lock lasts as long as the returned directory. A folder
    with the mark of a worker that was killed is emptied. Without *keeps*, nothing is changed and
    the lock does not exclude others.
    """
    try:
        root = open_real_directory(real)
    except OSError as error:
        raise RootUnavailable(folder, f"it cannot be opened: {error.strerror}") from error
    _lock(root.fd, folder, fcntl.LOCK_EX if keeps else fcntl.LOCK_SH)
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=root.fd):
        raise RootUnavailable(folder, f"uid {os.geteuid()} may not write to it")
    is_abandoned = MARK in _marks(root)
    if is_abandoned and keeps:
        root.empty()
    if os.listdir(root.fd) and (keeps or not is_abandoned):
        raise RootUnavailable(folder, "it is not empty")
    if keeps:
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(root.fd, MARK, b"")
    return root


def _lock(descriptor: int, folder: Path, kind: int) -> None:
    for _ in range(LOCK_ATTEMPTS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        # A plan looks at the folder for a moment.
        time.sleep(LOCK_INTERVAL)
    raise RootUnavailable(folder, "another job uses it")


def _marks(folder: Directory) -> list[str]:
    with contextlib.suppress(OSError, AttributeError):
        return os.listxattr(folder.fd)
    return []  # Some file systems and operating systems have no extended attributes.


def _remove_abandoned(parent: Path, name: str) -> None:
    # Folders of other users, and one that is being removed, are left alone. In a folder that all
    # users can write to, such as /tmp, the name may belong to a link, and the lock may be a pipe.
    with contextlib.suppress(OSError):
        folder = open_directory(parent)
        found = folder.directory(name)
        if os.fstat(found.fd).st_uid == os.geteuid():
            with open(found.open(LOCK), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder.remove(name)
