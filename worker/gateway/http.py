"""HTTP as the S3 application sees it: request head, request body, response."""

from collections.abc import AsyncGenerator
from typing import Protocol

import attrs

Headers = list[tuple[bytes, bytes]]


class ClientDisconnected(Exception):
    """The client closed its connection before the exchange was complete."""


@attrs.frozen
class RequestHead:
    """The head of a request as it was sent."""

    method: str
    """Upper case."""
    path: bytes
    """The path of the target, percent-encoded."""
    query: bytes
    headers: Headers
    """In order, with names in lower case."""
    scheme: str


class RequestBody(Protocol):
    """The body of a request, received as it is read."""

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end; raises ClientDisconnected."""


@attrs.frozen
class Response:
    """A response; that to HEAD has the headers of its body and no body."""

    status: int
    headers: Headers = attrs.field(factory=list)
    body: bytes | AsyncGenerator[bytes, None] = b""
    """For an iterator, the headers contain the length."""


def empty(status: int, headers: Headers | None = None) -> Response:
    """Return a response without a body; its length is implied by the status 204."""
    length: Headers = [] if status == 204 else [(b"content-length", b"0")]
    return Response(status, [*(headers or ()), *length])


def xml(body: bytes, headers: Headers | None = None, *, status: int = 200) -> Response:
    """Return a response whose body is an XML document."""
    own: Headers = [(b"content-type", b"application/xml"), (b"content-length", b"%d" % len(body))]
    return Response(status, [*own, *(headers or ())], body)
