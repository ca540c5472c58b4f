"""An HTTP/1.1 proxy between a store's client and an S3 server that makes one request fail.

The proxy numbers the requests from 1 in order of arrival, records them, and forwards every byte
unchanged, so that signatures over the ``Host`` header verify. An ``Injection`` selects the request
that fails, and how it fails.
"""

import contextlib
import enum
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs

PIECE = 1 << 16
HEAD_LIMIT = 1 << 20
SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message><RequestId>0</RequestId></Error>"
)
SERVICE_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\n"
    b"Content-Length: %d\r\n\r\n" % len(SLOW_DOWN)
)
WRITES = frozenset({"PUT", "POST", "DELETE"})


class Fault(enum.Enum):
    """The way in which the chosen request fails."""

    LOST = "lost response"
    """The server responds. The client's connection is closed without a byte of the response."""
    CUT = "cut response"
    """The client receives head and half of the body, or half of the head without a body."""
    BUSY = "503"
    """The request is not forwarded. The client receives SlowDown."""
    HANG_BEFORE = "hang before"
    """The request is not forwarded, and the client receives no response."""
    HANG_AFTER = "hang after"
    """The server responds, and the client receives no response."""
    RESET = "reset before"
    """The request is not forwarded. The connection is closed immediately."""
    LATE = "late write"
    """The request is forwarded after the client has timed out."""

    @property
    def only_writes(self) -> bool:
        """Whether the fault applies to requests that change something only."""
        return self is Fault.LATE


@attrs.define
class Exchange:
    """A recorded request."""

    number: int
    method: str
    target: str
    status: int | None = None
    """Status of the server's response; None without one."""

    @property
    def writes(self) -> bool:
        """Whether the request changes something."""
        return self.method in WRITES

    def __str__(self) -> str:
        return f"request {self.number} ({self.method} {self.target.partition('?')[0]})"


@attrs.frozen
class Injection:
    """The request that fails, and how. With ``at=0`` all requests are only recorded."""

    at: int = 0
    fault: Fault | None = None
    before: Callable[[], bool] | None = None
    """Called with the request received; if it returns False, the request is dropped."""
    after: Callable[[], bool] | None = None
    """Called with the response received; if it returns False, the response is dropped."""


class Disconnected(Exception):
    """The peer has closed the connection."""


class Proxy:
    """A proxy to ``(host, port)`` on a free port of loopback, as a context manager."""

    def __init__(self, upstream: tuple[str, int], injection: Injection | None = None) -> None:
        self.injection = injection or Injection()
        self.exchanges: list[Exchange] = []
        self._upstream = upstream
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    @property
    def url(self) -> str:
        """The endpoint for clients."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def failed(self) -> Exchange | None:
        """The request that failed; None before it arrives."""
        with self._lock:
            return next((each for each in self.exchanges if each.number == self.injection.at), None)

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and end every thread."""
        # On Linux, shutdown(2) of a listening socket wakes a blocked accept(2).
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RD)
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            with self._lock:
                self._open.add(client)
                self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        server = Upstream(self._upstream)
        try:
            while self._exchange(Reader(client), server):
                pass
        except (Disconnected, OSError):
            return
        finally:
            server.close()
            with self._lock:
                self._open.discard(client)
            client.close()

    def _exchange(self, client: "Reader", server: "Upstream") -> bool:
        """Forward one request and its response; return whether the connection is kept open."""
        head = client.head()
        method, target = head.start_line.split(" ")[:2]
        if "100-continue" in head.fields.get("expect", "").lower():
            client.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = head.raw + client.body(head)
        with self._lock:
            exchange = Exchange(len(self.exchanges) + 1, method, target)
            self.exchanges.append(exchange)
        chosen = exchange.number == self.injection.at
        if chosen and self.injection.before is not None and not self.injection.before():
            return False
        fault = self.injection.fault if chosen else None
        if fault is Fault.BUSY:
            body = b"" if method == "HEAD" else SLOW_DOWN
            client.socket.sendall(SERVICE_UNAVAILABLE + body)
            return True
        if fault is Fault.RESET:
            return False
        if fault in (Fault.HANG_BEFORE, Fault.LATE):
            _wait_until_closed(client.socket)
            if fault is Fault.HANG_BEFORE:
                return False
        response, body, keep_alive = server.send(request, method)
        exchange.status = int(response.start_line.split(" ")[1])
        if chosen and self.injection.after is not None and not self.injection.after():
            return False
        if fault in (Fault.LOST, Fault.LATE):
            return False
        if fault is Fault.HANG_AFTER:
            _wait_until_closed(client.socket)
            return False
        if fault is Fault.CUT:
            whole = response.raw + body
            cut = len(response.raw) + len(body) // 2 if body else len(whole) // 2
            client.socket.sendall(whole[:cut])
            return False
        client.socket.sendall(response.raw + body)
        return keep_alive and head.fields.get("connection", "").lower() != "close"


@attrs.frozen
class Head:
    """The head of a request or response: raw bytes, start line, and header fields."""

    raw: bytes
    start_line: str
    fields: dict[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> "Head":
        """Parse a head; names of header fields become lower case."""
        start_line, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(raw, start_line, {name.lower(): value.strip() for name, _, value in pairs})


class Reader:
    """Reads HTTP messages from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = b""

    def head(self) -> Head:
        """Return the next head, or raise Disconnected."""
        return Head.parse(self._until(b"\r\n\r\n"))

    def body(self, head: Head, *, to_end: bool = False) -> bytes:
        """Return the body of *head* with its framing; with *to_end*, it may end with the stream."""
        if "chunked" in head.fields.get("transfer-encoding", "").lower():
            return b"".join(self._chunks())
        if "content-length" in head.fields:
            return self._exactly(int(head.fields["content-length"]))
        if not to_end:
            return b""
        with contextlib.suppress(Disconnected):
            while True:
                self._more()
        return self._take(len(self._buffer))

    def _chunks(self) -> Iterator[bytes]:
        size = -1
        while size:
            line = self._until(b"\r\n")
            yield line
            size = int(line.partition(b";")[0], 16)
            if size:
                yield self._exactly(size + 2)
        while (line := self._until(b"\r\n")) != b"\r\n":
            yield line
        yield line

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            if len(self._buffer) > HEAD_LIMIT:
                raise Disconnected
            self._more()
        return self._take(self._buffer.index(end) + len(end))

    def _exactly(self, size: int) -> bytes:
        pieces, missing = [self._take(min(size, len(self._buffer)))], size
        missing -= len(pieces[0])
        while missing:
            piece = self.socket.recv(min(missing, PIECE))
            if not piece:
                raise Disconnected
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _more(self) -> None:
        piece = self.socket.recv(PIECE)
        if not piece:
            raise Disconnected
        self._buffer += piece

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


class Upstream:
    """A connection to the server, opened on demand, and again after the server has closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def send(self, request: bytes, method: str) -> tuple[Head, bytes, bool]:
        """Send *request*; return head and body of the response, and whether to keep alive."""
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            # No request is pending, so readable data means that the server has closed.
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A server that rejects a request may close the connection while the body is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(request)
        reader = Reader(self._socket)
        head = reader.head()
        while head.start_line.split(" ")[1].startswith("1"):
            head = reader.head()
        version, status = head.start_line.split(" ")[:2]
        bodiless = method == "HEAD" or status in ("204", "304")
        framed = {"content-length", "transfer-encoding"} & head.fields.keys()
        body = b"" if bodiless else reader.body(head, to_end=True)
        connection = head.fields.get("connection", "").lower()
        keep_alive = connection != "close" and (version != "HTTP/1.0" or connection == "keep-alive")
        keep_alive = keep_alive and bool(bodiless or framed)
        if not keep_alive:
            self.close()
        return head, body, keep_alive

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _wait_until_closed(connection: socket.socket) -> None:
    """Return when the peer has closed the connection."""
    with contextlib.suppress(OSError):
        while connection.recv(PIECE):
            pass


def record(upstream: tuple[str, int], use: Callable[[Proxy], Any]) -> list[Exchange]:
    """Return the requests that *use* sends through a proxy that injects no fault."""
    with Proxy(upstream) as proxy:
        use(proxy)
    return proxy.exchanges
