"""A private mount namespace: folders at paths that only a command sees.

A process with CAP_SYS_ADMIN gets a mount namespace. Any other user gets one within a user
namespace, where its uid and gid stay the same; the command loses the capabilities there when it
starts. Mounts of the machine appear in the namespace, and its own nowhere else.

A target that does not exist and cannot be created, such as ``/pfs`` for an ordinary user, gets a
new parent: a read-only tmpfs with mounts of all that the parent contains. The shim imports this
module under ``python -I -S``, so it imports next to nothing.
"""

import contextlib
import ctypes
import errno
import json
import os
import stat
import sys
from collections.abc import Iterable, Sequence

from worker.supervisor import mountpoints

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1 << 5, 1 << 12, 1 << 14, 1 << 19
KEPT_FLAGS = {2: MS_NOSUID, 4: MS_NODEV, 8: 8, 1 << 10: 1 << 10, 1 << 11: 1 << 11, 1 << 12: 1 << 21}
"""Flags of statvfs and of mount: nosuid, nodev, noexec, noatime, nodiratime and relatime.

In a user namespace, a mount cannot lose those that it has.
"""
MNT_DETACH = 2
OLD_ROOT = ".worker-old-root"
MAX_ENTRIES = 1000
"""Entries of a folder that gets a new parent; each one becomes a mount."""

Mount = Sequence[str | bool]
"""Source, target, and whether it is writable."""


def enter() -> None:
    """Give this process a mount namespace of its own; raises OSError.

    The process must have a single thread.
    """
    try:
        _unshare(CLONE_NEWNS)
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        if uid == 0:
            # In a user namespace with one uid, root could not act as root.
            raise
        _unshare(CLONE_NEWUSER | CLONE_NEWNS)
        # Without the right to set groups, any user may map its own group (user_namespaces(7)).
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    # Not MS_PRIVATE: a file system that the machine mounts or unmounts later, such as a home of
    # autofs, must not be missing here, or be busy there.
    _mount("none", "/", MS_SLAVE | MS_REC)


def mount(mounts: Iterable[Mount]) -> dict[str, str]:
    """Bind each source over its target, and return the reasons of those that fail, by target."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = "/"  # It was removed.
    ordered = sorted(mounts, key=lambda each: str(each[1]).count("/"))
    view = _View([os.path.realpath(str(target)) for _, target, _ in ordered])
    refused: dict[str, str] = {}
    for source, target, writable in ordered:
        try:
            view.bind(str(source), os.path.realpath(str(target)), writable=bool(writable))
        except OSError as error:
            refused[str(target)] = explain(error)
    view.finish()
    # The working directory is still the one below the mounts.
    with contextlib.suppress(OSError):
        os.chdir("/")
        os.chdir(folder)
    return refused


def explain(error: OSError) -> str:
    """Return an error of this module as text."""
    path = f"{error.filename}: " if error.filename else ""
    return f"{path}{error.strerror or error}"


def outermost(mounts: Iterable[Mount]) -> list[str]:
    """Return the real paths of the targets that are not below another one."""
    found: list[str] = []
    for path in sorted(os.path.realpath(str(target)) for _, target, _ in mounts):
        if not any(is_below(path, each) for each in found):
            found.append(path)
    return found


# --- targets --------------------------------------------------------------------------------------


class _View:
    """What the processes of the namespace see."""

    def __init__(self, targets: Iterable[str]) -> None:
        self._bound: list[str] = []
        """Real paths of targets, in which folders can be created."""
        self._composed: list[str] = []
        """Folders that show the entries of the ones below them."""
        self._hidden = {path for path in targets if mountpoints.is_borrowed(path)}

    def bind(self, source: str, target: str, *, writable: bool) -> None:
        """Mount *source* on the real path *target*, which need not exist; raises OSError."""
        self._make(target, source)
        _mount(source, target, MS_BIND | MS_REC)
        if not writable:
            _make_read_only(target)
        self._bound.append(target)

    def finish(self) -> None:
        """Make the new folders read-only: what is written there would be lost."""
        for folder in self._composed:
            _make_read_only(folder)

    def _make(self, target: str, staging: str) -> None:
        """Make *target* a folder; on *staging*, another one, a tmpfs can be mounted."""
        existing = target
        while self._is_missing(existing):
            existing = os.path.dirname(existing)
        if not os.path.isdir(existing):
            raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", existing)
        if existing == target:
            return
        if existing not in self._composed and not any(is_below(existing, b) for b in self._bound):
            if existing == "/":
                self._compose_root(staging)
            else:
                self._compose(existing)
            self._composed.append(existing)
        os.makedirs(target, mode=0o755)

    def _is_missing(self, path: str) -> bool:
        return (path in self._hidden and path not in self._bound) or not os.path.lexists(path)

    def _compose(self, folder: str) -> None:
        """Mount a writable tmpfs over *folder* that shows the entries of it."""
        names = self._entries(folder)
        below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _mount_tmpfs(folder, stat.S_IMODE(os.fstat(below).st_mode))
            try:
                for name in names:
                    _show(f"/proc/self/fd/{below}/{name}", f"{folder}/{name}")
            except OSError:
                # Other targets do not depend on this one.
                _call("umount2", os.fsencode(folder), MNT_DETACH)
                raise
        finally:
            os.close(below)

    def _compose_root(self, staging: str) -> None:
        """Make a writable tmpfs that shows the entries of ``/`` the root of this process."""
        names = self._entries("/")
        _mount_tmpfs(staging, 0o755)
        os.mkdir(f"{staging}/{OLD_ROOT}")
        _call("pivot_root", os.fsencode(staging), os.fsencode(f"{staging}/{OLD_ROOT}"))
        os.chdir("/")
        for name in names:
            _show(f"/{OLD_ROOT}/{name}", f"/{name}")
        _call("umount2", os.fsencode(f"/{OLD_ROOT}"), MNT_DETACH)
        os.rmdir(f"/{OLD_ROOT}")

    def _entries(self, folder: str) -> list[str]:
        names = os.listdir(folder)
        if len(names) > MAX_ENTRIES:
            reason = f"more than {MAX_ENTRIES} entries beside the mount"
            raise OSError(errno.E2BIG, reason, folder)
        return [name for name in names if os.path.join(folder, name) not in self._hidden]


def _show(source: str, target: str) -> None:
    """Show one entry of a folder at another path."""
    mode = os.lstat(source).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _mount(source, target, MS_BIND | MS_REC)


def is_below(path: str, folder: str) -> bool:
    """Whether *path* is *folder* or below it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


# --- system calls ---------------------------------------------------------------------------------


def _unshare(kinds: int) -> None:
    try:
        _call("unshare", kinds)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EUSERS):
            reason = "the limit of namespaces is reached (max_user_namespaces, max_mnt_namespaces)"
            raise OSError(error.errno, f"unshare: {reason}") from error
        raise


def _mount_tmpfs(target: str, mode: int) -> None:
    # It holds names only.
    _mount("tmpfs", target, MS_NOSUID | MS_NODEV, kind="tmpfs", options=f"mode={mode:o},size=4m")


def _make_read_only(target: str) -> None:
    found = os.statvfs(target).f_flag
    kept = sum(flag for name, flag in KEPT_FLAGS.items() if found & name)
    _mount("none", target, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def _mount(source: str, target: str, flags: int, *, kind: str = "", options: str = "") -> None:
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library; raises OSError."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"{name}: {os.strerror(errno.ENOSYS)}")
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


# --- trial ----------------------------------------------------------------------------------------


def attempt(mounts: Sequence[Mount]) -> dict[str, str]:
    """Make *mounts* in a child process, which exits; return the reasons of those that fail."""
    points = mountpoints.MountPoints()
    for path in outermost(mounts):
        with contextlib.suppress(OSError):
            points.acquire(path)
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            enter()
            refused = mount(mounts)
        except OSError as error:
            refused = {str(target): explain(error) for _, target, _ in mounts}
        except BaseException as error:
            # After any error this process must exit, since it would continue as a second one.
            refused = {str(target): repr(error) for _, target, _ in mounts}
        os.write(write_fd, json.dumps(refused).encode())
        os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    points.release()
    found: dict[str, str] = json.loads(text)
    return found


def main() -> None:
    """Attempt the mounts of the first argument, and print the reasons of those that fail."""
    print(json.dumps(attempt(json.loads(sys.argv[1]))))
