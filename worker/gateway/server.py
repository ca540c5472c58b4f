"""The web server: accepts connections and serves each, with Hypercorn's classes composed for S3.

`Connection` subclasses Hypercorn's, as `Protocol` in `worker.gateway.http1` and the streams in
`worker.gateway.streams` do. Only these three modules know Hypercorn and h11;
``tests/gateway/test_server.py`` fails when they change in what is relied on.
"""

import logging
import socket
from functools import partial
from typing import Any

import attrs
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from worker.gateway.admin import create_admin
from worker.gateway.application import S3Application
from worker.gateway.connections import (
    HEAD,
    RESPONSE,
    TLS_HANDSHAKE,
    Connections,
    Limits,
    Slot,
    accept_connections,
)
from worker.gateway.framing import MAX_HEAD
from worker.gateway.http1 import Protocol
from worker.gateway.messages import Certificate
from worker.gateway.transport import Transport

KEEP_ALIVE = 600.0
"""Seconds that an idle connection is kept: clients keep pools, and compute between requests."""
CLOSE_TIMEOUT = 1.0
"""Seconds to close a connection, which over TLS sends data."""
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class Draining:
    """The request to stop accepting connections and to finish the requests in flight."""

    requested: trio.Event = attrs.field(factory=trio.Event)
    deadline: float = 0.0
    """Seconds for the requests to finish; set before *requested*."""


async def serve(
    application: S3Application,
    listener: socket.socket,
    certificate: Certificate | None,
    draining: Draining,
    *,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connections of *listener*, which is taken over, until *draining* has finished.

    By default, *limits* are as many connections as the limit on open files permits.
    """
    config = Config()
    config.alpn_protocols = ["http/1.1"]
    config.h11_max_incomplete_size = MAX_HEAD
    config.keep_alive_timeout = KEEP_ALIVE
    config.keep_alive_max_requests = 1 << 62
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn")
    limits = limits or Limits()
    config.ssl_handshake_timeout = limits.head
    sockets = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    context = None
    if certificate is not None:
        config.certfile, config.keyfile = str(certificate.certfile), str(certificate.keyfile)
        context = config.create_ssl_context()
        assert context is not None

    def wrap(stream: trio.SocketStream, slot: Slot) -> Any:
        report = partial(slot.report_stall, RESPONSE, limits.stall)
        transport = Transport(stream, stall=limits.stall, on_stall=report)
        if context is None:
            return transport
        return trio.SSLStream(transport, context, server_side=True, https_compatible=True)

    admin = wrap_app(create_admin(application), config.wsgi_max_body_size, "asgi")
    worker_context = WorkerContext(None)
    async with trio.open_nursery() as tasks:
        async with trio.open_nursery() as listening:
            handler = partial(Connection, application, admin, config, worker_context, limits)
            connections = Connections(limits.connections)
            listening.start_soon(accept_connections, sockets, wrap, connections, handler, tasks)
            task_status.started()
            await draining.requested.wait()
            listening.cancel_scope.cancel()
        await sockets.aclose()
        await worker_context.terminated.set()
        tasks.cancel_scope.deadline = trio.current_time() + draining.deadline


class Connection(TCPServer):
    """A connection; a client that stalls or disconnects does not hold it.

    Hypercorn's own shields its sends from cancellation, so that one stalled client outlasts every
    deadline of a drain, and lets an application continue to send to a client that is gone.
    """

    def __init__(
        self,
        application: S3Application,
        admin: AppWrapper,
        config: Config,
        context: WorkerContext,
        limits: Limits,
        stream: Any,
        slot: Slot,
    ) -> None:
        super().__init__(admin, config, context, ConnectionState({}), stream)
        self.application = application
        self.limits = limits
        self._slot = slot
        self.broken = False
        """Whether a send has failed."""
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """Serve the requests of the connection."""
        secure = isinstance(self.stream, trio.SSLStream)
        if secure:
            try:
                with trio.fail_after(self.config.ssl_handshake_timeout):
                    await self.stream.do_handshake()
            except trio.TooSlowError:
                self._slot.report_stall(TLS_HANDSHAKE, self.limits.head)
                return
            except trio.BrokenResourceError:
                return
        transport = self.stream.transport_stream if secure else self.stream
        try:
            peer, own = (transport.socket.getpeername(), transport.socket.getsockname())
            family = transport.socket.family
            async with TaskGroup() as tasks:
                self._task_group = tasks
                self._protocol = Protocol(
                    self,
                    tasks,
                    ssl=secure,
                    client=parse_socket_addr(family, peer),
                    server=parse_socket_addr(family, own),
                )
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
        except OSError:
            return
        finally:
            await self._close()

    async def protocol_send(self, event: ConnectionEvent) -> None:
        """Send what the protocol has to send."""
        if isinstance(event, RawData):
            async with self.send_lock:
                try:
                    await self.stream.send_all(event.data)
                except GONE:
                    # The reading task tells the application, which may be this task.
                    self.broken = True
                    self._reading.cancel()
                    await trio.aclose_forcefully(self.stream)
            return
        if isinstance(event, Updated):
            self._slot.set_idle(event.idle)
        # Shielded, since the task that has ended the response may be cancelled.
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            if not isinstance(event, Closed):
                await super().protocol_send(event)
                return
            # Not within a response: that is sent first.
            async with self.send_lock:
                await self._close()
        # Requests that the client sent ahead are dropped: the parser would wait for their turn.
        self._reading.cancel()
        await self._protocol.handle(Closed())

    async def _read_data(self) -> None:
        protocol = self._protocol
        try:
            with self._reading:
                while True:
                    with trio.CancelScope(deadline=protocol.deadline()) as waiting:
                        data = bytes(await self.stream.receive_some(protocol.receive_size()))
                    if waiting.cancelled_caught:
                        await self._time_out()
                        continue
                    await protocol.receive(data)
                    if not data:
                        break
                    del data  # Not held until the client sends more.
        except GONE:
            self.broken = True
        await protocol.handle(Closed())
        # An idle connection has no other task left.
        await self.idle_task.stop()

    async def _time_out(self) -> None:
        """End the request whose next byte has not arrived in time."""
        if part := await self._protocol.time_out():
            seconds = self.limits.head if part == HEAD else self.limits.stall
            self._slot.report_stall(part, seconds)

    async def _initiate_server_close(self) -> None:
        await self._protocol.handle(Closed())
        await self.stream.aclose()
