"""Processes as ``/proc`` shows them: parents, command lines, start times, memory and disk I/O.

A process may exit between any two reads, so every function treats a missing file as an exited
process. The shim imports this module under ``python -I -S``, so it imports next to nothing.
"""

import contextlib
import os
import resource


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
    by_parent: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        by_parent.setdefault(parent, []).append(pid)
    found, pending = [], [root]
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
    """Return the command line of a process, its name if it has none, or an empty string."""
    for name in ("cmdline", "comm"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
            text = file.read(1000).replace(b"\0", b" ").strip()
            if text:
                return text.decode("utf-8", "backslashreplace")
    return ""


def resident_bytes(pids: list[int]) -> int:
    """Return the sum of the resident memory of processes; shared pages count once for each."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as statm:
            pages += int(statm.read().split()[1])
    return pages * resource.getpagesize()


def disk_io() -> tuple[int, int]:
    """Return the bytes that this process and its reaped children read from and wrote to disks."""
    counts = {}
    with contextlib.suppress(OSError), open("/proc/self/io", "rb") as file:
        counts = dict(line.split(b": ") for line in file.read().splitlines())
    return int(counts.get(b"read_bytes", 0)), int(counts.get(b"write_bytes", 0))


def _stat(pid: int) -> list[bytes]:
    """Return the fields of ``/proc/PID/stat`` from the state on; empty for an exited process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stat:
        # The name, in parentheses, may contain any character; the state follows it.
        return stat.read().rpartition(b")")[2].split()
    return []


def _all_stats() -> list[tuple[int, list[bytes]]]:
    pids: list[int] = []
    with contextlib.suppress(OSError):
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [(pid, fields) for pid in pids if (fields := _stat(pid))]
