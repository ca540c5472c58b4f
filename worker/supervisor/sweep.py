"""Sweeps: every process of a tree is found, stopped and killed, however fast it forks.

``/proc`` is no snapshot: between the look at a process and the signal to it, the process may have
forked and exited. A process that is stopped cannot fork, so processes are stopped until no new one
appears. A cgroup needs no such race, but a machine may permit none. The shim imports this module
under ``python -I -S``, so it imports next to nothing.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable

from worker.supervisor import procfs
from worker.supervisor.cgroup import Cgroup

ROUNDS = 25
"""Looks for new processes to stop, before those that are stopped are killed and can be reaped."""
LOOKS = 2
"""Looks in a row that find nothing, after which no process is left."""
INTERVAL = 0.01
"""Seconds between two looks."""


Describe = Callable[[Iterable[int]], dict[int, str]]
"""Returns texts by process id, for messages."""


def _by_id_only(pids: Iterable[int]) -> dict[int, str]:
    return dict.fromkeys(pids, "")


class Sweep:
    """The processes of a command's tree: those below one process, and those in its cgroup."""

    def __init__(
        self, root: int, *, group: Cgroup | None = None, since: int = 0, spared: int = 0
    ) -> None:
        """Find what is below *root*, but neither its older children nor the process *spared*.

        An older child is one that started before *since*, a result of `procfs.start_time`.
        """
        self._descendants = procfs.Descendants(root, since=since)
        self._group = group
        # A member of the cgroup may be any process that a privileged command has moved there.
        self._spared = {spared, os.getpid()}

    def find(self) -> set[int]:
        """Return every process of the tree, zombies included."""
        members = self._group.members() if self._group is not None else ()
        return {*self._descendants.find(), *members} - self._spared

    def signal(self, number: int) -> None:
        """Send a signal to every process of the tree."""
        for pid in self.find():
            send(pid, number)

    def kill(self, describe: Describe = _by_id_only) -> dict[int, str]:
        """Stop all processes until no new one appears, and kill them; return what *describe* does.

        It is called while the processes are stopped: an exited one has no command line.
        """
        if self._group is not None:
            self._group.kill()
        # There may be no cgroup, or a process with the right to leave it.
        stopped: set[int] = set()
        for _ in range(ROUNDS):
            new = self.find() - stopped
            if not new:
                break
            for pid in new:
                _kill(pid, signal.SIGSTOP)
            stopped |= new
        found = describe(sorted(stopped))
        for pid in stopped:
            _kill(pid, signal.SIGKILL)
        return found

    def finish(
        self,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> dict[int, str]:
        """Kill, and reap, until two looks in a row find nothing.

        Returns the processes that are still found after *timeout* seconds, with their command
        lines. A process that is not visible here has the number 0.
        """
        # The shim, which does not call this method, need not import it.
        from worker.supervisor.command_lines import command_lines

        deadline = clock() + timeout
        empty = 0
        while empty < LOOKS:
            is_late = clock() >= deadline
            found = self.kill(command_lines if is_late else _by_id_only)
            if not found and not self._is_populated():
                empty += 1
                continue
            empty = 0
            if is_late:
                return self._describe(found)
            for pid in found:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            pause(INTERVAL)
        return {}

    def _is_populated(self) -> bool:
        return self._group is not None and self._group.is_populated()

    def _describe(self, found: dict[int, str]) -> dict[int, str]:
        if not found and self._group is not None:
            return {0: f"not visible here, in the cgroup {self._group.path}"}
        # Those that appear as fast as they are killed may all be zombies by now.
        return {pid: text for pid, text in found.items() if procfs.is_running(pid)} or found


def send(pid: int, number: int) -> None:
    """Send a signal to one process, which continues if it is stopped."""
    _kill(pid, number)
    # A stopped process does not handle the signal before it continues.
    _kill(pid, signal.SIGCONT)


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
