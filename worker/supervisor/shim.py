"""The supervisor shim: a small process between the agent and a command, parent of its process tree.

It runs under ``python -I -S`` and imports next to nothing, so that it starts in about ten
milliseconds and stays small. It is a child subreaper: a process that leaves the command's process
group, or loses its parent, becomes a child of the shim. So no process escapes, all are reaped, and
the kernel's totals for the shim's children cover the whole tree. Where a cgroup can be created, it
holds the same processes, also after the shim itself was killed.

Agent and shim exchange JSON lines over the socket whose file descriptor is the shim's argument:

    agent to shim
        a command, see ``CommandSpec``   start it; the first message
        ``{"ping": true}``               reply, since a stopped shim cannot supervise
        ``{"signal": N}``                send signal N to all processes of the tree
        ``{"signal": N, "to": "command"}``  send signal N to the command itself
        ``{"kill": true}``               kill all processes of the tree
    shim to agent
        ``{"started": PID, "cgroup": PATH}``  the command runs; the path is null without a cgroup
        ``{"refused": {...}}``           the command could not start: step, errno and text
        ``{"exited": CODE}``             the command itself exited; its descendants may still run
        ``{"pong": true}``               reply to ``ping``
        ``{"done": {...}}``              no process is left: resource usage; the last message

The command may run as the same user, so the shim denies it access to its memory and its socket. It
can still stop or kill the shim: then the agent, the next subreaper, ends the tree.

If the agent dies, the socket closes and the shim kills the tree: a killed worker leaves no command
running.
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
import warnings  # noqa: F401 - os.execvpe imports it, after the change of user, who may not read it
from collections.abc import Collection
from typing import Any, NoReturn

from worker import jsonlines
from worker.supervisor import cgroup as cgroups
from worker.supervisor import mountpoints, namespace, procfs, sweep
from worker.supervisor.sweep import Sweep
from worker.system import (
    allow_access,
    become_subreaper,
    forbid_new_privileges,
    keep_private,
    set_parent_death_signal,
)

FIRST_SAMPLE, SAMPLE_INTERVAL = 0.05, 1.0
"""Seconds between two samples of the tree's memory: at first, doubling up to the second value."""
KILL_INTERVAL = 0.01
"""Seconds between two rounds of killing at first: a tree that forks fast may need many.

The interval doubles up to that of samples: a process may be stuck in the kernel.
"""


class Shim:
    """The parent of one command and of its whole process tree."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._decoder: jsonlines.Decoder[dict[str, Any]] = jsonlines.Decoder()
        self._pid = 0
        """The process id of the command."""
        self._exited = False
        self._agent_closed = False
        self._killing = False
        self._peak_memory = 0
        self._cgroup: cgroups.Cgroup | None = None
        self._tree = Sweep(os.getpid())
        self._disk_io = procfs.open_disk_io()
        self._forwards_signals = False
        self._handled_at_start: set[int] = set()
        """The signals that this process ignores, and its parent did not."""

    def run(self) -> None:
        """Run the command that the agent sends, until no process of its tree is left."""
        become_subreaper()
        keep_private()
        received = self._receive()
        if not received:
            return
        # The agent sends nothing else before it has the reply.
        command = received[0]
        self._forwards_signals = command["forwards_signals"]
        wake_fd, signal_fd = os.pipe()
        os.set_blocking(signal_fd, False)
        os.set_blocking(wake_fd, False)
        signal.set_wakeup_fd(signal_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A terminal sends these to its whole foreground group; they are meant for the command.
        for number in (signal.SIGINT, signal.SIGQUIT):
            if signal.signal(number, signal.SIG_IGN) != signal.SIG_IGN:
                self._handled_at_start.add(number)
        # The container of an engine's client has cgroups that the engine creates.
        self._cgroup = None if self._forwards_signals else cgroups.create()
        self._tree = Sweep(os.getpid(), group=self._cgroup)
        points = mountpoints.MountPoints()
        try:
            # Outside of the namespace, where they can be removed in the end.
            for path in namespace.outermost(command["mounts"]):
                with contextlib.suppress(OSError):
                    points.acquire(path)
            if not self._start(command):
                return
            self._supervise(wake_fd)
            done = self._usage()
        finally:
            if self._cgroup is not None:
                self._cgroup.remove()
            points.release()
        self._send({"done": done})
        if self._agent_closed and (cleanup := command["cleanup_command"]):
            os.execvpe(cleanup[0], cleanup, command["environment"])

    def _start(self, command: dict[str, Any]) -> bool:
        """Start the command, report whether it started, and return the same."""
        read_fd, refusal_fd = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            if self._cgroup is not None:
                self._cgroup.join()
            execute(command, refusal_fd, self._handled_at_start)
        os.close(refusal_fd)
        # Only the command holds the ends of its pipes, so that they close when it exits.
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        with open(read_fd, "rb") as pipe:
            refusal = pipe.read()
        if refusal:
            os.waitpid(self._pid, 0)
            self._send({"refused": json.loads(refusal)})
            return False
        self._send({"started": self._pid, "cgroup": self._cgroup and self._cgroup.path})
        return True

    def _supervise(self, wake_fd: int) -> None:
        """Reap processes and handle messages until no process of the tree is left."""
        poll = select.poll()
        poll.register(wake_fd, select.POLLIN)
        poll.register(self._agent, select.POLLIN)
        interval, kill_interval = FIRST_SAMPLE, KILL_INTERVAL
        next_sample = time.monotonic() + interval
        # Every descendant is below a child, so without a child there is none.
        while self._reap() or (self._cgroup is not None and self._cgroup.is_populated()):
            timeout = kill_interval if self._killing else max(0.0, next_sample - time.monotonic())
            for ready, _ in poll.poll(timeout * 1000):
                if ready == wake_fd:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_fd, 4096)
                    continue
                for message in self._receive():
                    self._handle(message)
                if self._agent_closed:
                    self._killing = True
                    poll.unregister(self._agent)
            if self._killing:
                self._tree.kill()
                kill_interval = min(SAMPLE_INTERVAL, kill_interval * 2)
            elif time.monotonic() >= next_sample:
                resident = procfs.resident_bytes(self._tree.find())
                self._peak_memory = max(self._peak_memory, resident)
                interval = min(SAMPLE_INTERVAL, interval * 2)
                next_sample = time.monotonic() + interval

    def _reap(self) -> bool:
        """Reap every child that has exited, and return whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid and not self._exited:
                self._exited = True
                self._send({"exited": os.waitstatus_to_exitcode(status)})

    def _handle(self, message: dict[str, Any]) -> None:
        if "ping" in message:
            self._send({"pong": True})
        if "signal" in message:
            self._signal(message["signal"], only_command=message.get("to") == "command")
        if "kill" in message:
            self._killing = True

    def _signal(self, number: int, *, only_command: bool) -> None:
        if not self._forwards_signals and not only_command:
            self._tree.signal(number)
        elif not self._exited:
            sweep.send(self._pid, number)

    def _usage(self) -> dict[str, Any]:
        """Return what the tree used, and how many of its processes were killed for memory."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        read, written = procfs.disk_io(self._disk_io)
        largest = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        # Not the cgroup's memory.peak: it includes the page cache of every file that was read.
        of_cgroup = self._cgroup.cpu_seconds() if self._cgroup is not None else 0.0
        return {
            "usage": {
                "cpu_seconds": max(used.ru_utime + used.ru_stime, of_cgroup),
                "peak_memory": max(self._peak_memory, largest),
                "read_bytes": read,
                "written_bytes": written,
            },
            "oom_kills": self._cgroup.oom_kills() if self._cgroup is not None else 0,
        }

    def _receive(self) -> list[dict[str, Any]]:
        """Wait for messages of the agent; return none, and note it, if the agent is gone."""
        # An agent that dies before it has read all replies resets the connection.
        with contextlib.suppress(ConnectionResetError):
            while data := self._agent.recv(65536):
                if messages := self._decoder.feed(data):
                    return messages
        self._agent_closed = True
        return []

    def _send(self, message: dict[str, Any]) -> None:
        # Without an agent, the shim still has to terminate the tree.
        with contextlib.suppress(OSError):
            self._agent.sendall(jsonlines.encode(message))


def execute(command: dict[str, Any], refusal_fd: int, handled: Collection[int]) -> NoReturn:
    """Replace this forked child by the command; on an error, write step and errno to a pipe.

    The command has the default action for the signals *handled*, and for those that Python ignores.
    """
    step = "session"
    try:
        if command["new_session"]:
            os.setsid()
        step = "mount"
        if command["mounts"]:
            resolved, refused = namespace.resolve(command["mounts"])
            # Only a process that is not private may write the maps of its user namespace.
            allow_access()
            namespace.enter()
            if refused := {**namespace.mount(resolved), **refused}:
                raise ValueError("; ".join(f"{path}: {why}" for path, why in refused.items()))
        elif command["uid"]:
            # What another user mounts, for example by fusermount, must end with the command.
            with contextlib.suppress(OSError):
                namespace.enter()
        step = "user"
        if command["uid"] is not None:
            os.setgroups(command["groups"])
            os.setresgid(command["gid"], command["gid"], command["gid"])
            os.setresuid(command["uid"], command["uid"], command["uid"])
        if command["no_new_privileges"]:
            forbid_new_privileges()
        # If the shim is killed, so is the command. A change of user would clear this setting.
        set_parent_death_signal(signal.SIGKILL)
        step = "directory"
        if command["directory"] is not None:
            os.chdir(command["directory"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, *handled):
            signal.signal(number, signal.SIG_DFL)
        step = "command"
        os.execvpe(command["argv"][0], command["argv"], command["environment"])
    except OSError as error:
        refusal = {"step": step, "errno": error.errno}
    except Exception as error:
        # For example a NUL byte in an argument, or "=" in the name of a variable. After any error
        # this process must exit, since it would continue as a second shim.
        refusal = {"step": step, "errno": errno.EINVAL, "text": str(error)}
    os.write(refusal_fd, json.dumps(refusal).encode())
    os._exit(127)


def main() -> None:
    """Supervise one command for the agent at the other end of the socket."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        Shim(channel).run()
