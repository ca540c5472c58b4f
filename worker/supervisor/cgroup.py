"""A cgroup of its own for a command, where one can be had: all in it is found, and ends at once.

It is made below the agent's own cgroup, in a hierarchy of version 2 (also in the second one of a
machine that has both). No controller is enabled: what is there is used. A lock says that a cgroup
is in use, so what a killed keeper left behind is known by its lock being free. The keeper imports
this, and it therefore imports next to nothing.
"""

import contextlib
import fcntl
import os
import time

MEMBERSHIP = "/proc/self/cgroup"
MOUNTS = "/proc/self/mountinfo"
PREFIX = "worker-command-"
ATTEMPTS = 3
EMPTYING = 2.0
"""Seconds for what was killed to be gone; a cgroup that still holds somebody can't be removed."""


class Cgroup:
    """The cgroup of one command; made by :func:`make`."""

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    def join(self) -> None:
        """Move this process into it, and so all that it will begin."""
        # It may be that one can be made and not entered; then the command runs without.
        with contextlib.suppress(OSError):
            _write(f"{self.path}/cgroup.procs", "0")

    def members(self) -> list[int]:
        """Return every process in it and in what was made below it; a zombie is none."""
        found: list[int] = []
        for folder in _folders(self.path):
            # One that was removed meanwhile holds nobody.
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "rb") as file:
                # What can't be seen from here, in another PID namespace, is called 0.
                found += [int(pid) for pid in file.read().split() if int(pid)]
        return found

    def kill(self) -> None:
        """Kill all that is in it at one blow, where the kernel can; Linux 5.14 could first."""
        with contextlib.suppress(OSError):
            _write(f"{self.path}/cgroup.kill", "1")

    def cpu_seconds(self) -> float:
        """Return the processor time of all that ever was in it."""
        return self._number("cpu.stat", b"usage_usec") / 1e6

    def memory_kills(self) -> int:
        """Return how many processes in it were killed for memory; 0 if nobody counts."""
        return self._number("memory.events", b"oom_kill")

    def remove(self) -> None:
        """Kill what is left in it and remove it; what can't be, the next command removes."""
        self.kill()
        until = time.monotonic() + EMPTYING
        while not _removed(self.path) and time.monotonic() < until:
            time.sleep(0.01)
        os.close(self._lock)

    def _number(self, name: str, row: bytes) -> int:
        # Without the controller there is no such file.
        with contextlib.suppress(OSError), open(f"{self.path}/{name}", "rb") as file:
            return int(dict(line.split(b" ") for line in file.read().splitlines()).get(row, 0))
        return 0


def make() -> Cgroup | None:
    """Return a new cgroup below our own, or None where that can't be had."""
    base = own()
    if base is None:
        return None
    remove_abandoned(base)
    with contextlib.suppress(OSError):
        for _ in range(ATTEMPTS):
            path = f"{base}/{PREFIX}{os.urandom(6).hex()}"
            os.mkdir(path)
            # Before the lock is there, somebody who tidies up may take it for abandoned.
            if (lock := _lock(path)) is not None:
                return Cgroup(path, lock)
    return None


def remove_abandoned(base: str | None) -> None:
    """Remove the cgroups below *base* whose keepers were killed, and kill what is left in them."""
    names: list[str] = []
    if base is not None:
        with contextlib.suppress(OSError):
            names = os.listdir(base)
    for name in names:
        if name.startswith(PREFIX) and (lock := _lock(f"{base}/{name}")) is not None:
            Cgroup(f"{base}/{name}", lock).remove()


def own() -> str | None:
    """Return the folder of the cgroup that this process is in, of version 2, if it is seen here."""
    with contextlib.suppress(OSError):
        with open(MEMBERSHIP, encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split(":", 2) for line in file.read().splitlines()]
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split(" ") for line in file.read().splitlines()]
        for number, _, group in rows:
            for mount in mounts:
                if number == "0" and mount[mount.index("-") + 1] == "cgroup2":
                    # What is mounted may be a part of the hierarchy, with us in it or not.
                    root = "" if mount[3] == "/" else mount[3]
                    if f"{group}/".startswith(f"{root}/"):
                        return (mount[4] + group[len(root) :]).rstrip("/")
    return None


def _lock(path: str) -> int | None:
    """Return a lock on a cgroup that is there, or None if somebody has it."""
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)
    return None


def _folders(path: str) -> list[str]:
    """Return a cgroup and all below it, the lowest first."""
    return [folder for folder, _, _ in os.walk(path, topdown=False)]


def _removed(path: str) -> bool:
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
