"""The web server and the web framework; no other module knows which ones these are.

S3 requests are answered on the ASGI channels directly. Quart has the pages and probes under
``/-/``, where its limits on bodies and times do no harm and its cost is not paid by anyone's data.
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import Response
from quart_trio import QuartTrio

from worker.gateway import admin as pages
from worker.gateway.application import Service
from worker.gateway.exchange import Answer, ClientGone, Head, Incoming
from worker.gateway.http1 import Connection
from worker.gateway.messages import Certificate

PAGES = b"/-/"
HEAD_LIMIT = 1 << 16
"""Bytes of a request's head: a key of 1,024 bytes is 3 KiB of a target, a token may be 4 KiB."""
KEEP_ALIVE = 600.0
"""Seconds that an idle connection is kept. Clients keep pools, and may compute between requests."""
DISCARD = 60.0
"""Seconds to read what a client still sends of a body that was refused, so that it hears why."""
BACKLOG = 1024

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
        self.url_map.merge_slashes = False  # which would be a redirect, to a host
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
            # Pages are the same at every host, and Quart fails at hosts that no name can have.
            others = [each for each in scope.get("headers", ()) if each[0] != b"host"]
            own: Any = {**scope, "headers": [(b"host", b"gateway"), *others]}
            await super().__call__(own, receive, send)
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
