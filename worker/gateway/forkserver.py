"""The parent of the gateway's processes: it forks those that serve, and watches over them.

It imports everything, has no threads and freezes its garbage collector before it forks, so that
the pages of the imported modules are shared by all. The children accept from one listening socket.
Each has a control socket, whose end tells the parent that a child is gone, and a child that its
parent is.
"""

import gc
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

import attrs

from worker import telemetry
from worker.errors import WorkerError
from worker.gateway import child
from worker.gateway.counters import Counters
from worker.gateway.messages import (
    ALIVE_EVERY,
    Alive,
    Count,
    Counted,
    Drain,
    Drained,
    Failed,
    GatewayPlan,
    Message,
    Ready,
    Serve,
    Serving,
    Settled,
    decode,
    encode,
)
from worker.system import keep_private

BACKLOG = 1024
OPEN_FILES = 1 << 16


class ChildDied(WorkerError):
    """A child ended, or said that it is about to, before it had settled."""

    def __init__(self, reason: str, errno: int | None = None) -> None:
        super().__init__(reason)
        self.errno = errno


class AgentGone(Exception):
    """Nobody is left who could want this gateway."""


@attrs.define
class Line:
    """One end of a pipe or socket that carries messages, a line each."""

    descriptor: int
    received: bytes = b""

    def read(self) -> Iterator[Message]:
        """Yield the messages that have come, of which there is at least a part.

        Raises :class:`EOFError` when the other end is closed.
        """
        data = os.read(self.descriptor, 65536)
        if not data:
            raise EOFError
        *lines, self.received = (self.received + data).split(b"\n")
        yield from map(decode, lines)

    def write(self, message: Message) -> None:
        """Send *message*; that the other end may be gone is found out when it is read."""
        try:
            data = encode(message)
            while data:
                data = data[os.write(self.descriptor, data) :]
        except BrokenPipeError:
            pass


@attrs.define
class Child:
    """A forked process, as its parent knows it."""

    pid: int
    line: Line
    ready: bool = False
    settled: bool = False
    heard: float = 0.0
    """When it last sent a message, by the monotonic clock."""

    def reap(self) -> str:
        """Wait for the process to end; return how it did."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"process {self.pid} was killed by {signal.Signals(-code).name}"
        return f"process {self.pid} ended with status {code}"


def main() -> NoReturn:
    """Run the parent until its agent has drained it, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_private()
    _allow_connections()
    orders, reports = _take_standard_streams()
    gc.collect()
    gc.freeze()
    gc.enable()
    family = Family(orders)
    try:
        request = family.wait_for_plan()
        plan = request.plan
        telemetry.configure(plan.log_style, plan.log_level)
        telemetry.bind_job(plan.job)
        telemetry.hide([*plan.secrets, *([plan.auth.secret.encode()] if plan.auth else [])])
        sys.excepthook = telemetry.log_uncaught
        host, port = family.start(plan)
        reports.write(Serving(request.id, host, port))
        reports.write(family.watch(reports))
    except AgentGone:
        pass
    except (WorkerError, OSError) as error:
        reports.write(Failed(str(error), getattr(error, "errno", None)))
    finally:
        family.kill()
    sys.exit(0)


class Family:
    """The children of this process, and the line on which it is told what to do with them."""

    def __init__(self, orders: Line) -> None:
        self._orders = orders
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(orders.descriptor, selectors.EVENT_READ)

    def wait_for_plan(self) -> Serve:
        """Return the request to serve when it comes."""
        try:
            while True:
                for message in self._orders.read():
                    if isinstance(message, Serve):
                        return message
        except EOFError:
            raise AgentGone from None

    def start(self, plan: GatewayPlan) -> tuple[str, int]:
        """Listen, fork, and return host and port once every child accepts connections."""
        listener = _listen(plan.host, plan.port)
        self._counters = Counters(plan.buckets, plan.processes)
        for number in range(plan.processes):
            self._fork(plan, listener, number)
        host, port = listener.getsockname()[:2]
        # The children have it; when they stop accepting, nobody must seem to.
        listener.close()
        while not all(each.ready for each in self._children):
            self._step(None)
        return host, port

    def watch(self, reports: Line) -> Drained:
        """Wait for the order to drain, carry it out, and return what went through.

        Until then, say on *reports* what has gone through as often as that is asked.
        """
        drain: Drain | None = None
        while not all(each.settled for each in self._children):
            for order in self._step(None if drain is None else ALIVE_EVERY):
                if isinstance(order, Count):
                    reports.write(Counted(order.id, self._counters.total()))
                if isinstance(order, Drain) and drain is None:
                    drain = order
                    for each in self._children:
                        each.heard = time.monotonic()
                        each.line.write(order)
            if drain is not None:
                reports.write(Alive())
                self._check_alive(drain.silence)
        while self._children:
            self._children.pop().reap()
        assert drain is not None
        return Drained(drain.id, self._counters.total())

    def _check_alive(self, limit: float) -> None:
        """Raise ChildDied for a child that was silent for more than *limit* seconds."""
        for each in self._children:
            silent = time.monotonic() - each.heard
            if not each.settled and silent > limit:
                raise ChildDied(
                    f"process {each.pid} gave no sign of life for {silent:.0f} s while it drained "
                    "(stopped, or hanging)"
                )

    def kill(self) -> None:
        """End every child that is left."""
        for each in self._children:
            os.kill(each.pid, signal.SIGKILL)
            each.reap()
        self._children.clear()

    def _fork(self, plan: GatewayPlan, listener: socket.socket, number: int) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            # What the parent holds must not live on in the child: an inherited end would keep a
            # brother or the agent from seeing that the parent is gone.
            ours.close()
            self._selector.close()
            os.close(self._orders.descriptor)
            for brother in self._children:
                os.close(brother.line.descriptor)
            self._counters.become(number)
            child.run(plan, listener, theirs, number=number, counters=self._counters)
        theirs.close()
        new = Child(pid, Line(ours.detach()))
        self._children.append(new)
        self._selector.register(new.line.descriptor, selectors.EVENT_READ, new)

    def _step(self, timeout: float | None) -> list[Message]:
        """Take in what has come, within *timeout* seconds; return the agent's requests."""
        orders: list[Message] = []
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                try:
                    orders.extend(self._orders.read())
                except EOFError:
                    raise AgentGone from None
            else:
                self._hear(key.data)
        return orders

    def _hear(self, speaker: Child) -> None:
        try:
            for message in speaker.line.read():
                speaker.heard = time.monotonic()
                match message:
                    case Ready():
                        speaker.ready = True
                    case Settled():
                        speaker.settled = True
                    case Failed(reason, errno):
                        raise ChildDied(reason, errno)
        except (EOFError, ConnectionResetError):
            if speaker.settled:
                self._selector.unregister(speaker.line.descriptor)
                return
            self._children.remove(speaker)
            raise ChildDied(speaker.reap()) from None


def _allow_connections() -> None:
    """Raise the limit on open files as far as it may be: a client's pool may hold thousands."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _take_standard_streams() -> tuple[Line, Line]:
    """Return the agent's two pipes, and put the null device in their place.

    So no child inherits them by number, and nothing that prints can damage what is said on them.
    """
    orders, reports = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    return Line(orders), Line(reports)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise WorkerError(f"cannot listen on {host}:{port}: {error.strerror}") from error
