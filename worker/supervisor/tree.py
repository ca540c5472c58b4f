"""The process tree of a command: started, signalled and killed as a whole, through the shim."""

import errno
import os
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker import jsonlines
from worker.concurrency import open_plain_nursery
from worker.errors import CommandFailed, Unavailable
from worker.supervisor import cgroup as cgroups
from worker.supervisor import mountpoints, namespace, procfs
from worker.supervisor.command_lines import command_lines
from worker.supervisor.isolated import isolated_python
from worker.supervisor.mounts import Mount
from worker.supervisor.sweep import Sweep
from worker.supervisor.users import Identity
from worker.text import join_first


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
START_TIMEOUT = 300.0
"""Seconds for a command to start; its program and its folder may be on a slow file system."""
PING_INTERVAL = 5.0
"""Seconds between two pings of the shim."""
MAX_SILENT = 6
"""Pings without a reply after which the shim counts as hanging. They are counted, because a machine
that was suspended must not look like a shim that was silent."""
KILL_TIMEOUT = 30.0
"""Seconds for the shim to kill its tree and exit; then the agent kills both."""
SWEEP_TIMEOUT = 30.0
"""Seconds for what a killed shim has left to exit; then the command has survivors."""
REAP_INTERVAL = 2.0
UNKNOWN = 1 << 63
"""A start time that no process has, where start times are unknown."""
MAX_NAMES = 10
"""Survivors that an error names."""


class NotStarted(CommandFailed):
    """The command could not be started; the message says why."""


class MountsRefused(Unavailable):
    """The machine does not permit the mounts of a command any more."""


class ShimDied(Unavailable):
    """The shim of a command was killed, so the exit status of the command is unknown."""


@attrs.frozen
class LeftoverProcess:
    """A process that still ran after the command itself had exited."""

    pid: int
    command: str
    """Its command line."""

    def __str__(self) -> str:
        return f"{self.pid} ({self.command})"


class SurvivingProcesses(Unavailable):
    """Processes of a command cannot be killed, so its output may still change."""

    def __init__(self, processes: tuple[LeftoverProcess, ...]) -> None:
        found = join_first([str(each) for each in processes], MAX_NAMES)
        super().__init__(
            f"processes of the command still run after SIGKILL: {found}. Nothing is committed, "
            "since they may change the output"
        )
        self.processes = processes


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

    @property
    def no_new_privileges(self) -> bool:
        """Whether no program may give the command more rights than its user has.

        A setuid program trusts what is in folders such as ``/etc``, and a read-only mount, which is
        that of a secret, can cover any of them.
        """
        is_unprivileged = self.identity is not None and self.identity.uid != 0
        return is_unprivileged and not all(each.writable for each in self.mounts)

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
            "no_new_privileges": self.no_new_privileges,
            "groups": [] if user is None else list(user.groups),
            "new_session": self.new_session,
            "forwards_signals": self.forwards_signals,
            "cleanup_command": list(self.cleanup_command),
        }


@attrs.define(eq=False)
class ProcessTree:
    """A running command with all its descendants, created by :func:`start_tree`.

    Every wait ends: `_watch` kills a shim that does not reply.
    """

    _command: CommandSpec
    _process: trio.Process
    """The shim."""
    _channel: trio.SocketStream
    _since: int
    """The start time of the shim, from `procfs.start_time`: what it starts is not older."""
    pid: int = 0
    """The command's process, which leads its session and group."""
    _group: cgroups.Cgroup | None = None
    """The command's cgroup, which the shim owns."""
    oom_kills: int = 0
    """How many processes the kernel killed for memory, by the command's cgroup; at the end."""
    _returncode: int | None = None
    usage: Usage = attrs.field(factory=Usage)
    """What the whole tree used; at the end."""
    _is_empty: bool = False
    """Whether the shim has reported that no process is left."""
    _is_over: bool = False
    """Whether `end` has been called."""
    _replied: bool = True
    """Whether the shim has replied to the last ping."""
    _is_silent: bool = False
    """Whether the shim was killed because it did not reply."""
    _exited: trio.Event = attrs.field(factory=trio.Event)
    _ended: trio.Event = attrs.field(factory=trio.Event)
    _sending: trio.Lock = attrs.field(factory=trio.Lock)

    async def start(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        """Start the command; raises NotStarted, MountsRefused and ShimDied."""
        first: dict[str, Any] = {}
        with trio.move_on_after(START_TIMEOUT) as starting, suppress(trio.BrokenResourceError):
            async with open_plain_nursery() as nursery:
                nursery.start_soon(self._continue)
                await self._channel.send_all(jsonlines.encode(self._command.to_json()))
                first = await anext(messages, {})
                nursery.cancel_scope.cancel()
        if starting.cancelled_caught:
            raise ShimDied(f"the command did not start within {START_TIMEOUT:g} s")
        if "refused" in first:
            reason = explain(self._command, first["refused"])
            is_mount = first["refused"]["step"] == "mount"
            raise MountsRefused(reason) if is_mount else NotStarted(reason)
        if "started" not in first:
            raise ShimDied("the supervisor process of the command did not start")
        self.pid = first["started"]
        if (path := first["cgroup"]) is not None:
            self._group = cgroups.Cgroup(path)

    async def _continue(self) -> None:
        """Continue the shim again and again: the command may stop it while it starts."""
        while True:
            await trio.sleep(PING_INTERVAL)
            self._process.send_signal(signal.SIGCONT)

    async def wait_exit(self) -> int:
        """Wait until the command itself has exited; its descendants may still run.

        Returns its exit code, or the negative number of the signal that killed it, as `subprocess`
        does. Raises ShimDied.
        """
        await self._exited.wait()
        if self._returncode is None:
            how = "was killed"
            if self._is_silent:
                how = f"sent no reply for {PING_INTERVAL * MAX_SILENT:.0f} s (stopped, or hanging)"
            raise ShimDied(
                f"the supervisor process of the command {how}, so its exit status is unknown"
            )
        return self._returncode

    async def wait_end(self) -> bool:
        """Wait until no process is left, or the shim has died; return whether none is left."""
        await self._ended.wait()
        return self._is_empty

    async def list_processes(self) -> tuple[LeftoverProcess, ...]:
        """Return the running processes of the tree."""
        return await in_thread(self._list_processes)

    def _list_processes(self) -> tuple[LeftoverProcess, ...]:
        shim = self._process.pid
        # Both below the shim and, after its death, inherited.
        pids = Sweep(shim, group=self._group).find() | self._sweep(spared=shim).find()
        found = command_lines(pid for pid in sorted(pids) if procfs.is_running(pid))
        return tuple(LeftoverProcess(pid, text) for pid, text in found.items())

    async def send_signal(self, number: int) -> None:
        """Send a signal to every process of the tree."""
        # The command may have stopped the shim.
        self._process.send_signal(signal.SIGCONT)
        await self._send({"signal": number})

    async def send_to_command(self, number: int) -> None:
        """Send a signal to the command itself, and not to its descendants."""
        await self._send({"signal": number, "to": "command"})

    async def end(self) -> None:
        """Kill every process of the tree, however fast it forks; raises SurvivingProcesses."""
        if self._is_over:
            return
        self._is_over = True
        with trio.move_on_after(KILL_TIMEOUT):
            self._process.send_signal(signal.SIGCONT)
            if self.pid and not self._ended.is_set():
                await self._send({"kill": True})
                await self._ended.wait()
            # Also when the channel is closed, the shim kills its tree before it exits.
            await self._channel.aclose()
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            with trio.move_on_after(KILL_TIMEOUT):
                await self._process.wait()
        await self._channel.aclose()
        # The exit status alone does not tell: `reap_orphans` may have reaped a killed shim.
        if self._process.returncode != 0 or (self.pid and not self._is_empty):
            await in_thread(self._end_inherited)

    def _end_inherited(self) -> None:
        """Kill the children that this process, as a subreaper, has inherited from a killed shim."""
        if found := self._sweep().finish(SWEEP_TIMEOUT):
            raise SurvivingProcesses(tuple(LeftoverProcess(*each) for each in found.items()))
        cgroups.remove_abandoned(cgroups.own_path())
        mounts = (each.to_json() for each in self._command.mounts)
        mountpoints.remove_abandoned(namespace.outermost(mounts))

    def _sweep(self, *, spared: int = 0) -> Sweep:
        return Sweep(os.getpid(), group=self._group, since=self._since, spared=spared)

    async def _send(self, message: dict[str, Any]) -> None:
        # The shim exits with the last process of the tree.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            # A shim that is stopped reads nothing.
            with trio.move_on_after(PING_INTERVAL * MAX_SILENT):
                async with self._sending:
                    await self._channel.send_all(jsonlines.encode(message))

    async def _receive(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        async for message in messages:
            if "pong" in message:
                self._replied = True
            elif "exited" in message:
                self._returncode = message["exited"]
                self._exited.set()
            elif "done" in message:
                self.usage = Usage(**message["done"]["usage"])
                self.oom_kills = message["done"]["oom_kills"]
                self._is_empty = True

    async def _watch(self) -> None:
        """Return when the shim does not reply any more, after killing it."""
        silent = 0
        while silent < MAX_SILENT:
            if self._replied:
                silent, self._replied = 0, False
                await self._send({"ping": True})
            await trio.sleep(PING_INTERVAL)
            silent += 1
        self._is_silent = True
        self._process.kill()

    async def supervise(
        self, messages: AsyncIterator[dict[str, Any]], scope: trio.CancelScope
    ) -> None:
        """Receive the messages of the shim until it exits, or does not reply any more."""
        with scope:
            async with trio.open_nursery() as nursery:

                async def until_end(task: Awaitable[None]) -> None:
                    await task
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_end, self._receive(messages))
                nursery.start_soon(until_end, self._watch())
        self._exited.set()
        self._ended.set()


@asynccontextmanager
async def start_tree(
    command: CommandSpec, *, stdin: int | None, stdout: int | None, stderr: int | None
) -> AsyncIterator[ProcessTree]:
    """Run a command while the block lasts; leaving the block kills what is left of its tree.

    The streams are file descriptors, or None for the worker's own. Raises NotStarted,
    MountsRefused, ShimDied and SurvivingProcesses.
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
    since = procfs.start_time(process.pid) or UNKNOWN
    channel = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    tree = ProcessTree(command, process, channel, since)
    try:
        messages = _messages(channel)
        await tree.start(messages)
        async with open_plain_nursery() as nursery:
            # Shielded: the end of the tree is awaited also while the run is being cancelled.
            supervising = trio.CancelScope(shield=True)
            nursery.start_soon(tree.supervise, messages, supervising)
            try:
                yield tree
            finally:
                try:
                    with trio.CancelScope(shield=True):
                        await tree.end()
                finally:
                    supervising.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await tree.end()


async def _messages(channel: trio.SocketStream) -> AsyncIterator[dict[str, Any]]:
    decoder: jsonlines.Decoder[dict[str, Any]] = jsonlines.Decoder()
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
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
