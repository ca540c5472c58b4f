"""Processes as ``/proc`` shows them: parents, command lines, start times, memory and disk I/O.

A process may exit between any two reads, so every function treats a missing file as an exited
process. The shim imports this module under ``python -I -S``, so it imports next to nothing.
"""

import contextlib
import os
import resource
from collections.abc import Iterable
from typing import BinaryIO


def parents() -> dict[int, int]:
    """Return the parent of every visible process of this machine, by process id."""
    if not os.path.isdir("/proc/self"):
        with os.popen("ps -axo pid=,ppid=") as listing:
            return {int(pid): int(parent) for pid, parent in map(str.split, listing)}
    return {pid: int(fields[1]) for pid, fields in _all_stats()}


def children(pid: int) -> list[int]:
    """Return the child processes of *pid*, zombies included."""
    return [child for child, parent in parents().items() if parent == pid]


def descendants(root: int) -> list[int]:
    """Return all processes below *root*, zombies included."""
    return _below([root], _by_parent(parents()))


class Descendants:
    """The processes below one process, looked for again and again while they fork.

    A look reads only processes that are new since the one before. The shorter a look, the fewer
    processes have exited when they receive a signal, and each of these may have forked.
    """

    def __init__(self, root: int, *, since: int = 0) -> None:
        """Omit children of *root* that started before *since*, with what is below them.

        Without ``/proc``, start times are unknown: with *since*, none is found.
        """
        self._root = root
        self._since = since
        self._others: set[int] = set()
        """Processes that are known not to be below *root*."""

    def find(self) -> set[int]:
        """Return the processes, zombies included. None are found only after a complete look."""
        if not self._others:
            return self._look()
        found = self._look()
        if not found:
            # A process id may have been used again since the last look.
            self._others.clear()
            found = self._look()
        return found

    def _look(self) -> set[int]:
        if not os.path.isdir("/proc/self"):
            return set() if self._since else set(descendants(self._root))
        pids = set(_pids())
        self._others &= pids
        stats = {pid: fields for pid in pids - self._others if (fields := _stat(pid))}
        by_parent = _by_parent({pid: int(fields[1]) for pid, fields in stats.items()})
        children = by_parent.pop(self._root, [])
        found = [pid for pid in children if int(stats[pid][19]) >= self._since]
        # Not one whose parent has exited since it was read: its new parent may be the root.
        others = [0, *self._others, *(pid for pid in children if pid not in found)]
        self._others.update(others[1:], _below(others, by_parent))
        return {*found, *_below(found, by_parent)}


def _by_parent(parents: dict[int, int]) -> dict[int, list[int]]:
    """Return the children of each process, from the parent of each."""
    found: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        found.setdefault(parent, []).append(pid)
    return found


def _below(roots: Iterable[int], by_parent: dict[int, list[int]]) -> list[int]:
    """Return all processes below *roots*."""
    found, pending = list[int](), [*roots]
    while pending:
        below = by_parent.get(pending.pop(), [])
        found += below
        pending += below
    return found


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if unknown."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def start_times() -> dict[int, int]:
    """Return the start time of every visible process, by process id."""
    return {pid: int(fields[19]) for pid, fields in _all_stats()}


def command_line(pid: int) -> str:
    """Return the command line of a process, its name if it has none, or an empty string.

    It may block as long as the process wants; see :mod:`worker.supervisor.command_lines`.
    """
    return _text(pid, "cmdline") or name(pid)


def name(pid: int) -> str:
    """Return the name of a process, or an empty string."""
    return _text(pid, "comm")


def _text(pid: int, file: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{file}", "rb") as opened:
        return opened.read(1000).replace(b"\0", b" ").strip().decode("utf-8", "backslashreplace")
    return ""


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the sum of the resident memory of processes; shared pages count once for each."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as statm:
            pages += int(statm.read().split()[1])
    return pages * resource.getpagesize()


def open_disk_io() -> BinaryIO | None:
    """Open the counters for `disk_io`; a process that is private cannot open them any more."""
    with contextlib.suppress(OSError):
        return open("/proc/self/io", "rb", buffering=0)
    return None


def disk_io(counters: BinaryIO | None) -> tuple[int, int]:
    """Return the bytes that this process and its reaped children read from and wrote to disks."""
    counts = {}
    with contextlib.suppress(OSError):
        if counters is not None:
            counters.seek(0)
            counts = dict(line.split(b": ") for line in counters.read().splitlines())
    return int(counts.get(b"read_bytes", 0)), int(counts.get(b"write_bytes", 0))


def _stat(pid: int) -> list[bytes]:
    """Return the fields of ``/proc/PID/stat`` from the state on; empty for an exited process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stat:
        # The name, in parentheses, may contain any character; the state follows it.
        return stat.read().rpartition(b")")[2].split()
    return []


def _pids() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def _all_stats() -> list[tuple[int, list[bytes]]]:
    return [(pid, fields) for pid in _pids() if (fields := _stat(pid))]
