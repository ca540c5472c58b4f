"""Cgroups: one for each command where possible, and the kernel's counters of memory kills.

The cgroup of a command is created below the agent's own, in a hierarchy of version 2 (also in the
second hierarchy of a hybrid system). No controller is enabled; those that are there are used. A
locked cgroup is in use, so a cgroup that a killed shim left behind is recognized by its free lock.
The shim imports this module under ``python -I -S``, so it imports next to nothing.
"""

import contextlib
import fcntl
import os
import time

MEMBERSHIP = "/proc/self/cgroup"
MOUNTS = "/proc/self/mountinfo"
CGROUP_ROOT = "/sys/fs/cgroup"
MACHINE_COUNTERS = "/proc/vmstat"
PREFIX = "worker-command-"
CREATE_ATTEMPTS = 3
REMOVE_TIMEOUT = 2.0
"""Seconds for killed processes to exit; a cgroup with a process in it cannot be removed."""


class Cgroup:
    """The cgroup of one command, created by :func:`create`."""

    def __init__(self, path: str, lock: int | None = None) -> None:
        self.path = path
        self._lock = lock
        """None if another process owns the cgroup, and removes it."""

    def join(self) -> None:
        """Move this process into the cgroup; processes that it starts inherit the membership."""
        # A cgroup that can be created may still refuse members; the command then runs without.
        with contextlib.suppress(OSError):
            _write(f"{self.path}/cgroup.procs", "0")

    def members(self) -> list[int]:
        """Return the processes in the cgroup and in those below it, without zombies."""
        found: list[int] = []
        for folder in _folders(self.path):
            # A cgroup that was removed meanwhile has no members.
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "rb") as file:
                # A process of an invisible PID namespace is listed as 0.
                found += [int(pid) for pid in file.read().split() if int(pid)]
        return found

    def is_populated(self) -> bool:
        """Whether a process lives in the cgroup or below it, also one that is not visible here."""
        return bool(read_counter(f"{self.path}/cgroup.events", "populated"))

    def kill(self) -> None:
        """Kill all members in one ``cgroup.kill``; before Linux 5.14, freeze them.

        A frozen process does not fork, and SIGKILL ends it.
        """
        try:
            _write(f"{self.path}/cgroup.kill", "1")
        except OSError:
            with contextlib.suppress(OSError):
                _write(f"{self.path}/cgroup.freeze", "1")

    def cpu_seconds(self) -> float:
        """Return the processor time of all processes that were ever members."""
        return read_counter(f"{self.path}/cpu.stat", "usage_usec") / 1e6

    def oom_kills(self) -> int:
        """Return how many members the kernel killed for memory; 0 without the controller."""
        return read_counter(f"{self.path}/memory.events", "oom_kill")

    def remove(self) -> None:
        """Kill the members and remove the cgroup; on timeout, the next command removes it."""
        self.kill()
        deadline = time.monotonic() + REMOVE_TIMEOUT
        while not _try_remove(self.path) and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._lock is not None:
            os.close(self._lock)


def create() -> Cgroup | None:
    """Return a new cgroup below this process's own, or None where none can be created."""
    base = own_path()
    if base is None:
        return None
    remove_abandoned(base)
    with contextlib.suppress(OSError):
        for _ in range(CREATE_ATTEMPTS):
            path = f"{base}/{PREFIX}{os.urandom(6).hex()}"
            os.mkdir(path)
            # Until it is locked, another worker may remove it as abandoned.
            if (lock := _try_lock(path)) is not None:
                return Cgroup(path, lock)
    return None


def remove_abandoned(base: str | None) -> None:
    """Remove the cgroups below *base* whose shims were killed, and kill their members."""
    names: list[str] = []
    if base is not None:
        with contextlib.suppress(OSError):
            names = os.listdir(base)
    for name in names:
        if name.startswith(PREFIX) and (lock := _try_lock(f"{base}/{name}")) is not None:
            Cgroup(f"{base}/{name}", lock).remove()


def own_path() -> str | None:
    """Return the folder of this process's cgroup of version 2, or None if it is not visible."""
    with contextlib.suppress(OSError):
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split(" ") for line in file.read().splitlines()]
        for number, _, group in _memberships():
            for mount in mounts:
                if number == "0" and mount[mount.index("-") + 1] == "cgroup2":
                    # The mount may show a part of the hierarchy that does not contain the cgroup.
                    root = "" if mount[3] == "/" else mount[3]
                    if f"{group}/".startswith(f"{root}/"):
                        return (mount[4] + group[len(root) :]).rstrip("/")
    return None


# --- memory kills ---------------------------------------------------------------------------------


def own_oom_kills() -> int:
    """Return how many processes of this process's cgroup the kernel ever killed for memory.

    Covers both versions of cgroups; 0 where neither counts.
    """
    total = 0
    with contextlib.suppress(OSError):
        for _, controllers, group in _memberships():
            if "memory" in controllers.split(","):
                base, name = f"{CGROUP_ROOT}/memory", "memory.oom_control"
            elif not controllers:
                base, name = CGROUP_ROOT, "memory.events"
            else:
                continue
            # In a container the path may be the host's, while the mount is the cgroup itself.
            for folder in (f"{base}/{group.lstrip('/')}", base):
                if os.path.exists(f"{folder}/{name}"):
                    total += read_counter(f"{folder}/{name}", "oom_kill")
                    break
    return total


def machine_oom_kills() -> int:
    """Return how many processes of this machine the kernel ever killed for memory."""
    return read_counter(MACHINE_COUNTERS, "oom_kill")


def read_counter(path: str, key: str) -> int:
    """Return the value of *key* in a file of ``key value`` lines; 0 if either is missing."""
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0


# --- files of the kernel --------------------------------------------------------------------------


def _memberships() -> list[list[str]]:
    """Return hierarchy number, controllers and path of each cgroup of this process."""
    with open(MEMBERSHIP, encoding="utf-8", errors="surrogateescape") as file:
        return [line.split(":", 2) for line in file.read().splitlines()]


def _try_lock(path: str) -> int | None:
    """Return a lock on an existing cgroup, or None if another process holds it."""
    with contextlib.suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)
    return None


def _folders(path: str) -> list[str]:
    """Return a cgroup and all below it, the deepest first."""
    return [folder for folder, _, _ in os.walk(path, topdown=False)]


def _try_remove(path: str) -> bool:
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
