"""The web server: Hypercorn's connection and HTTP/1.1 classes, composed for S3.

`Connection` and `Protocol` subclass Hypercorn's. An S3 request is passed to the S3 application by
`S3Stream`, without ASGI; a request for a path under ``/-/`` to the admin pages by `AdminStream`.
This is the only module that knows Hypercorn and h11; ``tests/gateway/test_server.py`` fails when
they change in what it relies on.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, cast

import attrs
import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol import events
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr, wrap_app

from worker.errors import WorkerError
from worker.gateway.admin import create_admin
from worker.gateway.application import S3Application
from worker.gateway.connections import (
    BODY,
    HEAD,
    RESPONSE,
    TLS_HANDSHAKE,
    Connections,
    Limits,
    Slot,
    accept_connections,
)
from worker.gateway.framing import (
    MAX_HEAD,
    ChunkedBody,
    HeadReader,
    LengthBody,
    MalformedFraming,
    check_head,
)
from worker.gateway.heads import normalize_request_line, with_reason
from worker.gateway.http import ClientDisconnected, RequestHead, Response
from worker.gateway.messages import Certificate
from worker.gateway.receive_queue import ReceiveQueue
from worker.gateway.transport import Transport
from worker.s3.error_codes import S3Error
from worker.s3.request_headers import headers_too_large

KEEP_ALIVE = 600.0
"""Seconds that an idle connection is kept: clients keep pools, and compute between requests."""
DISCARD_TIMEOUT = 60.0
"""Seconds to read the rest of a body after the response, so that the client receives it."""
UNINVITED_TIMEOUT = 5.0
"""The same if the client waits for ``100 Continue`` or has stalled: it probably sends nothing."""
CLOSE_TIMEOUT = 1.0
"""Seconds to close a connection, which over TLS sends data."""
RECEIVE_HEAD = 1 << 16
"""Bytes to receive where a request may begin: most are all head, and a buffer costs by its size."""
RECEIVE_BODY = 1 << 19
"""Bytes to receive within a body; Hypercorn's own 64 KiB halves the speed of PUT."""

MALFORMED: Mapping[int, str] = {408: "RequestTimeout", 501: "NotImplemented"}
"""The S3 error codes of malformed HTTP, by the parser's status; otherwise BadRequest."""
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


class Protocol(H11Protocol):
    """HTTP/1.1 on one connection.

    Requests to upgrade to HTTP/2 or WebSocket are ignored (RFC 9110, 7.8), and malformed HTTP is
    answered with an error document like every other error.
    """

    def __init__(
        self,
        connection: Connection,
        tasks: TaskGroup,
        *,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> None:
        super().__init__(
            connection.app,
            connection.config,
            connection.context,
            tasks,
            ConnectionState({}),
            ssl,
            client,
            server,
            connection.protocol_send,
        )
        self._connection = connection
        self._head = b""
        """The head of a response, which is sent with the first bytes of its body."""
        self._refused = False
        """Whether an error response has ended the connection."""
        self._keep = True
        """Whether the connection may be kept after the current request."""
        self._incoming = HeadReader()
        self._head_deadline = 0.0
        """When the head that has started must be complete."""
        self._framing: LengthBody | ChunkedBody | None = None
        """The rest of the current body; None if it is complete."""
        self._body: ReceiveQueue | None = None
        """The body of the current request for the S3 application; None if it has none."""

    def deadline(self) -> float:
        """Return when the next byte of the client must arrive; that of a new request may be late.

        A head has a deadline as a whole, so that single bytes do not extend it.
        """
        if self._framing is not None:
            return trio.current_time() + self._connection.limits.stall
        return self._head_deadline if self._incoming.started else float("inf")

    def receive_size(self) -> int:
        """Return the number of bytes to receive at once."""
        return RECEIVE_HEAD if self._framing is None else RECEIVE_BODY

    async def time_out(self) -> str | None:
        """Handle that the deadline has passed; return the part that has stalled, the first time.

        A body that stalls is an error for the application, if it is waiting for it.
        """
        if self._framing is None:
            await self._refuse(408)
            return HEAD
        if self._body is None or self._body.stalled:
            return None
        self._body.stall()
        return BODY

    async def receive(self, data: bytes) -> None:
        """Handle bytes from the client, empty at the end."""
        if not data:
            await self._receive_end()
        while data and not self._refused:
            if self._framing is not None:
                data = await self._receive_body(data, self._framing)
            elif self.connection.their_state is h11.IDLE:
                data = await self._receive_head(data)
            else:
                # Requests are handled one after the other, and none on a connection that is closed.
                await self.can_read.clear()
                await self.can_read.wait()

    async def _receive_head(self, data: bytes) -> bytes:
        """Pass a head to the parser when it is complete; return the bytes after it."""
        if not self._incoming.started:
            self._head_deadline = trio.current_time() + self._connection.limits.head
        try:
            head, rest = self._incoming.feed(data)
            if not head:
                return b""
            self._keep = check_head(head)
        except MalformedFraming as error:
            await self._refuse(error.status)
            return b""
        if not (head.isascii() and head[:8].partition(b" ")[0].isupper()):
            head = normalize_request_line(head)
        await self.handle(RawData(head))
        return rest

    async def _receive_body(self, data: bytes, framing: LengthBody | ChunkedBody) -> bytes:
        """Pass content to the stream; return the bytes after the body.

        No body passes the parser: it is less strict, and copies each byte three times, which takes
        a third of the time of a PUT beside its hashes. So a new parser handles the next request.
        """
        try:
            content, rest = framing.feed(data)
        except MalformedFraming as error:
            await self._refuse(error.status)
            return b""
        stream = self.stream
        if framing.complete:
            self._framing = None
        if content and stream is not None:
            await stream.handle(events.Body(stream_id=STREAM_ID, data=content))
        # The response may have ended meanwhile, and with it this stream.
        if framing.complete and stream is not None and self.stream is stream:
            await stream.handle(events.EndBody(stream_id=STREAM_ID))
        return rest

    async def _receive_end(self) -> None:
        if self._framing is not None or self._incoming.started:
            await self._refuse(400)
        else:
            await self.handle(RawData(b""))

    async def _refuse(self, status: int) -> None:
        """Answer bytes that are not a request, or not the rest of one, and close the connection."""
        if self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send_error_response(status)
        self._refused = True
        await self.send(Closed())

    def close_after_response(self) -> None:
        """Close the connection after the current response, which says so."""
        self._keep = False

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        headers = list(request.headers)
        path = request.target.partition(b"?")[0]
        application = self._connection.application
        self._body = None
        self._framing = _framing_of(headers)
        if application.has_page(path, headers):
            # The pages are the same for every host, and Quart rejects invalid host names.
            headers = [(b"host", b"gateway"), *(each for each in headers if each[0] != b"host")]
            self.stream = AdminStream(
                self.app,
                self.config,
                self.context,
                self.task_group,
                self.ssl,
                self.client,
                self.server,
                self.stream_send,
                STREAM_ID,
            )
        else:
            # In place of Hypercorn's streams, whose methods it has.
            stream = S3Stream(application, self, self._connection)
            self.stream = cast(HTTPStream, stream)
            self._body = stream.body if self._framing is not None else None
        await self.stream.handle(
            events.Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii"),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def _maybe_recycle(self) -> None:
        complete, self._framing = self._framing is None, None
        had_body = self.connection.their_state is h11.SEND_BODY
        draining = self.context.terminated.is_set()
        if not (complete and had_body) or draining or self.connection.our_state is not h11.DONE:
            await super()._maybe_recycle()
            return
        # Before the next request can be parsed, which has a stream of its own.
        await self._close_stream()
        # The body did not pass the parser, which therefore cannot parse the next request.
        self.connection = h11.Connection(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )
        await self.can_read.set()
        await self.send(Updated(idle=True))

    async def _send_error_response(self, status_code: int) -> None:
        self._refused = True
        self._keep = False
        if self.stream is None and status_code == 431:
            fault = headers_too_large()
        elif self.stream is None:
            fault = S3Error(MALFORMED.get(status_code, "BadRequest"))
        else:
            fault = S3Error(
                "IncompleteBody", "The body ended early, or its framing contradicts its headers."
            )
        response = self._connection.application.refuse_malformed(fault)
        assert isinstance(response.body, bytes)
        headers = [*response.headers, *self.config.response_headers("h11")]
        for event in (
            h11.Response(status_code=response.status, headers=headers),
            h11.Data(data=response.body),
            h11.EndOfMessage(),
        ):
            await self._send_h11_event(event)

    async def _send_h11_event(self, event: Any) -> None:
        if isinstance(event, h11.InformationalResponse) and not await self._is_body_wanted():
            return
        if isinstance(event, h11.Response) and not self._keep:
            headers = [*event.headers, (b"connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers)
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            # After an error response, that of the application is dropped.
            if not self._refused and self.connection.their_state != h11.ERROR:
                raise
            return
        if isinstance(event, h11.InformationalResponse | h11.Response):
            data = with_reason(data)
        if isinstance(event, h11.Response):
            # Sent with what follows: of a small response, the system call and the wake-up of the
            # client cost most, and one of each is enough.
            self._head = data
            return
        if data := self._head + data:
            self._head = b""
            await self.send(RawData(data=data))

    async def _is_body_wanted(self) -> bool:
        """Wait until the application reads a body that its client offers, or responds without it.

        So what can be rejected from the head is rejected before the body is sent.
        """
        if self._body is None:
            return True
        wanted = await self._body.is_wanted()
        return wanted and self.connection.they_are_waiting_for_100_continue


def _framing_of(headers: Iterable[tuple[bytes, bytes]]) -> LengthBody | ChunkedBody | None:
    """Return the framing of the body of a request; None if it has no body (RFC 9112, 6.3)."""
    fields = dict(headers)
    if b"transfer-encoding" in fields:
        return ChunkedBody()
    length = int(fields.get(b"content-length", 0))
    return LengthBody(length) if length else None


class AdminStream(HTTPStream):
    """A request for an admin page; its body is ignored.

    Hypercorn passes a body to the application through a channel that is never closed, and would
    wait forever for an application that does not read it.
    """

    async def handle(self, event: events.Event) -> None:
        """Handle an event of the protocol."""
        if not isinstance(event, events.Body):
            await super().handle(event)


@attrs.define(eq=False)
class S3Stream:
    """A request for the S3 application: it runs in a task of its own."""

    _application: S3Application
    _protocol: Protocol
    _connection: Connection
    _closed: bool = attrs.field(default=False, init=False)
    body: ReceiveQueue = attrs.field(factory=ReceiveQueue, init=False)

    async def handle(self, event: events.Event) -> None:
        """Handle an event of the protocol."""
        if isinstance(event, events.Body):
            await self.body.put(event.data)
        elif isinstance(event, events.EndBody):
            self.body.end()
        elif isinstance(event, events.StreamClosed):
            self._closed = True
            if not self.body.closed:
                self.body.disconnect()
        elif isinstance(event, events.Request):
            path, _, query = event.raw_path.partition(b"?")
            scheme = "https" if self._protocol.ssl else "http"
            head = RequestHead(event.method, path, query, event.headers, scheme)
            self._protocol.task_group.spawn(self._respond, head)

    async def _respond(self, head: RequestHead) -> None:
        send = self._protocol.stream_send
        try:
            response = await self._application.respond(head, self.body)
            self.body.decline()
            waiting = self._protocol.connection.they_are_waiting_for_100_continue
            uninvited = waiting or self.body.stalled
            if uninvited:
                # Whether the body follows is not known, and so where the next request begins.
                self._protocol.close_after_response()
            discard_timeout = UNINVITED_TIMEOUT if uninvited else DISCARD_TIMEOUT
            await self._send(response, send, discard_timeout, with_body=head.method != "HEAD")
        except ClientDisconnected:
            pass
        except Exception as error:
            # An error that is raised on purpose, such as damaged data, explains itself.
            trace = None if isinstance(error, WorkerError) else error
            self._application.failures.error(str(error), exc_info=trace)
            if isinstance(error, WorkerError):
                self._application.report(error)
        finally:
            self.body.close()
            if not self._closed:
                await send(events.StreamClosed(stream_id=STREAM_ID))

    async def _send(
        self,
        response: Response,
        send: Callable[[events.Event], Awaitable[None]],
        discard_timeout: float,
        *,
        with_body: bool,
    ) -> None:
        start = events.Response(STREAM_ID, response.headers, response.status)
        if isinstance(response.body, bytes):
            await send(start)
            if with_body and response.body:
                await send(events.Body(STREAM_ID, response.body))
        else:
            async with aclosing(response.body):
                await send(start)
                if with_body:
                    async for piece in response.body:
                        if self._connection.broken:
                            raise ClientDisconnected
                        await send(events.Body(STREAM_ID, piece))
        if not self.body.complete:
            # The response is sent, but not ended: ending it would close a connection on which data
            # is arriving, the kernel would reset it, and the client would see the reset instead of
            # the response.
            with trio.move_on_after(discard_timeout):
                await self.body.discard()
        await send(events.EndBody(STREAM_ID))
