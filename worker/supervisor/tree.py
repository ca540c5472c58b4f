"""A command and all that comes of it, as one thing that can be started, signalled and ended."""

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

from worker.concurrency import open_plain_nursery
from worker.errors import CommandFailed, Unavailable
from worker.supervisor import cgroup as cgroups
from worker.supervisor import shim as keeper
from worker.supervisor.usage import Usage

# With -S and -I nothing of ours is in its path, so it is told where it comes from; at the end,
# behind all that is Python's own.
KEEPER = (
    f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); "
    "from worker.supervisor.shim import main; main()"
)
UNKILLABLE = 5.0
"""Seconds after which a tree that was killed and did not end is left to the kernel (and logged)."""


class NotStarted(CommandFailed):
    """The command could not be begun; the reason says what to look at."""


class KeeperDied(Unavailable):
    """The keeper of the command was killed, so nobody knows how the command ended."""


@attrs.frozen
class Identity:
    """Whom a command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = ""
    home: str = ""


@attrs.frozen
class Order:
    """A command to be started: no shell in between."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = attrs.field(repr=False)
    directory: Path | None = None
    identity: Identity | None = None
    session: bool = True
    """Whether it gets a POSIX session of its own; without, it shares the agent's terminal."""
    passes_signals_on: bool = False
    """Whether it hands SIGTERM to all that it began, and the keeper therefore must not."""
    farewell: tuple[str, ...] = ()
    """What is run when the tree has ended because the agent was killed, with no time to tidy up."""

    def to_json(self) -> dict[str, Any]:
        """Return the order as the keeper reads it."""
        who = self.identity
        return {
            "argv": list(self.argv),
            "environment": dict(self.environment),
            "directory": None if self.directory is None else str(self.directory),
            "uid": None if who is None else who.uid,
            "gid": None if who is None else who.gid,
            "groups": [] if who is None else list(who.groups),
            "session": self.session,
            "passes_signals_on": self.passes_signals_on,
            "farewell": list(self.farewell),
        }


@attrs.frozen
class Left:
    """A process that was still there after the command had ended."""

    pid: int
    command: str


@attrs.frozen
class Exit:
    """How the command itself ended."""

    code: int
    """As Python has it: negative for the signal that ended it."""
    left: tuple[Left, ...]

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended it."""
        return -self.code if self.code < 0 else None


class Tree:
    """A running command with everything below it; made by :func:`start`."""

    def __init__(self, channel: trio.SocketStream, pid: int) -> None:
        self._channel = channel
        self.pid = pid
        """The command's process, which leads its session and group."""
        self._exit: Exit | None = None
        self._usage: Usage | None = None
        self.memory_kills = 0
        """How many of its processes were killed for memory, as its own cgroup tells at the end."""
        self._left: tuple[Left, ...] = ()
        self._exited = trio.Event()
        self._looked = trio.Event()
        self._ended = trio.Event()

    async def exited(self) -> Exit:
        """Wait until the command itself has ended, and return how."""
        await self._exited.wait()
        if self._exit is None:
            raise KeeperDied("the process that kept the command was killed")
        return self._exit

    async def ended(self) -> Usage:
        """Wait until nothing is left of the tree, and return what all of it used."""
        await self._ended.wait()
        return self._usage or Usage()

    async def left(self) -> tuple[Left, ...]:
        """Return what is left of the tree now."""
        if self._ended.is_set():
            return ()
        self._left, self._looked = (), trio.Event()
        await self._tell({"look": True})
        await self._looked.wait()
        return self._left

    async def signal(self, number: int) -> None:
        """Send a signal to every process of the tree."""
        await self._tell({"signal": number})

    async def kill(self) -> None:
        """Kill every process of the tree, however fast it forks."""
        await self._tell({"kill": True})

    async def _tell(self, message: dict[str, Any]) -> None:
        # A tree that has ended meanwhile has what it was to be told.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._channel.send_all(json.dumps(message).encode() + b"\n")

    async def _listen(
        self, messages: AsyncIterator[dict[str, Any]], scope: trio.CancelScope
    ) -> None:
        with scope:
            async for message in messages:
                left = tuple(Left(each["pid"], each["command"]) for each in message.get("left", ()))
                if "exited" in message:
                    self._exit = Exit(message["exited"], left)
                    self._exited.set()
                elif "left" in message:
                    self._left = left
                    self._looked.set()
                elif "done" in message:
                    self._usage = Usage(**message["done"]["usage"])
                    self.memory_kills = message["done"]["memory_kills"]
        for event in (self._exited, self._looked, self._ended):
            event.set()


@asynccontextmanager
async def start(
    order: Order, *, stdin: int | None, stdout: int | None, stderr: int | None
) -> AsyncIterator[Tree]:
    """Run a command for as long as the block lasts; leaving it kills what is left of the tree.

    The three are file descriptors, or None for the agent's own. Raises :class:`NotStarted`.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = await trio.lowlevel.open_process(
            # -I and -S: what the user's code or environment puts in Python's way is not ours.
            [sys.executable, "-I", "-S", "-c", KEEPER, str(theirs.fileno())],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(theirs.fileno(),),
            start_new_session=order.session,
            env={},
        )
    born = birth(process.pid)
    channel = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    try:
        await channel.send_all(json.dumps(order.to_json()).encode() + b"\n")
        messages = _messages(channel)
        first: dict[str, Any] = await anext(messages, {})
        if "refused" in first:
            raise NotStarted(explain(order, first["refused"]))
        if "started" not in first:
            raise KeeperDied("the process that keeps the command did not start")
        tree = Tree(channel, first["started"])
        async with open_plain_nursery() as nursery:
            # Shielded by itself: the end of a command is heard while the run is cancelled.
            listening = trio.CancelScope(shield=True)
            nursery.start_soon(tree._listen, messages, listening)
            try:
                yield tree
            finally:
                with trio.move_on_after(UNKILLABLE, shield=True):
                    await tree.kill()
                    await tree.ended()
                listening.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await channel.aclose()
            with trio.move_on_after(UNKILLABLE):
                await process.wait()
                if process.returncode:
                    # It was killed, and as a subreaper the agent inherited what it kept.
                    await trio.to_thread.run_sync(_kill_inherited, born)
                    await trio.to_thread.run_sync(cgroups.remove_abandoned, cgroups.own())


async def _messages(channel: trio.SocketStream) -> AsyncIterator[dict[str, Any]]:
    received = b""
    with suppress(trio.BrokenResourceError):
        async for data in channel:
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                yield json.loads(line)


def explain(order: Order, refusal: Mapping[str, Any]) -> str:
    """Return why a command could not be begun, and what to look at."""
    number, step, name = refusal["errno"], refusal["step"], order.argv[0]
    why = refusal.get("text") or os.strerror(number)
    if step == "user":
        return f"cannot become user {order.identity and order.identity.uid}: {why}"
    if step == "directory":
        return f"workingDir {order.directory}: {why}"
    path = Path(name) if "/" in name else None
    if path is None and (found := shutil.which(name, path=order.environment.get("PATH"))):
        path = Path(found)
    if path is not None:
        path = (order.directory or Path()) / path
    if number in (errno.ENOENT, errno.ENOTDIR):
        if path is not None and path.exists():
            return f"{name}: its interpreter, named in its first line, is not there"
        if path is None:
            return f"{name}: command not found in PATH={order.environment.get('PATH', '')}"
        return f"{name}: command not found"
    if number == errno.ENOEXEC:
        return (
            f"{name}: not executable here: no program of this machine, and no #! in its first line"
        )
    if number == errno.EACCES:
        if path is not None and path.is_dir():
            return f"{name}: not executable: it is a folder"
        if path is not None and path.exists() and not path.stat().st_mode & stat.S_IXUSR:
            return f"{name}: not executable: it lacks the x permission (chmod +x)"
        return f"{name}: not executable: {why}"
    return f"{name}: {why}"


# --- the agent as the last parent -----------------------------------------------------------------


def adopt_orphans() -> None:
    """Make this process the parent of what its descendants leave behind, if the system can."""
    keeper.prctl(keeper.PR_SET_CHILD_SUBREAPER, 1)


async def reap_orphans(every: float = 2.0) -> None:
    """Take in, for ever, children of this process that ended and that nobody waits for.

    As PID 1 of a container the agent becomes the parent of whatever is orphaned there. A child that
    somebody here waits for is taken in the moment it ends, so one that is still there at a second
    look is nobody's.
    """
    before: set[int] = set()
    while True:
        await trio.sleep(every)
        now = {pid for pid in _children() if not keeper.alive(pid)}
        for pid in now & before:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG does not wait
        before = now


def _children() -> list[int]:
    ours = os.getpid()
    return [pid for pid, parent in keeper.parents().items() if parent == ours]


def birth(pid: int) -> int:
    """Return when a process began, in the kernel's ticks; 0 if that can't be known."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
    return 0


def _kill_inherited(born: int) -> None:
    """Kill the children, and all below them, that came to this process after a keeper began."""
    for _ in range(100):
        inherited = [pid for pid in _children() if keeper.alive(pid) and birth(pid) >= born > 0]
        if not inherited:
            return
        for pid in inherited:
            for each in (*keeper.descendants(pid), pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(each, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
