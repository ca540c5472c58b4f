"""The gateway's processes: a parent that forks and supervises the children that serve.

The parent imports everything, has no threads and freezes its garbage collector before it forks, so
that the children share the pages of the imported modules. They accept connections from one
listening socket. Each child has a control socket; its end tells the parent that the child died, and
a child that the parent died.
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
from functools import partial
from typing import NoReturn

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker import hooks, jsonlines, telemetry
from worker.errors import WorkerError
from worker.gateway.application import S3Application, open_application
from worker.gateway.connections import Limits
from worker.gateway.counters import Counters
from worker.gateway.messages import (
    HEARTBEAT,
    Count,
    Counted,
    Drain,
    Drained,
    Failed,
    Flushed,
    GatewayPlan,
    Heartbeat,
    Message,
    Ready,
    Serve,
    Serving,
    decode,
    encode,
)
from worker.gateway.server import Draining, serve
from worker.redaction import hide

RESPONSE_TIMEOUT = 1.0
"""Seconds for responses to be sent, in particular to writes that the deadline cut off."""
STALLED_TIMEOUT = 1.0
"""Seconds for requests that the deadline of a drain cancelled to end, before they are abandoned."""


def run_child(
    plan: GatewayPlan,
    listener: socket.socket,
    control: socket.socket,
    *,
    number: int,
    counters: Counters,
) -> NoReturn:
    """Serve until drained, flush, and exit the process; exit at once if the parent has."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        application = open_application(plan, number=number, counters=counters)
        trio.run(_serve, application, plan, listener, control)
    except BaseException as error:
        if not isinstance(error, WorkerError | OSError):
            telemetry.logger().error("gateway.child_failed", exc_info=error)
        control.setblocking(True)
        control.sendall(encode(Failed(str(error) or repr(error), getattr(error, "errno", None))))
    finally:
        _exit(1)


async def _serve(
    application: S3Application, plan: GatewayPlan, listener: socket.socket, control: socket.socket
) -> None:
    channel = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    draining, served = Draining(), trio.Event()
    forward, requests = trio.open_memory_channel[Drain](1)

    limits = Limits(stall=plan.gateway.stall_timeout)

    async def accept(*, task_status: trio.TaskStatus[None]) -> None:
        await serve(
            application,
            listener,
            plan.certificate,
            draining,
            limits=limits,
            task_status=task_status,
        )
        served.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive_drain, channel, forward)
            await nursery.start(accept)
            await channel.send_all(encode(Ready()))
            drain = await requests.receive()
            async with trio.open_nursery() as flushing:
                flushing.start_soon(_send_heartbeats, channel)
                deadline = trio.current_time() + drain.deadline
                # Connections are accepted meanwhile: a late writer receives the reason.
                cut_off = await application.writes.drain(drain.deadline)
                draining.deadline = max(deadline - trio.current_time(), RESPONSE_TIMEOUT)
                draining.requested.set()
                # A client that stalls may hold the server beyond the deadline; it is abandoned.
                with trio.move_on_after(draining.deadline + STALLED_TIMEOUT):
                    await served.wait()
                await in_thread(application.flush)
                flushing.cancel_scope.cancel()
            await channel.send_all(encode(Flushed(cut_off)))
            _exit(0)
    except BaseExceptionGroup as group:
        # Only the first error is reported; the others follow from it.
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


async def _send_heartbeats(channel: trio.SocketStream) -> None:
    """Send heartbeats while requests finish and a thread flushes the stage."""
    while True:
        await channel.send_all(encode(Heartbeat()))
        await trio.sleep(HEARTBEAT)


async def _receive_drain(
    channel: trio.SocketStream, requests: trio.MemorySendChannel[Drain]
) -> None:
    """Forward the parent's request to drain; exit when the parent has exited."""
    decoder = jsonlines.Decoder[Message](decode)
    async for data in channel:
        for message in decoder.feed(bytes(data)):
            if isinstance(message, Drain):
                await requests.send(message)
    _exit(1)


def _exit(status: int) -> NoReturn:
    # Not by unwinding: the stack of the parent, from which this process was forked, is above this
    # frame, and neither a thread nor a stalled client may delay the exit.
    sys.stderr.flush()
    os._exit(status)


EXIT_TIMEOUT = 5.0
"""Seconds for the processes that have flushed to exit."""
EXIT_INTERVAL = 0.005
"""Seconds between two looks whether it has."""
BACKLOG = 1024
OPEN_FILES = 1 << 16


class ChildDied(WorkerError):
    """A child exited, hangs, or reported an error, before it had flushed."""

    def __init__(self, reason: str, errno: int | None = None) -> None:
        super().__init__(reason)
        self.errno = errno


class AgentGone(Exception):
    """The agent has exited, so the gateway is not needed any more."""


@attrs.frozen
class Channel:
    """One end of a pipe or socket that carries messages."""

    descriptor: int
    _decoder: jsonlines.Decoder[Message] = attrs.field(factory=partial(jsonlines.Decoder, decode))

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have arrived, at least a part of one; raises EOFError."""
        data = os.read(self.descriptor, 65536)
        if not data:
            raise EOFError
        yield from self._decoder.feed(data)

    def send(self, message: Message) -> None:
        """Send *message*; the death of the other end is noticed when it is read from."""
        try:
            data = encode(message)
            while data:
                data = data[os.write(self.descriptor, data) :]
        except BrokenPipeError:
            pass


@attrs.define
class Child:
    """A forked process."""

    pid: int
    channel: Channel
    ready: bool = False
    flushed: bool = False
    cut_off: tuple[str, ...] = ()
    """Writes that had not ended at the deadline of the drain."""
    received: float = 0.0
    """The monotonic time of its last message."""

    def end(self, deadline: float) -> None:
        """Wait for the process, which has nothing left to do, to exit; kill it after *deadline*."""
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                # It is stopped. What it has written is durable.
                os.kill(self.pid, signal.SIGKILL)
                self.reap()
                return
            time.sleep(EXIT_INTERVAL)

    def reap(self) -> str:
        """Wait for the process to exit and return how it did."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"process {self.pid} was killed by {signal.Signals(-code).name}"
        return f"process {self.pid} exited with status {code}"


def main() -> NoReturn:
    """Run the parent until its agent has drained it or has exited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hooks.install()
    _raise_open_file_limit()
    # Children must not inherit the pipes of the agent by number, nor print into them.
    requests, replies = Channel(os.dup(0)), Channel(os.dup(1))
    with open(os.devnull, "r+b") as null:
        os.dup2(null.fileno(), 0)
        os.dup2(null.fileno(), 1)
    gc.collect()
    gc.freeze()
    gc.enable()
    server = ForkServer(requests, replies)
    try:
        request = server.wait_for_plan()
        plan = request.plan
        telemetry.configure(plan.log.format, plan.log.level)
        telemetry.bind_job(plan.job)
        hide([*plan.secrets, *([plan.keys.secret.encode()] if plan.keys else [])])
        host, port = server.start(plan)
        replies.send(Serving(request.id, host, port))
        replies.send(server.run())
    except AgentGone:
        pass
    except (WorkerError, OSError) as error:
        replies.send(Failed(str(error), getattr(error, "errno", None)))
    finally:
        server.kill()
    sys.exit(0)


@attrs.define
class ForkServer:
    """The children of this process, and the channels to the agent."""

    _requests: Channel
    _replies: Channel
    _counters: Counters = attrs.field(init=False)
    _children: list[Child] = attrs.field(factory=list, init=False)
    _selector: selectors.BaseSelector = attrs.field(factory=selectors.DefaultSelector, init=False)

    def wait_for_plan(self) -> Serve:
        """Return the request to serve; raises AgentGone."""
        try:
            while True:
                for message in self._requests.receive():
                    if isinstance(message, Serve):
                        return message
        except EOFError:
            raise AgentGone from None

    def start(self, plan: GatewayPlan) -> tuple[str, int]:
        """Listen, fork, and return host and port once every child accepts connections."""
        config = plan.gateway
        self._selector.register(self._requests.descriptor, selectors.EVENT_READ)
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        address = config.host, config.port
        try:
            listener = socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            where = f"{config.host}:{config.port}"
            raise ChildDied(f"cannot listen on {where}: {error.strerror}", error.errno) from error
        self._counters = Counters(plan.buckets, config.processes)
        for number in range(config.processes):
            self._fork(plan, listener, number)
        host, port = listener.getsockname()[:2]
        # Only the children hold it, so that connections are refused when they stop accepting.
        listener.close()
        while not all(each.ready for each in self._children):
            self._receive(None)
        return host, port

    def run(self) -> Drained:
        """Answer requests for statistics until the gateway is drained; return the last reply."""
        drain: Drain | None = None
        while not all(each.flushed for each in self._children):
            for request in self._receive(None if drain is None else HEARTBEAT):
                if isinstance(request, Count):
                    self._replies.send(Counted(request.id, self._counters.total()))
                if isinstance(request, Drain) and drain is None:
                    drain = request
                    for each in self._children:
                        each.received = time.monotonic()
                        each.channel.send(request)
            if drain is None:
                continue
            self._replies.send(Heartbeat())
            for each in self._children:
                silent = time.monotonic() - each.received
                if not each.flushed and silent > drain.silence:
                    raise ChildDied(
                        f"process {each.pid} sent no heartbeat for {silent:.0f} s while it drained "
                        "(stopped, or hanging)"
                    )
        cut_off = sorted(name for each in self._children for name in each.cut_off)
        deadline = time.monotonic() + EXIT_TIMEOUT
        while self._children:
            self._children.pop().end(deadline)
        assert drain is not None
        return Drained(drain.id, self._counters.total(), tuple(cut_off))

    def kill(self) -> None:
        """Kill the children that are left."""
        for each in self._children:
            os.kill(each.pid, signal.SIGKILL)
            each.reap()
        self._children.clear()

    def _fork(self, plan: GatewayPlan, listener: socket.socket, number: int) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            # An inherited end of a channel would keep a sibling or the agent from noticing that
            # the parent has exited.
            ours.close()
            self._selector.close()
            os.close(self._requests.descriptor)
            os.close(self._replies.descriptor)
            for sibling in self._children:
                os.close(sibling.channel.descriptor)
            self._counters.use_process(number)
            run_child(plan, listener, theirs, number=number, counters=self._counters)
        theirs.close()
        new = Child(pid, Channel(ours.detach()))
        self._children.append(new)
        self._selector.register(new.channel.descriptor, selectors.EVENT_READ, new)

    def _receive(self, timeout: float | None) -> list[Message]:
        """Handle the events of the children within *timeout* seconds; return the requests."""
        requests: list[Message] = []
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                try:
                    requests.extend(self._requests.receive())
                except EOFError:
                    raise AgentGone from None
            else:
                self._handle_events(key.data)
        return requests

    def _handle_events(self, sender: Child) -> None:
        try:
            for message in sender.channel.receive():
                sender.received = time.monotonic()
                match message:
                    case Ready():
                        sender.ready = True
                    case Flushed(cut_off):
                        sender.flushed, sender.cut_off = True, cut_off
                    case Failed(reason, errno):
                        raise ChildDied(reason, errno)
        except (EOFError, ConnectionResetError):
            if sender.flushed:
                self._selector.unregister(sender.channel.descriptor)
                return
            self._children.remove(sender)
            raise ChildDied(sender.reap()) from None


def _raise_open_file_limit() -> None:
    """Raise the limit on open files as far as permitted: a client's pool may hold thousands."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
