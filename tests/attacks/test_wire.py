"""Hostile HTTP: divided, malformed, oversized and foreign requests."""

import contextlib
import os
import resource
import socket
import struct

import psutil
import pytest
from attacks.wire import Wire, head, request, send_request


def test_a_head_may_be_divided_anywhere(gateway):
    whole = head("PUT", "/out/cut", {"x-amz-meta-a": "ünïcode", "content-length": "0"})
    for cut in range(1, len(whole)):
        with Wire(gateway.port) as wire:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.send(whole[:cut])
            # When this request is answered, the server has read the first part of the other one.
            if cut % 16 == 0:
                send_request(gateway.port, "HEAD", "/out")
            wire.send(whole[cut:])
            reply = wire.reply("PUT")

        stored = gateway.index.get("cut").metadata
        assert (200, {"a": "ünïcode"}) == (reply.status, stored), cut


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00" + bytes(500), "BadRequest", id="TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "BadRequest", id="SSH"),
        pytest.param(b"GET /out\r\n\r\n", "BadRequest", id="HTTP/0.9"),
        pytest.param(b"GET /out HTTP/1.1\r\n\r\n", "BadRequest", id="no host"),
        pytest.param(
            b"GET /out HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "BadRequest", id="two hosts"
        ),
        pytest.param(b"GET /out HTTP/1.1\r\nhost : a\r\n\r\n", "BadRequest", id="a space too many"),
        pytest.param(b"GET /out HTTP/1.1\r\nhost\r\n\r\n", "BadRequest", id="a header of no value"),
        pytest.param(
            b"GET /out HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n", "BadRequest", id="NUL in a header"
        ),
        pytest.param(b"GET  /out HTTP/1.1\r\nhost: a\r\n\r\n", "BadRequest", id="two spaces"),
        pytest.param(b"GET /o ut HTTP/1.1\r\nhost: a\r\n\r\n", "BadRequest", id="a space in it"),
        pytest.param(b"GET /out HTTP/eleven\r\nhost: a\r\n\r\n", "BadRequest", id="version"),
        pytest.param(
            b"GET /out HTTP/1.1\r\nhost: a\r\nx: " + b"a" * (1 << 20) + b"\r\n\r\n",
            "RequestHeaderSectionTooLarge",
            id="a header of a megabyte",
        ),
        pytest.param(
            b"GET /out?" + b"a" * (1 << 20) + b" HTTP/1.1\r\nhost: a\r\n\r\n",
            "RequestHeaderSectionTooLarge",
            id="a query of a megabyte",
        ),
        pytest.param(
            b"GET /out HTTP/1.1\r\nhost: a\r\n" + b"x: 1\r\n" * 200_000,
            "RequestHeaderSectionTooLarge",
            id="headers without end",
        ),
        pytest.param(
            b"PUT /out/k HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
            "NotImplemented",
            id="two codings",
        ),
    ],
)
def test_malformed_http_has_an_error_document(gateway, sent, code):
    """The connection is closed."""
    with Wire(gateway.port) as wire:
        wire.send(sent)
        reply = wire.reply()

        assert code == reply.code
        assert "close" == reply.headers["connection"]
        assert reply.headers["x-amz-request-id"] == reply.field("RequestId")
        assert reply.headers["x-amz-id-2"] == reply.field("HostId")
        assert b"" == wire.rest()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(
            {"upgrade": "h2c", "connection": "upgrade", "http2-settings": "AAMAAABk"}, id="HTTP/2"
        ),
        pytest.param(
            {
                "upgrade": "websocket",
                "connection": "upgrade",
                "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
                "sec-websocket-version": "13",
            },
            id="a WebSocket",
        ),
    ],
)
def test_upgrades_are_ignored(gateway, headers):
    """The connection stays HTTP/1.1."""
    with Wire(gateway.port) as wire:
        wire.send(request("GET", "/labresults/a.txt", headers) + request("GET", "/-/healthz"))

        assert [b"alpha", b"alive\n"] == [wire.reply().body, wire.reply().body]


@pytest.mark.parametrize("host", ["a" * 255, "a..b", ".", "[::1", "ü.example", "a:b:c", "-", "%00"])
def test_any_host_name_has_a_response(gateway, signed_gateway, host):
    """Without authentication, names that are none of the gateway are refused; probes have any."""
    for target in ("/labresults/a.txt", "/-/healthz", "/-/metrics", "/-/"):
        reply = send_request(gateway.port, "GET", target, {"host": host})
        assert (403, "AccessDenied") == (reply.status, reply.code)

    assert 200 == send_request(signed_gateway.port, "GET", "/-/healthz", {"host": host}).status


@pytest.mark.parametrize("target", ["/labresults/a.txt", "/labresults/none", "/out", "/-/healthz"])
def test_a_method_in_lower_case_is_that_method(gateway, target):
    """The connection is kept."""
    with Wire(gateway.port) as wire:
        wire.send(request("HeaD", target) + request("get", "/labresults/a.txt"))

        assert wire.reply("HEAD").status in (200, 404)
        assert b"alpha" == wire.reply().body


def test_100_pipelined_requests_are_answered_in_order(gateway):
    """Each response has its own request id."""
    requests, expected = [], []
    for number in range(25):
        requests += [
            request("PUT", f"/out/turn-{number}", {}, b"%d" % number),
            request("GET", f"/out/turn-{number}"),
            request("GET", f"/out/none-{number}"),
            request("PUT", f"/labresults/turn-{number}", {}, b"x" * number * 1000),
        ]
        expected += [(200, b""), (200, b"%d" % number), (404, b""), (403, b"")]

    with Wire(gateway.port) as wire:
        wire.send(b"".join(requests))
        replies = [wire.reply("PUT" if "PUT" in str(sent[:3]) else "GET") for sent in requests]

    assert expected == [(each.status, b"" if each.status >= 400 else each.body) for each in replies]
    assert len(replies) == len({each.headers["x-amz-request-id"] for each in replies})


def test_hundreds_of_idle_connections_do_not_block_others(gateway):
    """Each has sent half a request."""
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            wire = stack.enter_context(Wire(gateway.port))
            wire.send(b"GET /out HTTP/1.1\r\nx: ")

        assert b"alpha" == send_request(gateway.port, "GET", "/labresults/a.txt").body


def test_the_limit_on_open_files_is_raised(gateway):
    """The soft limit is the hard limit."""
    for child in gateway.children():
        soft, hard = child.rlimit(resource.RLIMIT_NOFILE)

        assert min(1 << 16, hard) <= soft


def test_a_put_that_is_cut_at_any_byte_stores_nothing(gateway):
    body = os.urandom(300)
    whole = request("PUT", "/out/dropped", {"x-amz-meta-a": "1"}, body)
    for cut in range(0, len(whole), 7):
        with Wire(gateway.port) as wire:
            wire.send(whole[:cut])

    assert 404 == send_request(gateway.port, "GET", "/out/dropped").status
    assert gateway.index.get("dropped") is None


def connections(gateway):
    """Return the open connections of the gateway."""
    return [
        each.status
        for child in gateway.children()
        for each in child.net_connections("tcp")
        if each.status != psutil.CONN_LISTEN
    ]


def wait_until_closed(gateway):
    """Wait until every connection is closed."""
    while connections(gateway):
        # A request lets the event loop of the server run, which closes them.
        send_request(gateway.port, "GET", "/-/healthz", {"connection": "close"})
    return True


@pytest.mark.timeout(60)
def test_an_idle_connection_that_the_client_closes_is_closed(gateway):
    for _ in range(50):
        with Wire(gateway.port) as wire:
            wire.send(request("GET", "/labresults/a.txt"))
            assert 200 == wire.reply().status

    assert wait_until_closed(gateway)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("cut", [0, 1, 500, 300_000, 2_999_999])
def test_a_connection_that_the_client_resets_is_closed(gateway, cut):
    """The reset arrives in the middle of a body."""
    for target in ("/labresults/refused", "/out/taken"):
        for _ in range(5):
            with Wire(gateway.port) as wire:
                sent = request("PUT", target, {}, bytes(3_000_000))
                wire.send(sent[: len(sent) - 3_000_000 + cut])
                # With a linger time of 0, closing the socket sends RST instead of FIN.
                linger = struct.pack("ii", 1, 0)
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert wait_until_closed(gateway)


@pytest.mark.timeout(60)
def test_a_connection_whose_client_stops_reading_and_leaves_is_closed(gateway):
    send_request(gateway.port, "PUT", "/out/much", {}, bytes(30_000_000))
    for reset in (True, False) * 3:
        with Wire(gateway.port) as wire:
            wire.send(request("GET", "/out/much") * 3)
            wire.socket.recv(1000)
            linger = struct.pack("ii", reset, 0)
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    assert wait_until_closed(gateway)


@pytest.mark.timeout(60)
def test_a_body_in_chunks_of_one_byte_does_not_block_others(gateway):
    size = 30_000
    body = b"1\r\nx\r\n" * size + b"0\r\n\r\n"
    headers = {"transfer-encoding": "chunked"}

    with Wire(gateway.port) as wire:
        wire.send(request("PUT", "/out/bytes", headers, body))
        assert 200 == send_request(gateway.port, "GET", "/labresults/a.txt").status
        assert 200 == wire.reply("PUT").status

    assert b"x" * size == send_request(gateway.port, "GET", "/out/bytes").body
