"""HTTP/1.1 on one connection: which bytes are a request, and which are its response.

`Protocol` subclasses Hypercorn's, which parses heads with h11. Heads are checked before, and bodies
pass by the parser. A request for a path under ``/-/`` has an `AdminStream`, every other one an
`S3Stream`.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import h11
import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol import events
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import ConnectionState

from worker.gateway.connections import BODY, HEAD
from worker.gateway.framing import (
    ChunkedBody,
    HeadReader,
    LengthBody,
    MalformedFraming,
    check_head,
)
from worker.gateway.heads import normalize_request_line, with_reason
from worker.gateway.receive_queue import ReceiveQueue
from worker.gateway.streams import AdminStream, S3Stream
from worker.s3.error_codes import S3Error
from worker.s3.request_headers import headers_too_large

if TYPE_CHECKING:
    from worker.gateway.server import Connection

RECEIVE_HEAD = 1 << 16
"""Bytes to receive where a request may begin: most are all head, and a buffer costs by its size."""
RECEIVE_BODY = 1 << 19
"""Bytes to receive within a body; Hypercorn's own 64 KiB halves the speed of PUT."""

MALFORMED: Mapping[int, str] = {408: "RequestTimeout", 501: "NotImplemented"}
"""The S3 error codes of malformed HTTP, by the parser's status; otherwise BadRequest."""


class Protocol(H11Protocol):
    """HTTP/1.1 on one connection.

    Requests to upgrade to HTTP/2 or WebSocket are ignored (RFC 9110, 7.8), and malformed HTTP is
    answered with an error document like every other error.
    """

    def __init__(
        self,
        connection: "Connection",
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
