"""The file reader: a small process that opens files with the rights of the command's user.

A link that the command has left in its output may lead to any file of the machine. The agent must
not open it: it may run as root and the command as another user, and a check before the open can be
outrun by a change of the link. So a process of this module gives up the agent's rights, opens the
files that the agent names, and passes their descriptors back. It accepts regular files only, and
opens nothing else: to open a device or a pipe can have effects or block.

The process runs under ``python -I -S`` and imports next to nothing. Its arguments are the file
descriptors of a socket and of the output folder, and the rights to take. Agent and process exchange
messages over the socket:

    agent to process
        a path, ended by a NUL byte     open it; relative paths start at the output folder
    process to agent
        ``{}`` with a descriptor        the file, open for reading
        ``{"reason": TEXT, "target": TEXT}``  why it cannot be opened, and the target of a link
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from worker.directories import READING, Directory
from worker.errors import CommandFailed, Unavailable
from worker.supervisor.isolated import isolated_python
from worker.system import keep_private, set_parent_death_signal
from worker.text import kind_of_file

if TYPE_CHECKING:
    from worker.supervisor.users import Identity

PROCESS = isolated_python("worker.supervisor.file_reader")
CHECK_INTERVAL = 0.2
"""Seconds between two checks for cancellation: a file system may block for ever."""
OPEN_TIMEOUT = 300.0
"""Seconds to open a file; an automatic mount takes a while."""
EXIT_TIMEOUT = 5.0
"""Seconds for a killed process to exit; then it is left to the kernel."""

LOCATING = getattr(os, "O_PATH", 0)
"""Finds a file without opening it; Linux only."""
OPENAT2 = 437
"""The number of the system call, which is the same on all architectures but one."""
NO_MAGIC_LINKS = 2
"""Rejects links such as /proc/self/exe, which lead to a file without a look-up of its path."""
PSEUDO = frozenset(
    {
        "anon_inodefs",
        "autofs",
        "binder",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "mqueue",
        "nsfs",
        "pipefs",
        "proc",
        "pstore",
        "resctrl",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "smackfs",
        "sockfs",
        "sysfs",
        "tracefs",
    }
)
"""Types of file systems whose files are interfaces of the kernel: to read one is no copy of it."""


class NotReadable(CommandFailed):
    """The command's user may not read a path, or it is no regular file."""

    def __init__(self, reason: str, target: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.target = target
        """The target of the path if it is a link that the user may read."""


class FileReader:
    """Opens files as the command's user; a context manager, as it owns a process.

    The process is started by the first file. For one thread at a time, which must not end before
    the process does.
    """

    def __init__(
        self,
        folder: Directory,
        identity: "Identity | None",
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Resolve relative paths at *folder*; *identity* is None for the agent's own user.

        *check* is called while the process works, and may raise to stop.
        """
        self.identity = identity
        self._folder = folder
        self._check = check
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_TIMEOUT)

    def open(self, path: str) -> int:
        """Return a descriptor of the regular file *path*; raises NotReadable and Unavailable."""
        channel = self._channel or self._start()
        try:
            channel.sendall(os.fsencode(path) + b"\0")
            reply, descriptors = self._receive(channel)
        except ConnectionError:
            reply, descriptors = b"", []
        except NotReadable:
            # A late reply must not be taken for that to another path.
            self.__exit__()
            raise
        if not reply:
            raise Unavailable("the process that reads linked files of the output was killed")
        if not descriptors:
            raise NotReadable(**json.loads(reply))
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]

    def _start(self) -> socket.socket:
        user = self.identity
        rights = None if user is None else [user.uid, user.gid, list(user.groups)]
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(CHECK_INTERVAL)
        with theirs:
            number = str(theirs.fileno())
            # Descriptors 0 to 2 of the agent could be files that the user cannot reach by a path.
            self._process = subprocess.Popen(
                [*PROCESS, number, str(self._folder.fd), json.dumps(rights)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._folder.fd),
                start_new_session=True,
                cwd="/",
                env={},
            )
        return self._channel

    def _receive(self, channel: socket.socket) -> tuple[bytes, list[int]]:
        """Return a reply and its descriptors; an empty one if the process is gone."""
        reply, descriptors = b"", list[int]()
        deadline = time.monotonic() + OPEN_TIMEOUT
        while not reply.endswith(b"\n"):
            try:
                data, received, _, _ = socket.recv_fds(channel, 65536, 1)
            except TimeoutError:
                self._check()
                if time.monotonic() > deadline:
                    raise NotReadable("its file system does not respond") from None
                continue
            descriptors += received
            if not data:
                return b"", descriptors
            reply += data
        return reply, descriptors


# --- the process ----------------------------------------------------------------------------------


def main() -> None:
    """Open files for the agent at the other end of the socket, until it closes it."""
    with socket.socket(fileno=int(sys.argv[1])) as agent:
        file_systems = FileSystems(os.geteuid())
        # The user may not be able to reach the folder by its path.
        folder = int(sys.argv[2])
        os.fchdir(folder)
        os.close(folder)
        if (rights := json.loads(sys.argv[3])) is not None:
            uid, gid, groups = rights
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        # A change of user would clear this setting.
        set_parent_death_signal(signal.SIGKILL)
        keep_private()
        received = b""
        while data := agent.recv(65536):
            received += data
            if received.endswith(b"\0"):
                _reply(agent, received[:-1], file_systems)
                received = b""


def _reply(agent: socket.socket, path: bytes, file_systems: "FileSystems") -> None:
    try:
        descriptor = open_regular(path, file_systems)
    except NotReadable as error:
        target = b""
        with contextlib.suppress(OSError):
            target = os.readlink(path)
        answer = {"reason": error.reason, "target": os.fsdecode(target)}
        agent.sendall(json.dumps(answer).encode() + b"\n")
        return
    try:
        socket.send_fds(agent, [b"{}\n"], [descriptor])
    finally:
        os.close(descriptor)


class FileSystems:
    """The file systems of this machine, as far as files on them may not be read."""

    def __init__(self, agent: int, mounts: str = "/proc/self/mountinfo") -> None:
        """*agent* is the uid of the agent, and *mounts* a file in the format of proc(5)."""
        self._agent = agent
        self._mounts = mounts
        self._reasons: dict[int, str] = {}

    def objection(self, device: int) -> str:
        """Return why files of the file system *device* (``st_dev``) may not be read, or nothing."""
        if device not in self._reasons:
            self._reasons[device] = self._judge(f"{os.major(device)}:{os.minor(device)}".encode())
        return self._reasons[device]

    def _judge(self, device: bytes) -> str:
        # A btrfs subvolume and a layer of an overlay have numbers that are not in the list.
        with contextlib.suppress(FileNotFoundError), open(self._mounts, "rb") as lines:
            for line in lines:
                mount, _, tail = line.partition(b" - ")
                if mount.split()[2] != device:
                    continue
                kind, _, *options = tail.split()
                name = kind.decode(errors="replace")
                if name in PSEUDO:
                    return f"it is on a pseudo file system of the kernel ({name})"
                owner = f"user_id={self._agent}".encode()
                found = options[-1].split(b",") if options else []
                # Such a file system is a process of its user, which can block every reader.
                if name.startswith("fuse") and not {owner, b"user_id=0"} & {*found}:
                    return f"it is on a file system of another user ({name})"
                break
        return ""


def open_regular(path: bytes, file_systems: FileSystems) -> int:
    """Return a descriptor of the regular file that *path* leads to; raises NotReadable."""
    try:
        located = _locate(path)
    except OSError as error:
        raise NotReadable(_explain(path, error)) from error
    try:
        status = os.fstat(located)
        if not stat.S_ISREG(status.st_mode):
            found = kind_of_file(status.st_mode)
            raise NotReadable(f"it leads to {found}, expected a regular file")
        if objection := file_systems.objection(status.st_dev):
            raise NotReadable(objection)
        # Not by its path, which may lead to something else by now.
        return os.open(f"/proc/self/fd/{located}", READING) if LOCATING else os.dup(located)
    except OSError as error:
        raise NotReadable(_explain(path, error)) from error
    finally:
        os.close(located)


class _How(ctypes.Structure):
    """The argument of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _locate(path: bytes) -> int:
    """Return a descriptor of what is at *path*, which cannot be read from on Linux."""
    if LOCATING:
        how = _How(LOCATING | os.O_CLOEXEC, 0, NO_MAGIC_LINKS)
        libc = ctypes.CDLL(None, use_errno=True)
        here = ctypes.c_int(-100)
        found = libc.syscall(OPENAT2, here, path, ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return int(found)
        number = ctypes.get_errno()
        # Kernels before 5.6 lack the call, and filters of system calls may not know it.
        if number not in (errno.ENOSYS, errno.EPERM):
            raise OSError(number, os.strerror(number))
        # Follows the texts of links, so that a file has to be reachable by its path.
        return os.open(os.path.realpath(path), LOCATING | os.O_NOFOLLOW | os.O_CLOEXEC)
    return os.open(path, READING)


def _explain(path: bytes, error: OSError) -> str:
    """Return the reason why *path* could not be opened."""
    if error.errno == errno.ELOOP:
        with contextlib.suppress(OSError):
            os.close(os.open(path, LOCATING | os.O_CLOEXEC))
            return "it leads through a link of the kernel, such as those in /proc"
        return "the links lead in a circle, or are more than 40"
    reasons: dict[Any, str] = {
        errno.ENOENT: "it leads to nothing",
        errno.ENOTDIR: "it leads to nothing",
        errno.EACCES: "the command's user may not read it",
        errno.EPERM: "the command's user may not read it",
        errno.EWOULDBLOCK: "another process holds a lease of the file",
    }
    return reasons.get(error.errno) or error.strerror or str(error)
