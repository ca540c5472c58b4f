"""The gateway as the job sees it: a family of processes that is started, serves, and is drained.

The job's agent starts one parent process early, so that importing the server costs no waiting; the
parent forks the processes that serve (see ``forkserver``). Agent and parent speak in lines of JSON
over the parent's standard input and output. When either end is gone, so is the other's reason to
live: an agent that dies leaves no gateway behind, and a gateway that dies is an error for the job.
"""

import itertools
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import trio
from trio.to_thread import run_sync as in_thread

from worker.concurrency import open_plain_nursery
from worker.errors import Unavailable
from worker.gateway.launch import launched
from worker.gateway.messages import (
    SILENCE,
    BucketStatistics,
    Certificate,
    Count,
    Counted,
    Drain,
    Drained,
    Endpoint,
    Failed,
    GatewayPlan,
    KeyPair,
    Message,
    Reply,
    Serve,
    ServedInput,
    Serving,
    Statistics,
    decode,
    encode,
)

__all__ = [
    "BucketStatistics",
    "Certificate",
    "Endpoint",
    "GatewayDied",
    "GatewayPlan",
    "KeyPair",
    "Parent",
    "ServedInput",
    "Statistics",
    "start_parent",
]

T = TypeVar("T", Counted, Serving, Drained)

KILL_GRACE = 5.0
"""Seconds that a parent has to kill its children and end, before the agent does it."""


class GatewayDied(Unavailable):
    """A process of the gateway ended although nobody asked it to."""

    def __init__(self, reason: str, errno: int | None = None) -> None:
        super().__init__(f"the gateway ended unexpectedly: {reason}")
        self.reason = reason
        self.errno = errno


class Parent:
    """The running parent of a gateway: made by :func:`start_parent`, used by one task at a time."""

    def __init__(self, process: "_Process", replies: "_Replies") -> None:
        self._process = process
        self._replies = replies
        self._sending = trio.Lock()

    @property
    def pid(self) -> int:
        """The parent's process id, which is also the id of the family's session and group."""
        return self._process.pid

    async def serve(self, plan: GatewayPlan) -> Endpoint:
        """Serve what *plan* says; return where, once a request has been answered there."""
        serving = await self._ask(Serve(self._replies.new_id(), plan), Serving)
        await _prove_ready(serving, tls=plan.tls is not None)
        scheme = "https" if plan.tls else "http"
        host = f"[{serving.host}]" if ":" in serving.host else serving.host
        return Endpoint(serving.host, serving.port, f"{scheme}://{host}:{serving.port}")

    async def count(self) -> Statistics:
        """Return what has gone through so far; the gateway goes on serving."""
        return (await self._ask(Count(self._replies.new_id()), Counted)).statistics

    async def drain(self, deadline: float, *, silence: float = SILENCE) -> Statistics:
        """Stop accepting, let requests in flight finish, settle the stage, say what went through.

        Requests that still run after *deadline* seconds are broken off. When this returns, no
        process of the gateway is left and all that was acknowledged is durable in the store. That
        may take long; a process that gives no sign of life for *silence* seconds is an error.
        """
        async with open_plain_nursery() as nursery:
            # The parent itself reports a silent child, so it has longer.
            nursery.start_soon(self._watch_life, 1.5 * silence)
            request = Drain(self._replies.new_id(), deadline, silence)
            drained = await self._ask(request, Drained)
            await self._process.wait()
            nursery.cancel_scope.cancel()
        return drained.statistics

    async def _watch_life(self, limit: float) -> None:
        """Raise GatewayDied when the parent, which drains, was silent for *limit* seconds."""
        self._replies.heard = trio.Event()
        while True:
            with trio.move_on_after(limit):
                await self._replies.heard.wait()
                self._replies.heard = trio.Event()
                continue
            raise GatewayDied(
                f"its parent process {self.pid} gave no sign of life for "
                f"{limit:.0f} s while it drained (stopped, or hanging)"
            )

    async def _ask(self, request: Serve | Count | Drain, kind: type[T]) -> T:
        """Send *request* and return the reply with its id; replies to others are dropped.

        A caller may give up; a reply that comes later is dropped.
        """
        with self._replies.expected(request.id) as expected:
            try:
                # Whole or not at all, also for a caller who gives up in the middle of it.
                async with self._sending:
                    with trio.move_on_after(SILENCE, shield=True) as sending:
                        await self._process.stdin.send_all(encode(request))
                    if sending.cancelled_caught:
                        raise GatewayDied(
                            f"its parent process {self.pid} takes no requests (stopped, or hanging)"
                        )
            except trio.BrokenResourceError:
                await _wait_to_be_cancelled()
            reply = await expected.receive()
        assert isinstance(reply, kind), reply
        return reply


class _Replies:
    """Routes replies to those who asked, by the ids of their requests."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._expected: dict[int, trio.MemorySendChannel[Reply]] = {}
        self.heard = trio.Event()
        """Set with each message."""

    def new_id(self) -> int:
        """Return an id for a request."""
        return next(self._ids)

    @contextmanager
    def expected(self, request: int) -> Iterator[trio.MemoryReceiveChannel[Reply]]:
        """Lend the channel in which the reply to *request* arrives while the block lasts."""
        send, receive = trio.open_memory_channel[Reply](1)
        self._expected[request] = send
        try:
            yield receive
        finally:
            del self._expected[request]

    def take(self, message: Message) -> None:
        """Deliver a reply to the request with its id; drop it if the caller has given up."""
        self.heard.set()
        if isinstance(message, Counted | Serving | Drained) and message.id in self._expected:
            self._expected[message.id].send_nowait(message)


class _Process:
    """A launched process, as tasks use it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._process = process
        self.stdin = trio.lowlevel.FdStream(os.dup(process.stdin.fileno()))
        self.stdout = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
        # The end of its standard input is what ends it, so there is to be one of these alone.
        process.stdin.close()
        process.stdout.close()

    async def wait(self) -> int:
        """Wait for its end, and return its status."""
        return await in_thread(self._process.wait, abandon_on_cancel=True)


@asynccontextmanager
async def start_parent(
    process: "subprocess.Popen[bytes] | None" = None,
) -> AsyncIterator[Parent]:
    """Run the parent of a gateway for as long as the block lasts; leaving it ends the whole family.

    It is the *process* that was launched already, or a new one. A death in the family cancels the
    block and raises :class:`GatewayDied` from it.
    """
    if process is None:
        with launched() as new:
            async with _started(_Process(new)) as parent:
                yield parent
    else:
        async with _started(_Process(process)) as parent:
            yield parent


@asynccontextmanager
async def _started(process: _Process) -> AsyncIterator[Parent]:
    replies = _Replies()
    try:
        async with open_plain_nursery() as nursery:
            # Shielded by itself: what went through is told to a run that is being cancelled, too.
            reading = trio.CancelScope(shield=True)
            nursery.start_soon(_read_messages, process, replies, reading)
            try:
                yield Parent(process, replies)
            finally:
                reading.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


async def _read_messages(process: _Process, replies: _Replies, scope: trio.CancelScope) -> None:
    line = b""
    with scope:
        async for data in process.stdout:
            *lines, line = (line + data).split(b"\n")
            for message in map(decode, lines):
                if isinstance(message, Failed):
                    raise GatewayDied(message.reason, message.errno)
                replies.take(message)
                if isinstance(message, Drained):
                    return
        status = await process.wait()
        raise GatewayDied(f"its parent process {process.pid} ended with status {status}")


async def _prove_ready(serving: Serving, *, tls: bool) -> None:
    """Return when a request for ``/-/readyz`` was answered with 200."""
    stream: trio.abc.Stream = await trio.open_tcp_stream(_reachable(serving.host), serving.port)
    if tls:
        import ssl  # Not before it is needed: it would cost the agent 2 MiB.

        # Whether a client trusts the certificate is the client's question; here it is ours anyway.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stream = trio.SSLStream(stream, context, https_compatible=True)
    async with stream:
        await stream.send_all(b"GET /-/readyz HTTP/1.1\r\nhost: ready\r\nconnection: close\r\n\r\n")
        answer = b""
        async for data in stream:
            answer += data
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise GatewayDied(f"it answered {answer[:100]!r} when asked whether it is ready")


def _reachable(host: str) -> str:
    """Return an address at which a socket that is bound to *host* can be reached from here."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


async def _end(process: _Process) -> None:
    """End the family: when its standard input ends, the parent kills its children and goes."""
    await process.stdin.aclose()
    with trio.move_on_after(KILL_GRACE):
        await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    await process.stdout.aclose()


async def _wait_to_be_cancelled() -> None:
    # The task that reads the parent's messages has seen, or will see, why it is gone.
    await trio.sleep_forever()
