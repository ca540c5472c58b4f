"""The web server and the web framework; no other module knows which ones these are.

S3 requests are answered on the ASGI channels directly. Quart has the pages and probes under
``/-/``, where its limits on bodies and times do no harm and its cost is not paid by anyone's data.
"""

import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, cast
from urllib.parse import quote_from_bytes

import h11
import hypercorn.protocol
import hypercorn.trio
import hypercorn.trio.run
import trio
from h11._readers import ContentLengthReader
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as ServerEvent
from hypercorn.protocol.events import Body
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import AppWrapper
from quart import Response
from quart_trio import QuartTrio

from worker.gateway import pages
from worker.gateway.exchange import Answer, ClientGone, Head, Incoming
from worker.gateway.plan import Certificate
from worker.gateway.refusals import refusal
from worker.gateway.service import Service
from worker.s3.errors import S3Error

PAGES = b"/-/"
RECEIVE = 1 << 19
"""How many bytes of a body are read from a socket at once; the server's own 64 KiB makes PUT half
as fast."""
RECEIVE_HEAD = 1 << 16
"""How many are read where a request begins: most are all head, and a buffer costs by its size."""
QUEUE = 2
"""How many of those may wait for a request that is busy: what a slow disk can cost in memory."""
HEAD_LIMIT = 1 << 16
"""Bytes of a request's head: a key of 1,024 bytes is 3 KiB of a target, a token may be 4 KiB."""
KEEP_ALIVE = 600.0
"""Seconds that an idle connection is kept. Clients keep pools, and may compute between requests."""
DISCARD = 60.0
"""Seconds to read what a client still sends of a body that was refused, so that it hears why."""
CLOSE = 1.0
"""Seconds for closing a connection, which over TLS means to send something."""
BACKLOG = 1024
REQUEST_LINE = re.compile(rb"[A-Z]+ [!-~]")
MALFORMED: Mapping[int, str] = {431: "RequestHeaderSectionTooLarge", 501: "NotImplemented"}
"""The codes of what is no HTTP, by the status that the parser gives it; else BadRequest."""

log = logging.getLogger(__name__)


class Draining:
    """The order to stop accepting, and how many seconds requests in flight have left then."""

    def __init__(self) -> None:
        self._begun = trio.Event()
        self.deadline = 0.0

    def begin(self, deadline: float) -> None:
        """Give the order."""
        self.deadline = deadline
        self._begun.set()

    async def wait(self) -> None:
        """Return when the order has been given."""
        await self._begun.wait()


async def serve(
    service: Service,
    listener: socket.socket,
    *,
    tls: Certificate | None,
    draining: Draining,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer what comes in on *listener* (which is taken over) until *draining* has drained it."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = BACKLOG
    config.alpn_protocols = ["http/1.1"]
    if tls is not None:
        config.certfile, config.keyfile = str(tls.certfile), str(tls.keyfile)
    config.h11_max_incomplete_size = HEAD_LIMIT
    config.max_app_queue_size = QUEUE
    config.keep_alive_timeout = KEEP_ALIVE
    config.keep_alive_max_requests = 1 << 62
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn")
    config.errorlog.setLevel(logging.WARNING)

    async def drained() -> None:
        await draining.wait()
        config.graceful_timeout = draining.deadline

    await hypercorn.trio.serve(
        Gateway(service), config, shutdown_trigger=drained, task_status=task_status, mode="asgi"
    )


class Gateway(QuartTrio):
    """The application: S3 everywhere but under ``/-/``."""

    def __init__(self, service: Service) -> None:
        super().__init__("worker.gateway", static_folder=None)
        self._service = service
        for path, page in pages.pages_of(service).items():
            self.add_url_rule(path, path, self._view(page))

    def _view(self, page: pages.Page) -> Callable[[], Response]:
        def view() -> Response:
            status, content_type, text = page(self._service)
            return Response(text, status, content_type=content_type)

        return view

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; ASGI's other kinds of scope are Quart's."""
        if scope["type"] != "http" or self._is_page(scope):
            await super().__call__(scope, receive, send)
            return
        head = Head(
            method=scope["method"],
            path=scope["raw_path"],
            query=scope["query_string"],
            headers=scope["headers"],
            scheme=scope["scheme"],
        )
        incoming = Incoming(receive)
        # A client that goes away before its answer ends the exchange, and has heard nothing.
        with suppress(ClientGone):
            answer = await self._service.answer(head, incoming)
            await _send(answer, head, incoming, send, scope)

    def _is_page(self, scope: Any) -> bool:
        # In a bucket's own host, a key may begin with "-/".
        return scope["raw_path"].startswith(PAGES) and not self._service.is_bucket_host(
            next((value for name, value in scope["headers"] if name == b"host"), b"")
        )


async def _send(
    answer: Answer,
    head: Head,
    incoming: Incoming,
    send: Callable[[dict[str, Any]], Awaitable[None]],
    scope: Any,
) -> None:
    start = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
    body = answer.body
    if isinstance(body, bytes):
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": not incoming.finished})
    else:
        async with aclosing(body):
            await send(start)
            if head.method != "HEAD":
                connection: Connection = scope["connection"]
                async for piece in body:
                    if connection.broken:
                        raise ClientGone
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
    if not incoming.finished:
        # The whole answer is out, though it has not ended. Ending it would close a connection on
        # which data is still coming, the kernel would reset it, and the client, which hears only
        # then, would hear of a reset instead of what was wrong.
        with trio.move_on_after(DISCARD):
            await incoming.discard()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    elif not isinstance(body, bytes):
        await send({"type": "http.response.body", "body": b"", "more_body": False})


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

    async def protocol_send(self, event: ServerEvent) -> None:
        """Send what the protocol has to say."""
        if not isinstance(event, RawData):
            # Quart cancels the task in which it has just ended its answer, and that one closes.
            with trio.move_on_after(CLOSE, shield=True):
                await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                await self.stream.send_all(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.broken = True
                await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        http = self.protocol.protocol
        assert isinstance(http, H11Protocol)
        parser = http.connection
        try:
            while True:
                in_body = parser.their_state is h11.SEND_BODY
                data = bytes(await self.stream.receive_some(RECEIVE if in_body else RECEIVE_HEAD))
                if in_body and http.stream is not None and _is_inside(parser, data):
                    await http.stream.handle(Body(stream_id=STREAM_ID, data=data))
                else:
                    await self.protocol.handle(RawData(_ascii_target(parser, data)))
                if not data:
                    break
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            self.broken = True
        await self.protocol.handle(Closed())


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


# Neither is for the application to choose.
setattr(hypercorn.trio.run, "TCPServer", Connection)  # noqa: B010 - it is not exported
setattr(hypercorn.protocol, "H11Protocol", Protocol)  # noqa: B010 - it is not exported
