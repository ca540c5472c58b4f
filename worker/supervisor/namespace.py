"""A private mount namespace: folders at paths that only a command sees.

A process with CAP_SYS_ADMIN gets a mount namespace. Any other user gets one within a user
namespace, where its uid and gid stay the same; the command loses the capabilities there when it
starts. Mounts of the machine appear in the namespace, and its own nowhere else.

A target that does not exist and cannot be created, such as ``/pfs`` for an ordinary user, gets a
new parent: a read-only tmpfs with mounts of all that the parent contains.

A target may be in a folder of another user, who can replace a part of its path by a link at any
moment. So a path is resolved once, links of other users are refused, and each mount is made by a
descriptor. The shim imports this module under ``python -I -S``, so it imports next to nothing.
"""

import contextlib
import ctypes
import errno
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence

from worker.directories import locate_real_directory, trusted_path
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
Resolved = tuple[str, str, str, bool]
"""Source, target, the real path of the target, and whether it is writable."""


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


def resolve(mounts: Iterable[Mount]) -> tuple[list[Resolved], dict[str, str]]:
    """Return mounts with the real paths of their targets, and the reasons of those without one.

    Not in a user namespace, in which the owner of a link may be unknown.
    """
    resolved: list[Resolved] = []
    refused: dict[str, str] = {}
    for source, target, writable in mounts:
        try:
            real = trusted_path(str(target))
        except OSError as error:
            refused[str(target)] = explain(error)
        else:
            resolved.append((str(source), str(target), real, bool(writable)))
    return resolved, refused


def mount(mounts: Iterable[Resolved]) -> dict[str, str]:
    """Bind each source over its target, and return the reasons of those that fail, by target."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = "/"  # It was removed.
    ordered = sorted(mounts, key=lambda each: each[2].count("/"))
    view = _View([real for _, _, real, _ in ordered])
    refused: dict[str, str] = {}
    for source, target, real, writable in ordered:
        try:
            view.bind(source, real, writable=writable)
        except OSError as error:
            refused[target] = explain(error)
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
    resolved, _ = resolve(mounts)
    for path in sorted(real for _, _, real, _ in resolved):
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
        with _at(target) as place:
            _mount(source, place, MS_BIND | MS_REC)
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
        folder = locate_real_directory(existing)
        for name in os.path.relpath(target, existing).split("/"):
            folder = folder.make(name, 0o755)

    def _is_missing(self, path: str) -> bool:
        return (path in self._hidden and path not in self._bound) or not os.path.lexists(path)

    def _compose(self, folder: str) -> None:
        """Mount a writable tmpfs over *folder* that shows the entries of it."""
        below = locate_real_directory(folder)
        names = self._entries(folder)
        with _at(folder) as place:
            _mount_tmpfs(place, stat.S_IMODE(os.fstat(below.fd).st_mode))
        with _at(folder) as place:
            try:
                for name in names:
                    _show(below.fd, name, f"{place}/{name}")
            except OSError:
                # Other targets do not depend on this one.
                _call("umount2", os.fsencode(place), MNT_DETACH)
                raise

    def _compose_root(self, staging: str) -> None:
        """Make a writable tmpfs that shows the entries of ``/`` the root of this process."""
        names = self._entries("/")
        _mount_tmpfs(staging, 0o755)
        os.mkdir(f"{staging}/{OLD_ROOT}")
        _call("pivot_root", os.fsencode(staging), os.fsencode(f"{staging}/{OLD_ROOT}"))
        os.chdir("/")
        below = locate_real_directory(f"/{OLD_ROOT}")
        for name in names:
            _show(below.fd, name, f"/{name}", proc=f"/{OLD_ROOT}/proc")
        del below
        _call("umount2", os.fsencode(f"/{OLD_ROOT}"), MNT_DETACH)
        os.rmdir(f"/{OLD_ROOT}")

    def _entries(self, folder: str) -> list[str]:
        names = os.listdir(folder)
        if len(names) > MAX_ENTRIES:
            reason = f"more than {MAX_ENTRIES} entries beside the mount"
            raise OSError(errno.E2BIG, reason, folder)
        return [name for name in names if os.path.join(folder, name) not in self._hidden]


def _show(folder: int, name: str, target: str, *, proc: str = "/proc") -> None:
    """Show the entry *name* of an open folder at another path; *proc* has the descriptors."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    entry = os.open(name, flags, dir_fd=folder)
    try:
        mode = os.fstat(entry).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink("", dir_fd=entry), target)
            return
        if stat.S_ISDIR(mode):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _mount(f"{proc}/self/fd/{entry}", target, MS_BIND | MS_REC)
    finally:
        os.close(entry)


@contextlib.contextmanager
def _at(path: str) -> Iterator[str]:
    """Provide a path that leads to the folder at a real *path*, whatever becomes a link.

    Raises OSError if a part of *path* is one.
    """
    folder = locate_real_directory(path)
    yield f"/proc/self/fd/{folder.fd}"


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
    with _at(target) as place:
        found = os.statvfs(place).f_flag
        kept = sum(flag for name, flag in KEPT_FLAGS.items() if found & name)
        _mount("none", place, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


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
    resolved, unresolved = resolve(mounts)
    for path in outermost(mounts):
        with contextlib.suppress(OSError):
            points.acquire(path)
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            enter()
            refused = mount(resolved)
        except OSError as error:
            refused = {str(target): explain(error) for _, target, _, _ in resolved}
        except BaseException as error:
            # After any error this process must exit, since it would continue as a second one.
            refused = {str(target): repr(error) for _, target, _, _ in resolved}
        os.write(write_fd, json.dumps(refused).encode())
        os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    points.release()
    found: dict[str, str] = json.loads(text)
    return {**found, **unresolved}


def main() -> None:
    """Attempt the mounts of the first argument, and print the reasons of those that fail."""
    print(json.dumps(attempt(json.loads(sys.argv[1]))))
