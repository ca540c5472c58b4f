"""A cgroup for a command: finds all of its processes, and kills them in one ``cgroup.kill``.

It is created below the agent's own cgroup, in a hierarchy of version 2 (also in the second one of a
machine that has both), and enables no controller. A lock marks a cgroup that is in use; a cgroup
whose lock is free was left behind by a shim that was killed. The shim imports this module, so it
imports only the standard library.
"""

import contextlib
import fcntl
import os
import time

MEMBERSHIP = "/proc/self/cgroup"
MOUNTS = "/proc/self/mountinfo"
HIERARCHY = "/sys/fs/cgroup"
VMSTAT = "/proc/vmstat"
PREFIX = "worker-command-"
ATTEMPTS = 3
KILL_TIMEOUT = 2.0
"""Seconds for killed processes to exit; a cgroup with processes cannot be removed."""


class Cgroup:
    """The cgroup of one command; created by `create`."""

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    def join(self) -> None:
        """Move this process into the cgroup, and so the processes that it will start."""
        # A cgroup can be created by a process that may not enter it; the command runs without it.
        with contextlib.suppress(OSError):
            _write(f"{self.path}/cgroup.procs", "0")

    def members(self) -> list[int]:
        """Return the pids of all processes in the cgroup and below it, without zombies."""
        found: list[int] = []
        for folder in _folders(self.path):
            # A folder that was removed meanwhile has no processes.
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "rb") as file:
                # A process of another PID namespace has the number 0 here.
                found += [int(pid) for pid in file.read().split() if int(pid)]
        return found

    def kill(self) -> None:
        """Kill all processes in the cgroup at once, where the kernel can (Linux 5.14)."""
        with contextlib.suppress(OSError):
            _write(f"{self.path}/cgroup.kill", "1")

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes that were ever in the cgroup."""
        return read_counter(f"{self.path}/cpu.stat", "usage_usec") / 1e6

    def oom_kills(self) -> int:
        """Return how many processes of the cgroup the kernel killed for memory."""
        return read_counter(f"{self.path}/memory.events", "oom_kill")

    def remove(self) -> None:
        """Kill what is left in the cgroup and remove it; the next command retries a failure."""
        self.kill()
        until = time.monotonic() + KILL_TIMEOUT
        while not _remove_folders(self.path) and time.monotonic() < until:
            time.sleep(0.01)
        os.close(self._lock)


def create() -> Cgroup | None:
    """Return a new cgroup below the own one; None where that is not possible."""
    parent = own()
    if parent is None:
        return None
    remove_abandoned(parent)
    with contextlib.suppress(OSError):
        for _ in range(ATTEMPTS):
            path = f"{parent}/{PREFIX}{os.urandom(6).hex()}"
            os.mkdir(path)
            # Until it is locked, another worker may remove it as abandoned.
            if (lock := _lock(path)) is not None:
                return Cgroup(path, lock)
    return None


def remove_abandoned(parent: str | None) -> None:
    """Remove the cgroups below *parent* whose shims were killed, and kill their processes."""
    names: list[str] = []
    if parent is not None:
        with contextlib.suppress(OSError):
            names = os.listdir(parent)
    for name in names:
        if name.startswith(PREFIX) and (lock := _lock(f"{parent}/{name}")) is not None:
            Cgroup(f"{parent}/{name}", lock).remove()


def own() -> str | None:
    """Return the folder of this process's cgroup of version 2, if it is visible here."""
    with contextlib.suppress(OSError):
        with open(MEMBERSHIP, encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split(":", 2) for line in file.read().splitlines()]
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split(" ") for line in file.read().splitlines()]
        for number, _, group in rows:
            for mount in mounts:
                if number == "0" and mount[mount.index("-") + 1] == "cgroup2":
                    # The mount may be a part of the hierarchy, with this process in it or not.
                    root = "" if mount[3] == "/" else mount[3]
                    if f"{group}/".startswith(f"{root}/"):
                        return (mount[4] + group[len(root) :]).rstrip("/")
    return None


def own_oom_kills() -> int:
    """Return how many processes of this process's cgroup, v1 or v2, were killed for memory."""
    kills = 0
    with contextlib.suppress(OSError), open(MEMBERSHIP, encoding="utf-8") as file:
        for line in file.read().splitlines():
            _, controllers, group = line.split(":", 2)
            if "memory" in controllers.split(","):
                base, name = f"{HIERARCHY}/memory", "memory.oom_control"
            elif not controllers:
                base, name = HIERARCHY, "memory.events"
            else:
                continue
            # In a container the path may be the host's, while the mount is the own cgroup.
            for folder in (f"{base}/{group.lstrip('/')}", base):
                if os.path.exists(f"{folder}/{name}"):
                    kills += read_counter(f"{folder}/{name}", "oom_kill")
                    break
    return kills


def machine_oom_kills() -> int:
    """Return how many processes of this machine were killed for memory since it started."""
    return read_counter(VMSTAT, "oom_kill")


def read_counter(path: str, name: str) -> int:
    """Return the counter *name* of a file of lines ``name value``; 0 if there is none."""
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


def _lock(path: str) -> int | None:
    """Return the descriptor of a lock on a cgroup; None if another process holds it."""
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)
    return None


def _folders(path: str) -> list[str]:
    """Return a cgroup and the cgroups below it, children first."""
    return [folder for folder, _, _ in os.walk(path, topdown=False)]


def _remove_folders(path: str) -> bool:
    try:
        for folder in _folders(path):
            os.rmdir(folder)
    except OSError:
        return not os.path.exists(path)
    return True


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
