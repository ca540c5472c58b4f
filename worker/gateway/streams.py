"""Requests on a connection: each is passed to the S3 application or to the admin pages.

A stream handles the events of the protocol for one request. `S3Stream` calls the S3 application
without ASGI, which is the faster way.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import attrs
import trio
from hypercorn.protocol import events
from hypercorn.protocol.h11 import STREAM_ID
from hypercorn.protocol.http_stream import HTTPStream

from worker.errors import WorkerError
from worker.gateway.application import S3Application
from worker.gateway.http import ClientDisconnected, RequestHead, Response
from worker.gateway.receive_queue import ReceiveQueue

if TYPE_CHECKING:
    from worker.gateway.http1 import Protocol
    from worker.gateway.server import Connection

DISCARD_TIMEOUT = 60.0
"""Seconds to read the rest of a body after the response, so that the client receives it."""
UNINVITED_TIMEOUT = 5.0
"""The same if the client waits for ``100 Continue`` or has stalled: it probably sends nothing."""


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
    _protocol: "Protocol"
    _connection: "Connection"
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
