"""The process tree of a command: started, signalled and killed as a whole, through the shim."""

import errno
import os
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from worker import jsonlines
from worker.concurrency import open_plain_nursery
from worker.errors import CommandFailed, Unavailable
from worker.supervisor import cgroup as cgroups
from worker.supervisor import mountpoints, namespace, procfs
from worker.supervisor.isolated import isolated_python
from worker.supervisor.mounts import Mount
from worker.supervisor.users import Identity


@attrs.frozen
class Usage:
    """Resources that a whole process tree used; the sum of several is that of all attempts."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes: the maximum of all samples of the tree's resident memory."""
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


SHIM = isolated_python("worker.supervisor.shim")
KILL_TIMEOUT = 5.0
"""Seconds for a killed tree to exit; then it is left to the kernel."""
REAP_INTERVAL = 2.0


class NotStarted(CommandFailed):
    """The command could not be started; the message says why."""


class MountsRefused(Unavailable):
    """The machine does not permit the mounts of a command any more."""


class ShimDied(Unavailable):
    """The shim of a command was killed, so the exit status of the command is unknown."""


@attrs.frozen
class CommandSpec:
    """A command to be started, without a shell."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = attrs.field(repr=False)
    directory: Path | None = None
    identity: Identity | None = None
    """None for that of the worker."""
    mounts: tuple[Mount, ...] = ()
    """Mounts in a namespace of its own; without any, it shares that of the worker."""
    new_session: bool = True
    """Whether it gets a POSIX session of its own; otherwise it shares the worker's terminal."""
    forwards_signals: bool = False
    """Whether it forwards SIGTERM to its processes itself, as the client of an engine does."""
    cleanup_command: tuple[str, ...] = ()
    """The command that the shim executes after the tree has ended because the worker died."""

    def to_json(self) -> dict[str, Any]:
        """Return the first message to the shim."""
        user = self.identity
        return {
            "argv": list(self.argv),
            "environment": dict(self.environment),
            "directory": None if self.directory is None else str(self.directory),
            "mounts": [each.to_json() for each in self.mounts],
            "uid": None if user is None else user.uid,
            "gid": None if user is None else user.gid,
            "groups": [] if user is None else list(user.groups),
            "new_session": self.new_session,
            "forwards_signals": self.forwards_signals,
            "cleanup_command": list(self.cleanup_command),
        }


@attrs.frozen
class LeftoverProcess:
    """A process that still ran after the command itself had exited."""

    pid: int
    command: str
    """Its command line."""


@attrs.define(eq=False)
class ProcessTree:
    """A running command with all its descendants, created by :func:`start_tree`."""

    _channel: trio.SocketStream
    pid: int
    """The command's process, which leads its session and group."""
    oom_kills: int = 0
    """How many processes the kernel killed for memory, by the command's cgroup; at the end."""
    _returncode: int | None = None
    _usage: Usage = attrs.field(factory=Usage)
    _listed: tuple[LeftoverProcess, ...] = ()
    _exited: trio.Event = attrs.field(factory=trio.Event)
    _list_received: trio.Event = attrs.field(factory=trio.Event)
    _ended: trio.Event = attrs.field(factory=trio.Event)

    async def wait_exit(self) -> int:
        """Wait until the command itself has exited; its descendants may still run.

        Returns its exit code, or the negative number of the signal that killed it, as `subprocess`
        does. Raises ShimDied.
        """
        await self._exited.wait()
        if self._returncode is None:
            raise ShimDied(
                "the supervisor process of the command was killed, so its exit status is unknown"
            )
        return self._returncode

    async def wait_end(self) -> Usage:
        """Wait until no process is left, and return what the whole tree used."""
        await self._ended.wait()
        return self._usage

    async def list_processes(self) -> tuple[LeftoverProcess, ...]:
        """Return the running processes of the tree."""
        if self._ended.is_set():
            return ()
        self._listed, self._list_received = (), trio.Event()
        await self._send({"list": True})
        await self._list_received.wait()
        return self._listed

    async def send_signal(self, number: int) -> None:
        """Send a signal to every process of the tree."""
        await self._send({"signal": number})

    async def send_to_command(self, number: int) -> None:
        """Send a signal to the command itself, and not to its descendants."""
        await self._send({"signal": number, "to": "command"})

    async def kill(self) -> None:
        """Kill every process of the tree, however fast it forks."""
        await self._send({"kill": True})

    async def _send(self, message: dict[str, Any]) -> None:
        # The shim exits with the last process of the tree.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._channel.send_all(jsonlines.encode(message))

    async def _receive(
        self, messages: AsyncIterator[dict[str, Any]], scope: trio.CancelScope
    ) -> None:
        with scope:
            async for message in messages:
                if "exited" in message:
                    self._returncode = message["exited"]
                    self._exited.set()
                elif "processes" in message:
                    self._listed = tuple(LeftoverProcess(**each) for each in message["processes"])
                    self._list_received.set()
                elif "done" in message:
                    self._usage = Usage(**message["done"]["usage"])
                    self.oom_kills = message["done"]["oom_kills"]
        for event in (self._exited, self._list_received, self._ended):
            event.set()


@asynccontextmanager
async def start_tree(
    command: CommandSpec, *, stdin: int | None, stdout: int | None, stderr: int | None
) -> AsyncIterator[ProcessTree]:
    """Run a command while the block lasts; leaving the block kills what is left of its tree.

    The streams are file descriptors, or None for the worker's own. Raises NotStarted, MountsRefused
    and ShimDied.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = await trio.lowlevel.open_process(
            [*SHIM, str(theirs.fileno())],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(theirs.fileno(),),
            start_new_session=command.new_session,
            env={},
        )
    shim_start = procfs.start_time(process.pid)
    channel = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    try:
        await channel.send_all(jsonlines.encode(command.to_json()))
        messages = _messages(channel)
        first: dict[str, Any] = await anext(messages, {})
        if "refused" in first:
            reason = explain(command, first["refused"])
            is_mount = first["refused"]["step"] == "mount"
            raise MountsRefused(reason) if is_mount else NotStarted(reason)
        if "started" not in first:
            raise ShimDied("the supervisor process of the command did not start")
        tree = ProcessTree(channel, first["started"])
        async with open_plain_nursery() as nursery:
            # Shielded: the end of the tree is awaited also while the run is being cancelled.
            receiving = trio.CancelScope(shield=True)
            nursery.start_soon(tree._receive, messages, receiving)
            try:
                yield tree
            finally:
                if not tree._ended.is_set():
                    with trio.move_on_after(KILL_TIMEOUT, shield=True):
                        await tree.kill()
                        await tree.wait_end()
                receiving.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await channel.aclose()
            with trio.move_on_after(KILL_TIMEOUT):
                await process.wait()
                if process.returncode:
                    # The shim was killed; as a subreaper, the worker inherited its children.
                    await trio.to_thread.run_sync(_kill_inherited, shim_start)
                    await trio.to_thread.run_sync(cgroups.remove_abandoned, cgroups.own_path())
                    targets = namespace.outermost(each.to_json() for each in command.mounts)
                    await trio.to_thread.run_sync(mountpoints.remove_abandoned, targets)


async def _messages(channel: trio.SocketStream) -> AsyncIterator[dict[str, Any]]:
    decoder: jsonlines.Decoder[dict[str, Any]] = jsonlines.Decoder()
    with suppress(trio.BrokenResourceError):
        async for data in channel:
            for message in decoder.feed(data):
                yield message


def explain(command: CommandSpec, refusal: Mapping[str, Any]) -> str:
    """Return why a command could not be started, from the step that failed and its errno."""
    number, step, name = refusal["errno"], refusal["step"], command.argv[0]
    why = refusal.get("text") or os.strerror(number)
    if step == "mount":
        return f"private mounts for the command: {why}"
    if step == "user":
        return f"cannot become user {command.identity and command.identity.uid}: {why}"
    if step == "directory":
        return f"workingDir {command.directory}: {why}"
    path = Path(name) if "/" in name else None
    if path is None and (found := shutil.which(name, path=command.environment.get("PATH"))):
        path = Path(found)
    if path is not None:
        path = (command.directory or Path()) / path
    if number in (errno.ENOENT, errno.ENOTDIR):
        if path is not None and path.exists():
            return f"{name}: the interpreter in its first line does not exist"
        if path is None:
            return f"{name}: command not found in PATH={command.environment.get('PATH', '')}"
        return f"{name}: command not found"
    if number == errno.ENOEXEC:
        return f"{name}: not executable: neither a program for this machine nor a script with #!"
    if number == errno.EACCES:
        if path is not None and path.is_dir():
            return f"{name}: not executable: it is a directory"
        if path is not None and path.exists() and not path.stat().st_mode & stat.S_IXUSR:
            return f"{name}: not executable: it lacks the x permission (chmod +x)"
        return f"{name}: not executable: {why}"
    return f"{name}: {why}"


# --- orphaned processes ---------------------------------------------------------------------------


async def reap_orphans() -> None:
    """Reap, forever, exited children of this process that no task waits for.

    As PID 1 of a container, or as a subreaper, the worker becomes the parent of orphans. A child
    that a task waits for is reaped at its exit, so a zombie that two successive scans find is an
    orphan.
    """
    seen: set[int] = set()
    while True:
        await trio.sleep(REAP_INTERVAL)
        zombies = {pid for pid in procfs.children(os.getpid()) if not procfs.is_running(pid)}
        for pid in zombies & seen:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG does not wait
        seen = zombies


def _kill_inherited(since: int) -> None:
    """Kill the children of this process that started at *since* or later, with their descendants.

    *since* is a start time in clock ticks; 0 kills none.
    """
    for _ in range(100):
        inherited = [
            pid
            for pid in procfs.children(os.getpid())
            if procfs.is_running(pid) and procfs.start_time(pid) >= since > 0
        ]
        if not inherited:
            return
        for pid in inherited:
            for each in (*procfs.descendants(pid), pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(each, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
