"""The process tree of a command: started, signalled, awaited and killed as one.

The command is a child of a shim (`worker.supervisor.shim`), which reports over a socket.
"""

import errno
import json
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from worker import jsonlines, system
from worker.concurrency import open_plain_nursery
from worker.errors import CommandFailed, Unavailable
from worker.supervisor import cgroup, shim


@attrs.frozen
class Usage:
    """Resources used by process trees; values of several commands are added."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes: the largest resident size of the tree that was observed."""
    read_bytes: int = 0
    """Bytes read from disks."""
    written_bytes: int = 0
    """Bytes written to disks."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            peak_memory=max(self.peak_memory, other.peak_memory),
            read_bytes=self.read_bytes + other.read_bytes,
            written_bytes=self.written_bytes + other.written_bytes,
        )


# With -S and -I this package is not on the path, so it is appended after Python's own modules.
SHIM = (
    f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); "
    "from worker.supervisor.shim import main; main()"
)
KILL_TIMEOUT = 5.0
"""Seconds for killed processes to exit; after that they are left to the kernel."""
REAP_INTERVAL = 2.0


class NotStarted(CommandFailed):
    """The command could not be started; the message says why and what to check."""


class ShimDied(Unavailable):
    """The shim was killed, so the exit of the command is unknown."""


@attrs.frozen
class Identity:
    """User and groups that a command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = ""
    home: str = ""


@attrs.frozen
class CommandSpec:
    """A command to start, without a shell."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = attrs.field(repr=False)
    directory: Path | None = None
    identity: Identity | None = None
    session: bool = True
    """Whether it gets a POSIX session of its own; otherwise it shares the agent's terminal."""
    forwards_signals: bool = False
    """Whether it forwards SIGTERM to its children, so that the shim signals it alone."""
    cleanup_command: tuple[str, ...] = ()
    """Run by the shim when the tree has ended and the agent was killed."""

    def to_json(self) -> dict[str, Any]:
        """Return the message that the shim expects."""
        identity = self.identity
        return {
            "argv": list(self.argv),
            "environment": dict(self.environment),
            "directory": None if self.directory is None else str(self.directory),
            "uid": None if identity is None else identity.uid,
            "gid": None if identity is None else identity.gid,
            "groups": [] if identity is None else list(identity.groups),
            "session": self.session,
            "forwards_signals": self.forwards_signals,
            "cleanup_command": list(self.cleanup_command),
        }


@attrs.frozen
class LeftoverProcess:
    """A process that was running after the command had exited."""

    pid: int
    command: str


@attrs.frozen
class Exit:
    """The exit of the command's own process."""

    code: int
    """As in `subprocess`: negative for the signal that ended it."""
    leftovers: tuple[LeftoverProcess, ...]

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended it."""
        return -self.code if self.code < 0 else None


class ProcessTree:
    """A running command with all of its descendants; created by `start`."""

    def __init__(self, channel: trio.SocketStream, pid: int) -> None:
        self._channel = channel
        self.pid = pid
        """The command's process, the leader of its session and group."""
        self.oom_kills = 0
        """How many processes of its cgroup were killed for memory; known when it has ended."""
        self._exit: Exit | None = None
        self._usage: Usage | None = None
        self._leftovers: tuple[LeftoverProcess, ...] = ()
        self._exited = trio.Event()
        self._listed = trio.Event()
        self._ended = trio.Event()

    async def wait_exited(self) -> Exit:
        """Wait for the command itself to exit; raises ShimDied."""
        await self._exited.wait()
        if self._exit is None:
            raise ShimDied("the supervisor shim of the command was killed")
        return self._exit

    async def wait_ended(self) -> Usage:
        """Wait until no process of the tree is left, and return the resources that it used."""
        await self._ended.wait()
        return self._usage or Usage()

    async def list_leftovers(self) -> tuple[LeftoverProcess, ...]:
        """Return the processes of the tree that are running now."""
        if self._ended.is_set():
            return ()
        self._leftovers, self._listed = (), trio.Event()
        await self._send({"list": True})
        await self._listed.wait()
        return self._leftovers

    async def signal(self, number: int) -> None:
        """Send a signal to every process of the tree."""
        await self._send({"signal": number})

    async def kill(self) -> None:
        """Kill every process of the tree, also while it forks."""
        await self._send({"kill": True})

    async def _send(self, message: dict[str, Any]) -> None:
        # A tree that has ended needs no message.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._channel.send_all(jsonlines.encode(message))

    async def _receive(
        self, messages: AsyncIterator[dict[str, Any]], scope: trio.CancelScope
    ) -> None:
        with scope:
            async for message in messages:
                leftovers = tuple(
                    LeftoverProcess(each["pid"], each["command"])
                    for each in message.get("leftovers", ())
                )
                if "exited" in message:
                    self._exit = Exit(message["exited"], leftovers)
                    self._exited.set()
                elif "leftovers" in message:
                    self._leftovers = leftovers
                    self._listed.set()
                elif "ended" in message:
                    self._usage = Usage(**message["ended"]["usage"])
                    self.oom_kills = message["ended"]["oom_kills"]
        for event in (self._exited, self._listed, self._ended):
            event.set()


@asynccontextmanager
async def start(
    spec: CommandSpec, *, stdin: int | None, stdout: int | None, stderr: int | None
) -> AsyncIterator[ProcessTree]:
    """Run a command while the block is open; leaving it kills what is left of the tree.

    The streams are file descriptors, or None for the agent's own. Raises NotStarted.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = await trio.lowlevel.open_process(
            # -I and -S: modules that the user's code or environment adds are not imported.
            [sys.executable, "-I", "-S", "-c", SHIM, str(theirs.fileno())],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(theirs.fileno(),),
            start_new_session=spec.session,
            env={},
        )
    started = start_time(process.pid)
    channel = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    try:
        await channel.send_all(jsonlines.encode(spec.to_json()))
        messages = _messages(channel)
        first: dict[str, Any] = await anext(messages, {})
        if "refused" in first:
            raise NotStarted(explain(spec, first["refused"]))
        if "started" not in first:
            raise ShimDied("the supervisor shim of the command did not start")
        tree = ProcessTree(channel, first["started"])
        async with open_plain_nursery() as nursery:
            # Shielded: the exit of a command is received also while the run is being cancelled.
            receiving = trio.CancelScope(shield=True)
            nursery.start_soon(tree._receive, messages, receiving)
            try:
                yield tree
            finally:
                with trio.move_on_after(KILL_TIMEOUT, shield=True):
                    await tree.kill()
                    await tree.wait_ended()
                receiving.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await channel.aclose()
            with trio.move_on_after(KILL_TIMEOUT):
                await process.wait()
                if process.returncode:
                    # The shim was killed; the agent, a child subreaper, inherited its children.
                    await trio.to_thread.run_sync(_kill_inherited, started)
                    await trio.to_thread.run_sync(cgroup.remove_abandoned, cgroup.own())


async def _messages(channel: trio.SocketStream) -> AsyncIterator[dict[str, Any]]:
    decoder = jsonlines.Decoder[dict[str, Any]](json.loads)
    with suppress(trio.BrokenResourceError):
        async for data in channel:
            for message in decoder.feed(bytes(data)):
                yield message


def explain(spec: CommandSpec, refusal: Mapping[str, Any]) -> str:
    """Return why a command could not be started, and what to check."""
    number, step, name = refusal["errno"], refusal["step"], spec.argv[0]
    reason = refusal.get("text") or os.strerror(number)
    if step == "user":
        return f"cannot change to uid {spec.identity and spec.identity.uid}: {reason}"
    if step == "directory":
        return f"workingDir {spec.directory}: {reason}"
    path = Path(name) if "/" in name else None
    if path is None and (found := shutil.which(name, path=spec.environment.get("PATH"))):
        path = Path(found)
    if path is not None:
        path = (spec.directory or Path()) / path
    if number in (errno.ENOENT, errno.ENOTDIR):
        if path is not None and path.exists():
            return f"{name}: the interpreter in its first line does not exist"
        if path is None:
            return f"{name}: command not found in PATH={spec.environment.get('PATH', '')}"
        return f"{name}: command not found"
    if number == errno.ENOEXEC:
        return f"{name}: not executable here: no binary of this machine, and no #! line"
    if number == errno.EACCES:
        if path is not None and path.is_dir():
            return f"{name}: not executable: it is a folder"
        if path is not None and path.exists() and not path.stat().st_mode & stat.S_IXUSR:
            return f"{name}: not executable: it lacks the x permission (chmod +x)"
        return f"{name}: not executable: {reason}"
    return f"{name}: {reason}"


# --- orphans --------------------------------------------------------------------------------------


def adopt_orphans() -> None:
    """Make this process a child subreaper, the parent of orphaned descendants, where possible."""
    system.prctl(system.PR_SET_CHILD_SUBREAPER, 1)


async def reap_orphans(interval: float = REAP_INTERVAL) -> None:
    """Reap orphaned children of this process until cancelled.

    As PID 1 of a container, the agent becomes the parent of every orphan. Children that are awaited
    are reaped at once, so a zombie that is seen twice is an orphan.
    """
    before: set[int] = set()
    while True:
        await trio.sleep(interval)
        now = {pid for pid in _children() if not shim.is_alive(pid)}
        for pid in now & before:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        before = now


def _children() -> list[int]:
    ours = os.getpid()
    return [pid for pid, parent in shim.list_parents().items() if parent == ours]


def start_time(pid: int) -> int:
    """Return the start time of a process in clock ticks of the kernel; 0 if it is unknown."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
    return 0


def _kill_inherited(started: int) -> None:
    """Kill the children that this process inherited since a shim *started*, and their trees."""
    for _ in range(100):
        inherited = [
            pid for pid in _children() if shim.is_alive(pid) and start_time(pid) >= started > 0
        ]
        if not inherited:
            return
        for pid in inherited:
            for each in (*shim.list_descendants(pid), pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(each, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
