"""Command lines of processes: read by another process, since a hostile one can block their reader.

The kernel reads a command line from the memory of its process, for which it waits for a lock. A
process holds this lock as long as it wants, for example while a file system of its own does not
respond. The supervisor must not wait meanwhile, not even in a thread: it could not exit. This
process runs under ``python -I -S`` and imports next to nothing. Its arguments are process ids. It
prints a JSON array of a process id and its command line for each, one a line.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

from worker.supervisor import procfs
from worker.supervisor.isolated import isolated_python

READER = isolated_python("worker.supervisor.command_lines")
READ_TIMEOUT = 3.0
"""Seconds to read all command lines."""
EXIT_TIMEOUT = 1.0
"""Seconds for a killed reader to exit; then it is left to the kernel."""
MAX_PROCESSES = 1000
"""Processes whose command lines are read; others have their names."""


def command_lines(pids: Iterable[int]) -> dict[int, str]:
    """Return the command lines of processes, or the names of those that cannot be read in time.

    A process that has exited has an empty one.
    """
    found = {pid: procfs.name(pid) for pid in pids}
    numbers = list(map(str, found))[:MAX_PROCESSES]
    if numbers:
        for line in _read(numbers).splitlines():
            with suppress(ValueError):  # The last line may be incomplete.
                pid, text = json.loads(line)
                found[pid] = text or found[pid]
    return found


def _read(numbers: list[str]) -> bytes:
    """Return what the other process prints until the timeout."""
    reader = subprocess.Popen(
        [*READER, *numbers],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
    )
    assert reader.stdout is not None
    with reader.stdout:
        try:
            return reader.communicate(timeout=READ_TIMEOUT)[0]
        except subprocess.TimeoutExpired as error:
            reader.kill()
            with suppress(subprocess.TimeoutExpired):
                reader.wait(EXIT_TIMEOUT)
            return error.stdout or b""


def main() -> None:
    """Print the command line of each process of the arguments."""
    for number in sys.argv[1:]:
        print(json.dumps([int(number), procfs.command_line(int(number))]), flush=True)
