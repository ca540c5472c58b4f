"""A small program between the agent and the user's command: parent of all that the command begins.

It is a process of its own, begun by ``python -I -S``, and imports next to nothing, so that it
starts in some ten milliseconds and stays small. It is a child subreaper, so whatever leaves the
command's process group, or is left behind by its parent, becomes its child: nothing escapes, all
is reaped, and what the kernel adds up for its children is what the whole tree used. Where there
can be a cgroup for the command, that says the same once more, and still holds the tree together
when the keeper itself is killed.

It speaks in lines of JSON over the socket whose number is its argument. First the agent says what
to run. Then it may say ``{"look": true}`` (what is left of the tree?), ``{"signal": N}`` (to
everything that is) and ``{"kill": true}``. The keeper says ``started`` or ``refused``, then
``exited``, and ``done`` once nothing is left; then it ends. If the agent dies, the socket closes
and the keeper kills the tree: a worker that is killed leaves no command running.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import warnings  # noqa: F401 - os.execvpe imports it, after the change of user, who may not read it
from collections.abc import Iterator
from typing import Any, NoReturn

from worker.supervisor import cgroup as cgroups

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SAMPLES = 0.05, 1.0
"""Seconds between two looks at the memory of the tree: at first, and in the long run."""


def prctl(option: int, value: int) -> None:
    """Set an option of this process, where the system has such a thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def parents() -> dict[int, int]:
    """Return the parent of every process of the machine that can be seen."""
    found = {}
    if not os.path.isdir("/proc/self"):
        with os.popen("ps -axo pid=,ppid=") as listing:
            return {int(pid): int(parent) for pid, parent in map(str.split, listing)}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # A process may end between the listing and the look.
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The name, in parentheses, may hold anything; the state and the parent follow it.
                found[int(name)] = int(stat.read().rpartition(b")")[2].split()[1])
    return found


def descendants(root: int) -> list[int]:
    """Return every living process below *root*."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def describe(pid: int) -> str:
    """Return the command line of a process, or its name when it has none."""
    for name in ("cmdline", "comm"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
            text = file.read(1000).replace(b"\0", b" ").strip()
            if text:
                return text.decode("utf-8", "backslashreplace")
    return ""


def alive(pid: int) -> bool:
    """Whether a process is more than an entry that waits for its parent to look."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def memory(pids: list[int]) -> int:
    """Return the resident bytes of some processes, with what they share counted for each."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as statm:
            pages += int(statm.read().split()[1])
    return pages * resource.getpagesize()


def disk() -> tuple[int, int]:
    """Return how many bytes were read from and written to disks, by all that was reaped too."""
    counts = {}
    with contextlib.suppress(OSError), open("/proc/self/io", "rb") as file:
        counts = dict(line.split(b": ") for line in file.read().splitlines())
    return int(counts.get(b"read_bytes", 0)), int(counts.get(b"write_bytes", 0))


def become(order: dict[str, Any]) -> NoReturn:
    """Become the command, in the child; what goes wrong is told with the step it happened in."""
    step = "session"
    try:
        if order["session"]:
            os.setsid()
        step = "user"
        if order["uid"] is not None:
            os.setgroups(order["groups"])
            os.setresgid(order["gid"], order["gid"], order["gid"])
            os.setresuid(order["uid"], order["uid"], order["uid"])
        # If somebody kills the keeper, the command goes too; a change of user would undo this.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        step = "directory"
        if order["directory"] is not None:
            os.chdir(order["directory"])
        for number in (
            signal.SIGPIPE,
            signal.SIGXFSZ,
            signal.SIGINT,
            signal.SIGQUIT,
            signal.SIGCHLD,
        ):
            signal.signal(number, signal.SIG_DFL)
        step = "command"
        os.execvpe(order["argv"][0], order["argv"], order["environment"])
    except OSError as error:
        refusal = {"step": step, "errno": error.errno}
    except Exception as error:
        # A NUL byte in an argument, a variable whose name has an equals sign. Whatever it is, this
        # process must not live on as a second keeper.
        refusal = {"step": step, "errno": errno.EINVAL, "text": str(error)}
    os.write(order["pipe"], json.dumps(refusal).encode())
    os._exit(127)


class Keeper:
    """The parent of one command and of all that comes of it."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._received = b""
        self._main = 0
        self._exited = False
        self._gone = False
        self._killing = False
        self._peak = 0
        self._cgroup: cgroups.Cgroup | None = None
        self._passes_signals_on = False

    def keep(self) -> None:
        """Run what the agent says, and return when nothing of it is left."""
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        order = next(self._messages())
        if "argv" not in order:
            return
        self._passes_signals_on = order["passes_signals_on"]
        awake, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(awake, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # On a terminal these go to everybody in front; they are meant for the command.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        # What an engine begins for its client has cgroups of the engine's own.
        self._cgroup = None if self._passes_signals_on else cgroups.make()
        try:
            if not self._start(order):
                return
            self._watch(awake)
            used = self._used()
        finally:
            if self._cgroup is not None:
                self._cgroup.remove()
        self._say({"done": used})
        if self._gone and order["farewell"]:
            os.execvpe(order["farewell"][0], order["farewell"], order["environment"])

    def _watch(self, awake: int) -> None:
        """Do what the agent says until nothing is left of the tree."""
        poll = select.poll()
        poll.register(awake, select.POLLIN)
        poll.register(self._agent, select.POLLIN)
        pause, longest = SAMPLES
        look = time.monotonic() + pause
        while self._reap() or self._below():
            # A process that forks faster than it can be found must be looked for again and again.
            wait = 0.01 if self._killing else max(0.0, look - time.monotonic())
            for ready, _ in poll.poll(wait * 1000):
                if ready == awake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(awake, 4096)
                elif not self._listen():
                    poll.unregister(self._agent)
            if self._killing:
                self._kill()
            elif time.monotonic() >= look:
                self._peak = max(self._peak, memory(self._below()))
                pause = min(longest, pause * 2)
                look = time.monotonic() + pause

    def _start(self, order: dict[str, Any]) -> bool:
        told, order["pipe"] = os.pipe()
        self._main = os.fork()
        if not self._main:
            if self._cgroup is not None:
                self._cgroup.join()
            become(order)
        os.close(order["pipe"])
        # The ends of the command's pipes are the command's alone, so that they close when it ends.
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        with open(told, "rb") as pipe:
            refusal = pipe.read()
        if refusal:
            os.waitpid(self._main, 0)
            self._say({"refused": json.loads(refusal)})
            return False
        self._say({"started": self._main})
        return True

    def _reap(self) -> bool:
        """Take in every child that has ended, and return whether any is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._main and not self._exited:
                self._exited = True
                self._say({"exited": os.waitstatus_to_exitcode(status), "left": self._left()})

    def _below(self) -> list[int]:
        """Return every process that belongs to the command."""
        found = set(descendants(os.getpid()))
        if self._cgroup is not None:
            found.update(self._cgroup.members())
        return list(found)

    def _left(self) -> list[dict[str, Any]]:
        """Return what lives of the tree, in the words that the agent knows."""
        found = [pid for pid in self._below() if alive(pid)]
        return [{"pid": pid, "command": describe(pid)} for pid in found]

    def _listen(self) -> bool:
        """Do what the agent says, and return whether there still is an agent."""
        for message in self._messages():
            if "look" in message:
                self._say({"left": self._left()})
            if "signal" in message:
                self._signal(message["signal"])
            self._killing = self._killing or "kill" in message
            self._gone = self._gone or "gone" in message
        return not self._gone

    def _signal(self, number: int) -> None:
        found = self._below()
        if self._passes_signals_on:
            found = [] if self._exited else [self._main]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                # What is stopped would not hear it.
                os.kill(pid, signal.SIGCONT)

    def _kill(self) -> None:
        """Stop all that is there until nothing new appears, and kill it then."""
        if self._cgroup is not None:
            self._cgroup.kill()
        # There may be none, or somebody with the right to leave it.
        seen: set[int] = set()
        for _ in range(100):
            found = set(self._below())
            if not found - seen:
                break
            for pid in found - seen:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGSTOP)
            seen |= found
        for pid in seen:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _used(self) -> dict[str, Any]:
        """Return what the tree used, and how much of it was killed for memory."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        read, written = disk()
        largest = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        # Not memory.peak of the cgroup: it counts each page of a file that was ever read.
        counted = self._cgroup.cpu_seconds() if self._cgroup is not None else 0.0
        return {
            "usage": {
                "cpu_seconds": max(used.ru_utime + used.ru_stime, counted),
                "peak_memory": max(self._peak, largest),
                "read_bytes": read,
                "written_bytes": written,
            },
            "memory_kills": self._cgroup.memory_kills() if self._cgroup is not None else 0,
        }

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the agent says, at least one message: to kill, if the agent is gone."""
        while b"\n" not in self._received:
            data = self._agent.recv(65536)
            if not data:
                yield {"kill": True, "gone": True}
                return
            self._received += data
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            yield json.loads(line)

    def _say(self, message: dict[str, Any]) -> None:
        # An agent that is gone needs no answer; the end of the tree is what matters then.
        with contextlib.suppress(OSError):
            self._agent.sendall(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Keep one command for the agent at the other end of the socket."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        Keeper(channel).keep()
