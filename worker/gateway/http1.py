"""HTTP/1.1 on one connection: where the server's own way of speaking it does not do for S3.

Importing this module puts these ways in the place of the server's, which offers no other.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from urllib.parse import quote_from_bytes

import h11
import hypercorn.protocol
import hypercorn.trio.run
import hypercorn.trio.tcp_server
import trio
from h11._readers import ContentLengthReader
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as ServerEvent
from hypercorn.protocol.events import Body
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import AppWrapper

from worker.gateway.inbox import Inbox
from worker.gateway.refusals import refusal
from worker.s3.errors import S3Error

RECEIVE = 1 << 19
"""How many bytes of a body are read from a socket at once; the server's own 64 KiB makes PUT half
as fast."""
RECEIVE_HEAD = 1 << 16
"""How many are read where a request begins: most are all head, and a buffer costs by its size."""
CLOSE = 1.0
"""Seconds for closing a connection, which over TLS means to send something."""
REQUEST_LINE = re.compile(rb"[A-Z]+ [!-~]")
MALFORMED: Mapping[int, str] = {431: "RequestHeaderSectionTooLarge", 501: "NotImplemented"}
"""The codes of what is no HTTP, by the status that the parser gives it; else BadRequest."""
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Connection(TCPServer):
    """A connection of the server that does not wait for a client that has stalled.

    The server's own shields what it sends from cancellation, so that one stalled client outlasts
    every deadline of a drain; and it lets an application write on to a client that is gone.
    """

    def __init__(self, app: Any, *arguments: Any) -> None:
        async def with_connection(scope: Any, *channels: Any) -> None:
            scope["connection"] = self
            await app(scope, *channels)

        super().__init__(cast(AppWrapper, with_connection), *arguments)
        self.broken = False
        self._reading = trio.CancelScope()

    async def protocol_send(self, event: ServerEvent) -> None:
        """Send what the protocol has to say."""
        if isinstance(event, RawData):
            async with self.send_lock:
                try:
                    await self.stream.send_all(event.data)
                except GONE:
                    # The task that reads tells the application, which may be the one that is here.
                    self.broken = True
                    self._reading.cancel()
                    await trio.aclose_forcefully(self.stream)
            return
        # Quart cancels the task in which it has just ended its answer, and that one closes.
        with trio.move_on_after(CLOSE, shield=True):
            if not isinstance(event, Closed):
                await super().protocol_send(event)
                return
            # Not in the middle of an answer: that one is let out first.
            async with self.send_lock:
                await self._close()
        # Requests that a client sent ahead are dropped: the parser would wait for their turn.
        self._reading.cancel()
        await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        http = self.protocol.protocol
        assert isinstance(http, H11Protocol)
        parser = http.connection
        try:
            with self._reading:
                while True:
                    in_body = parser.their_state is h11.SEND_BODY
                    data = bytes(
                        await self.stream.receive_some(RECEIVE if in_body else RECEIVE_HEAD)
                    )
                    if in_body and http.stream is not None and _is_inside(parser, data):
                        await http.stream.handle(Body(stream_id=STREAM_ID, data=data))
                    else:
                        await self.protocol.handle(RawData(_ascii_target(parser, data)))
                    if not data:
                        break
        except GONE:
            self.broken = True
        await self.protocol.handle(Closed())
        # Of a connection that was idle nothing else is left to end.
        await self.idle_task.stop()


class Tasks(TaskGroup):
    """The tasks of a connection, and the way from the one that reads it to the application.

    The server's own way is a channel that nobody closes. Whoever puts something into one that is
    full, and that no task reads any more, waits for ever, and the connection with it. And it takes
    two changes of tasks for each piece of a body, be it a byte.
    """

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Any,
        send: Callable[[Any], Awaitable[None]],
    ) -> Callable[[Any], Awaitable[None]]:
        """Start *app* and return how it is told of what comes; once it has ended, nobody is."""
        inbox = Inbox()

        async def run(*arguments: Any) -> None:
            try:
                await app(scope, cast(Any, inbox.hear), *arguments[2:])
            finally:
                inbox.close()

        await super().spawn_app(cast(AppWrapper, run), config, scope, send)
        return inbox.tell


def _is_inside(parser: Any, data: bytes) -> bool:
    """Say whether *data* is nothing but body and more of it is to come, and count it as parsed.

    The parser copies a body three times on its way, a third of what a PUT costs beside its hashes;
    of a body with a length, only the last bytes need it. It is asked by its private names: should
    they change one day, bodies go through it again.
    """
    reader = getattr(parser, "_reader", None)
    if not isinstance(reader, ContentLengthReader) or parser.trailing_data[0]:
        return False
    if not 0 < len(data) < reader._remaining:
        return False
    reader._remaining -= len(data)
    return True


def _ascii_target(parser: Any, data: bytes) -> bytes:
    """Return *data* with a target that was sent as raw UTF-8 percent-encoded.

    One client library sends the key of a HEAD so, and the parser refuses it. That a head does
    not begin with a packet, or is cut within its first line, is possible; it is then refused.
    """
    # A head that comes in several packets must not have its headers taken for a target.
    if parser.their_state is not h11.IDLE or parser.trailing_data[0]:
        return data
    line, end, rest = data.partition(b"\r\n")
    if line.isascii() or not REQUEST_LINE.match(line):
        return data
    safe = bytes(range(0x20, 0x7F)).decode()
    return quote_from_bytes(line, safe=safe).encode() + end + rest


class Protocol(H11Protocol):
    """HTTP/1.1 as the server speaks it, and nothing but that: no client of S3 asks for more.

    Requests to go on in HTTP/2 or as a WebSocket are not heeded (RFC 9110, 7.8), and what is no
    HTTP is answered with an error document like every other error.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [each for each in request.headers if each[0] != b"upgrade"]
        if len(headers) < len(request.headers):
            request = h11.Request(method=request.method, target=request.target, headers=headers)
        if isinstance(self.connection, h11.Connection):
            # The server takes "head" for HEAD, and so must the parser: or one of them waits for a
            # body that the other leaves out.
            self.connection._request_method = request.method.upper()
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        if self.stream is None:
            fault = S3Error(MALFORMED.get(status_code, "BadRequest"))
        else:
            fault = S3Error(
                "IncompleteBody", "The body ended early, or is not framed as its headers say."
            )
        answer = refusal(fault, resource="/")
        assert isinstance(answer.body, bytes)
        headers = [*answer.headers, (b"connection", b"close"), *self.config.response_headers("h11")]
        for event in (
            h11.Response(status_code=answer.status, headers=headers),
            h11.Data(data=answer.body),
            h11.EndOfMessage(),
        ):
            await self._send_h11_event(event)

    _held = b""

    async def _send_h11_event(self, event: Any) -> None:
        # botocore, and so the AWS CLI, took a status line of two words for a broken answer until
        # 2023, and both send "Expect: 100-continue" with every body.
        if isinstance(event, h11.InformationalResponse) and event.status_code == 100:
            event = h11.InformationalResponse(
                status_code=event.status_code, headers=event.headers, reason=b"Continue"
            )
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            # The head waits for what follows: of a small answer, the way to the kernel and the
            # waking of the client are the greatest part of the cost, and once is enough.
            self._held = data
            return
        if data := self._held + data:
            self._held = b""
            await self.send(RawData(data=data))


# None of them is for the application to choose.
setattr(hypercorn.trio.run, "TCPServer", Connection)  # noqa: B010 - it is not exported
setattr(hypercorn.trio.tcp_server, "TaskGroup", Tasks)  # noqa: B010 - it is not exported
setattr(hypercorn.protocol, "H11Protocol", Protocol)  # noqa: B010 - it is not exported
