"""A client that sends exact bytes and parses responses strictly."""

import re
import socket
from xml.etree import ElementTree

import attrs

DEADLINE = 30.0


class TimedOut(AssertionError):
    """No complete response was received in time."""


@attrs.frozen
class Reply:
    """A response as it was received."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error document; empty if it is none."""
        return self.field("Code")

    def field(self, name: str) -> str:
        """The text of the first element with a name; empty if there is none."""
        return next(iter(self.fields(name)), "")

    def fields(self, name: str) -> list[str]:
        """The texts of all elements with a name, in order."""
        if not self.headers.get("content-type", "").startswith("application/xml"):
            return []
        if not self.body:
            return []
        root = ElementTree.fromstring(self.body)  # every document must be one
        return [each.text or "" for each in root.iter() if each.tag.rpartition("}")[2] == name]


class Wire:
    """A connection; unexpected bytes after a response are an error."""

    def __init__(self, port: int, *, deadline: float = DEADLINE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=deadline)
        self._received = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send *data*; a closed connection is noticed when it is read."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except TimeoutError:
            raise TimedOut("the gateway does not take what is sent") from None

    def half_close(self) -> None:
        """Close the sending side."""
        self.socket.shutdown(socket.SHUT_WR)

    def reply(self, method: str = "GET") -> Reply:
        """Read the response to a request with *method*."""
        while True:
            head = self._until(b"\r\n\r\n")
            assert head is not None, "the connection ended without a response"
            first, *lines = head[:-4].decode("latin-1").split("\r\n")
            match = re.fullmatch(r"HTTP/1\.1 (\d{3}) ?[ -~]*", first)
            assert match, f"no status line: {first!r}"
            status = int(match.group(1))
            headers: dict[str, str] = {}
            for line in lines:
                name, colon, value = line.partition(":")
                assert colon, f"no header: {line!r}"
                assert re.fullmatch(r"[!#-'*+\-.0-9A-Z^_`a-z|~]+", name), f"no header: {line!r}"
                assert name.lower() not in headers, f"{name} came twice: {lines}"
                headers[name.lower()] = value.strip(" \t")
            if status >= 200:
                break
        if method == "HEAD" or status in (204, 304):
            return Reply(status, headers, b"")
        if "content-length" in headers:
            return Reply(status, headers, self._exactly(int(headers["content-length"])))
        if headers.get("transfer-encoding") == "chunked":
            return Reply(status, headers, self._chunks())
        return Reply(status, headers, self.rest())

    def rest(self) -> bytes:
        """Read until the connection is closed."""
        while self._more():
            pass
        data, self._received = self._received, b""
        return data

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._received:
            if not self._more():
                assert not self._received, f"the connection ended within {self._received[:200]!r}"
                return None
        end = self._received.index(mark) + len(mark)
        data, self._received = self._received[:end], self._received[end:]
        return data

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            assert self._more(), f"the body ended after {len(self._received)} of {size} bytes"
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _chunks(self) -> bytes:
        data = b""
        while size := int(self._until(b"\r\n") or b"", 16):
            data += self._exactly(size)
            assert b"\r\n" == self._exactly(2)
        assert b"\r\n" == self._exactly(2)
        return data

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise TimedOut(f"no answer came; so far {self._received[:200]!r}") from None
        except ConnectionResetError:
            data = b""
        self._received += data
        return bool(data)


def head(
    method: str,
    target: str | bytes,
    headers: dict[str, str] | None = None,
    *,
    host: str | None = "localhost",
) -> bytes:
    """Return the head of a request with its blank line; a Host is added."""
    sent = {"host": host, **(headers or {})} if host is not None else dict(headers or {})
    lines = [f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in sent.items()]
    raw = target if isinstance(target, bytes) else target.encode()
    return b"\r\n".join([b"%s %s HTTP/1.1" % (method.encode(), raw), *lines, b"", b""])


def request(
    method: str,
    target: str | bytes,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> bytes:
    """Return a request; a Content-Length is added to a body without one."""
    sent = dict(headers or {})
    names = {name.lower() for name in sent}
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        sent["content-length"] = str(len(body))
    return head(method, target, sent) + (body or b"")


def send_request(
    port: int,
    method: str,
    target: str | bytes,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """Send a request on a connection of its own and return the response."""
    with Wire(port) as wire:
        wire.send(request(method, target, headers, body))
        return wire.reply(method)


def framed(*chunks: bytes, trailers: tuple[bytes, ...] = ()) -> bytes:
    """Return an unsigned aws-chunked body of chunks, end and trailers."""
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join(parts) + b"0\r\n" + b"".join(each + b"\r\n" for each in trailers) + b"\r\n"
