"""The gateway's processes as the job uses them: started, asked, drained.

The agent talks to one parent process (`worker.gateway.forkserver`), which forks the processes that
serve, in JSON Lines over the parent's standard input and output. If either end dies the other one
exits: an agent that is killed leaves no gateway, and a gateway that dies fails the job.
"""

import errno
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import trio
from trio.to_thread import run_sync as in_thread

from worker import jsonlines
from worker.concurrency import open_plain_nursery
from worker.errors import Misconfigured, Unavailable
from worker.gateway.launch import Process
from worker.gateway.messages import (
    SILENCE,
    Count,
    Counted,
    Drain,
    Drained,
    Endpoint,
    Failed,
    GatewayPlan,
    Message,
    Reply,
    Serve,
    Serving,
    Statistics,
    decode,
    encode,
)

KILL_TIMEOUT = 5.0
"""Seconds for the parent to kill its children and exit, before the agent kills the session."""
SERVE_TIMEOUT = 300.0
"""Seconds for the processes to serve: each one opens the store, which may be slow."""

NOT_AN_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES)
"""Error numbers of an address at which this process can never listen."""

T = TypeVar("T", Counted, Serving, Drained)


class GatewayDied(Unavailable):
    """A process of the gateway exited, hangs or failed."""

    def __init__(self, reason: str, errno: int | None = None) -> None:
        super().__init__(f"the gateway ended unexpectedly: {reason}")
        self.reason = reason
        self.errno = errno


class GatewayPool:
    """The processes of a gateway, opened by `open_pool`. Several tasks may use it."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        """The parent's process id, which is also the id of the processes' session and group."""
        self._process = process
        self._stdin = trio.lowlevel.FdStream(os.dup(process.stdin.fileno()))
        self._stdout = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
        # The end of its standard input ends the parent, so no other descriptor may keep it open.
        process.stdin.close()
        process.stdout.close()
        self._ids = itertools.count(1)
        self._expected: dict[int, trio.MemorySendChannel[Reply]] = {}
        self._received = trio.Event()
        self._sending = trio.Lock()

    async def serve(self, plan: GatewayPlan) -> Endpoint:
        """Serve *plan* and return the endpoint, at which every process accepts connections."""
        with trio.move_on_after(SERVE_TIMEOUT) as starting:
            serving = await self._ask(Serve(next(self._ids), plan), Serving)
        if starting.cancelled_caught:
            raise GatewayDied(
                f"its parent process {self.pid} does not serve after {SERVE_TIMEOUT:g} s (stopped, "
                "or hanging)"
            )
        scheme = "https" if plan.certificate else "http"
        host = f"[{serving.host}]" if ":" in serving.host else serving.host
        return Endpoint(serving.host, serving.port, f"{scheme}://{host}:{serving.port}")

    async def count(self) -> Statistics:
        """Return the statistics so far; the gateway continues to serve."""
        return (await self._ask(Count(next(self._ids)), Counted)).statistics

    async def drain(self, deadline: float, *, silence: float = SILENCE) -> Drained:
        """Finish the requests in flight, stop accepting, flush, exit; return the final reply.

        Requests that are not finished after *deadline* seconds are cancelled. While writes finish,
        connections are accepted, so close the output first. On return, no process
        of the gateway is left, and everything acknowledged is durable in the store. That may take
        long; raises GatewayDied if a process sends no heartbeat for *silence* seconds.
        """
        async with open_plain_nursery() as nursery:
            # The parent itself reports a silent child, so it has more time.
            nursery.start_soon(self._watch_heartbeats, 1.5 * silence)
            request = Drain(next(self._ids), deadline, silence)
            drained = await self._ask(request, Drained)
            await self._wait()
            nursery.cancel_scope.cancel()
        return drained

    async def _watch_heartbeats(self, limit: float) -> None:
        """Raise GatewayDied when the parent has sent nothing for *limit* seconds."""
        self._received = trio.Event()
        while True:
            with trio.move_on_after(limit):
                await self._received.wait()
                self._received = trio.Event()
                continue
            raise GatewayDied(
                f"its parent process {self.pid} sent no heartbeat for {limit:.0f} s while it "
                "drained (stopped, or hanging)"
            )

    async def _ask(self, request: Serve | Count | Drain, kind: type[T]) -> T:
        """Send *request* and return the reply with its id.

        A caller may be cancelled; a reply that arrives later is dropped.
        """
        with self._expecting(request.id) as reply:
            try:
                # A message is sent whole, even if the caller is cancelled meanwhile.
                async with self._sending:
                    with trio.move_on_after(SILENCE, shield=True) as sending:
                        await self._stdin.send_all(encode(request))
                    if sending.cancelled_caught:
                        raise GatewayDied(
                            f"its parent process {self.pid} reads no requests (stopped, or hanging)"
                        )
            except trio.BrokenResourceError:
                # The task that reads the messages raises the reason.
                await trio.sleep_forever()
            found = await reply.receive()
        assert isinstance(found, kind), found
        return found

    @contextmanager
    def _expecting(self, request: int) -> Iterator[trio.MemoryReceiveChannel[Reply]]:
        """Provide the channel on which the reply to *request* arrives."""
        send, receive = trio.open_memory_channel[Reply](1)
        self._expected[request] = send
        try:
            yield receive
        finally:
            del self._expected[request]

    async def _receive(self, scope: trio.CancelScope) -> None:
        """Receive messages until the gateway has drained; raise GatewayDied if it fails."""
        decoder = jsonlines.Decoder[Message](decode)
        with scope:
            async for data in self._stdout:
                for message in decoder.feed(bytes(data)):
                    self._received.set()
                    if isinstance(message, Failed):
                        if message.errno in NOT_AN_ADDRESS:
                            raise Misconfigured(f"gateway.host, gateway.port: {message.reason}")
                        raise GatewayDied(message.reason, message.errno)
                    if isinstance(message, Reply) and message.id in self._expected:
                        self._expected[message.id].send_nowait(message)
                    if isinstance(message, Drained):
                        return
            status = await self._wait()
            raise GatewayDied(f"its parent process {self.pid} exited with status {status}")

    async def _wait(self) -> int:
        return await in_thread(self._process.wait, abandon_on_cancel=True)

    async def _end(self) -> None:
        """End the processes: at the end of its input, the parent kills its children and exits."""
        await self._stdin.aclose()
        with trio.move_on_after(KILL_TIMEOUT):
            await self._wait()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with trio.move_on_after(KILL_TIMEOUT) as killing:
            await self._wait()
        await self._stdout.aclose()
        if killing.cancelled_caught:
            raise GatewayDied(f"its parent process {self.pid} still runs after SIGKILL")


@asynccontextmanager
async def open_pool(process: Process) -> AsyncIterator[GatewayPool]:
    """Use the launched parent *process*; leaving the block ends all processes of the gateway.

    If one of them dies, the block is cancelled and GatewayDied is raised from it.
    """
    pool = GatewayPool(process)
    try:
        async with open_plain_nursery() as nursery:
            # Shielded: a run that is being cancelled still receives the statistics.
            receiving = trio.CancelScope(shield=True)
            nursery.start_soon(pool._receive, receiving)
            try:
                yield pool
            finally:
                receiving.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await pool._end()
