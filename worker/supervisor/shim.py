"""The supervisor shim: parent of the user's command, and reaper of all its descendants.

A small process between the agent and the command, run by ``python -I -S``, that imports little, so
that it starts in some ten milliseconds. It is a child subreaper: a process that leaves the
command's process group, or loses its parent, becomes its child. So no descendant escapes, all are
reaped, and the kernel adds up their resource usage. A cgroup, where one can be created, finds the
same processes, and holds the tree together when the shim itself is killed.

Agent and shim exchange JSON Lines over the socket whose descriptor is the argument. The agent sends
the command first. Then it may send ``{"list": true}`` (which processes are left?),
``{"signal": N}`` (to all) and ``{"kill": true}``. The shim sends ``started`` or ``refused``, then
``exited``, ``leftovers`` for each list, and ``ended`` once no process is left; then it exits. If
the agent dies, the socket closes and the shim kills the tree.
"""

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from worker import jsonlines, system
from worker.supervisor import cgroup

SAMPLE_INTERVALS = 0.05, 1.0
"""Seconds between two samples of the tree's memory: at first, and in the long run."""
KILL_INTERVAL = 0.01
RESET_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGCHLD,
)


def list_parents() -> dict[int, int]:
    """Return the parent of every visible process, by pid."""
    found = {}
    if not os.path.isdir("/proc/self"):
        with os.popen("ps -axo pid=,ppid=") as listing:
            return {int(pid): int(parent) for pid, parent in map(str.split, listing)}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # A process may exit between the listing and the read.
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # State and parent follow the name, which is in parentheses and may contain any.
                found[int(name)] = int(stat.read().rpartition(b")")[2].split()[1])
    return found


def list_descendants(root: int) -> list[int]:
    """Return all processes below *root*, zombies included."""
    children: dict[int, list[int]] = {}
    for pid, parent in list_parents().items():
        children.setdefault(parent, []).append(pid)
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def describe(pid: int) -> str:
    """Return the command line of a process, or its name if it has none."""
    for name in ("cmdline", "comm"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
            text = file.read(1000).replace(b"\0", b" ").strip()
            if text:
                return text.decode("utf-8", "backslashreplace")
    return ""


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def resident_size(pids: list[int]) -> int:
    """Return the resident bytes of processes; shared pages count once for each process."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as statm:
            pages += int(statm.read().split()[1])
    return pages * resource.getpagesize()


def disk_usage() -> tuple[int, int]:
    """Return the bytes read from and written to disks, by reaped descendants too."""
    counts = {}
    with contextlib.suppress(OSError), open("/proc/self/io", "rb") as file:
        counts = dict(line.split(b": ") for line in file.read().splitlines())
    return int(counts.get(b"read_bytes", 0)), int(counts.get(b"write_bytes", 0))


def execute(spec: dict[str, Any], pipe: int) -> NoReturn:
    """Execute the command in the forked child; report a failure, with its step, to *pipe*."""
    step = "session"
    try:
        if spec["session"]:
            os.setsid()
        step = "user"
        if spec["uid"] is not None:
            os.setgroups(spec["groups"])
            os.setresgid(spec["gid"], spec["gid"], spec["gid"])
            os.setresuid(spec["uid"], spec["uid"], spec["uid"])
        # If the shim is killed, the command is too. A change of user resets this, so it comes last.
        system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
        step = "directory"
        if spec["directory"] is not None:
            os.chdir(spec["directory"])
        for number in RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        step = "command"
        os.execvpe(spec["argv"][0], spec["argv"], spec["environment"])
    except OSError as error:
        refusal = {"step": step, "errno": error.errno}
    except Exception as error:
        # Such as a NUL in an argument. In any case, this must not continue as a second shim.
        refusal = {"step": step, "errno": errno.EINVAL, "text": str(error)}
    os.write(pipe, json.dumps(refusal).encode())
    os._exit(127)


class Shim:
    """The parent of one command and the reaper of its descendants."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._decoder = jsonlines.Decoder[dict[str, Any]](json.loads)
        self._main = 0
        self._exited = False
        self._agent_gone = False
        self._killing = False
        self._peak = 0
        self._cgroup: cgroup.Cgroup | None = None
        self._forwards_signals = False

    def run(self) -> None:
        """Run the command that the agent sends; return when no process of it is left."""
        system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)
        messages: list[dict[str, Any]] = []
        while not messages:
            messages = list(self._receive())
        # The agent sends nothing else before the command has started.
        spec = messages[0]
        if "argv" not in spec:
            return
        self._forwards_signals = spec["forwards_signals"]
        awake, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(awake, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A terminal sends these to the whole foreground group; they are meant for the command.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        # The client of a container engine: the engine creates the cgroups of its containers.
        self._cgroup = None if self._forwards_signals else cgroup.create()
        try:
            if not self._start(spec):
                return
            self._supervise(awake)
            usage = self._measure()
        finally:
            if self._cgroup is not None:
                self._cgroup.remove()
        self._send({"ended": usage})
        if self._agent_gone and spec["cleanup_command"]:
            os.execvpe(spec["cleanup_command"][0], spec["cleanup_command"], spec["environment"])

    def _start(self, spec: dict[str, Any]) -> bool:
        read, write = os.pipe()
        self._main = os.fork()
        if not self._main:
            if self._cgroup is not None:
                self._cgroup.join()
            execute(spec, write)
        os.close(write)
        # Only the command holds the ends of its pipes, so that they close when it exits.
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        with open(read, "rb") as pipe:
            refusal = pipe.read()
        if refusal:
            os.waitpid(self._main, 0)
            self._send({"refused": json.loads(refusal)})
            return False
        self._send({"started": self._main})
        return True

    def _supervise(self, awake: int) -> None:
        """Reap children and obey the agent until no process of the tree is left."""
        poll = select.poll()
        poll.register(awake, select.POLLIN)
        poll.register(self._agent, select.POLLIN)
        pause, longest = SAMPLE_INTERVALS
        sample = time.monotonic() + pause
        while self._reap() or self._list():
            # A tree that forks faster than it is found must be searched again and again.
            wait = KILL_INTERVAL if self._killing else max(0.0, sample - time.monotonic())
            for ready, _ in poll.poll(wait * 1000):
                if ready == awake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(awake, 4096)
                elif not self._obey():
                    poll.unregister(self._agent)
            if self._killing:
                self._kill()
            elif time.monotonic() >= sample:
                self._peak = max(self._peak, resident_size(self._list()))
                pause = min(longest, pause * 2)
                sample = time.monotonic() + pause

    def _reap(self) -> bool:
        """Reap all exited children; return whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._main and not self._exited:
                self._exited = True
                code = os.waitstatus_to_exitcode(status)
                self._send({"exited": code, "leftovers": self._leftovers()})

    def _list(self) -> list[int]:
        """Return the pids of the tree."""
        found = set(list_descendants(os.getpid()))
        if self._cgroup is not None:
            found.update(self._cgroup.members())
        return list(found)

    def _leftovers(self) -> list[dict[str, Any]]:
        pids = [pid for pid in self._list() if is_alive(pid)]
        return [{"pid": pid, "command": describe(pid)} for pid in pids]

    def _obey(self) -> bool:
        """Carry out the agent's messages; return whether the agent is still there."""
        for message in self._receive():
            if "list" in message:
                self._send({"leftovers": self._leftovers()})
            if "signal" in message:
                self._signal(message["signal"])
            self._killing = self._killing or "kill" in message
        return not self._agent_gone

    def _signal(self, number: int) -> None:
        pids = self._list()
        if self._forwards_signals:
            pids = [] if self._exited else [self._main]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                # A stopped process would not handle the signal.
                os.kill(pid, signal.SIGCONT)

    def _kill(self) -> None:
        """Kill the tree: stop every process until no new one appears, then kill all."""
        if self._cgroup is not None:
            self._cgroup.kill()
        # There may be no cgroup, or processes with the right to leave it.
        seen: set[int] = set()
        for _ in range(100):
            found = set(self._list())
            if not found - seen:
                break
            for pid in found - seen:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGSTOP)
            seen |= found
        for pid in seen:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _measure(self) -> dict[str, Any]:
        """Return the resources that the tree used, and how often it was killed for memory."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        read, written = disk_usage()
        largest = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        # Not memory.peak of the cgroup, which includes the page cache of files that were read.
        cpu = self._cgroup.cpu_seconds() if self._cgroup is not None else 0.0
        return {
            "usage": {
                "cpu_seconds": max(used.ru_utime + used.ru_stime, cpu),
                "peak_memory": max(self._peak, largest),
                "read_bytes": read,
                "written_bytes": written,
            },
            "oom_kills": self._cgroup.oom_kills() if self._cgroup is not None else 0,
        }

    def _receive(self) -> Iterator[dict[str, Any]]:
        """Yield the messages that have arrived; when the agent is gone, the order to kill."""
        data = self._agent.recv(65536)
        if data:
            yield from self._decoder.feed(data)
        else:
            self._agent_gone = True
            yield {"kill": True}

    def _send(self, message: dict[str, Any]) -> None:
        # If the agent is gone, only the end of the tree matters.
        with contextlib.suppress(OSError):
            self._agent.sendall(jsonlines.encode(message))


def main() -> None:
    """Supervise one command for the agent at the other end of the socket."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        Shim(channel).run()
