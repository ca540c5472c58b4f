"""The web server over raw sockets, and what it relies on in Hypercorn."""

import hashlib
import inspect
import re
import ssl

import pytest
import trio
import trio.testing
from botocore.exceptions import ClientError
from gateways import Running, a_plan, serving
from trio.to_thread import run_sync as in_thread

from worker.gateway import body
from worker.gateway.http1 import Protocol
from worker.gateway.receive_queue import ReceiveQueue
from worker.gateway.server import Connection
from worker.gateway.streams import AdminStream

HEAD_END = b"\r\n\r\n"


def head(*lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join([*lines, "host: localhost", "", ""]).encode("utf-8", "surrogateescape")


def closing(*lines: str) -> bytes:
    """Return the head of the last request of a connection."""
    return head(*lines, "connection: close")


def status(response: bytes) -> int:
    """Return the status of the first response in *response*."""
    return int(response.split(b" ", 2)[1])


def statuses(responses: bytes) -> list[int]:
    """Return the statuses of all responses in *responses*."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+)", responses)]


async def receive_until(stream: trio.abc.ReceiveStream, end: bytes) -> bytes:
    """Receive until the data end with *end*."""
    received = b""
    while not received.endswith(end):
        data = await stream.receive_some()
        assert data, f"the connection was closed after {received[:1000]!r}"
        received += data
    return received


# What is relied on in Hypercorn. If one of these fails after an upgrade, compare the classes in
# worker/gateway/server.py, http1.py and streams.py with the new version of their base classes.


OWN = (
    "__init__",
    "close_after_response",
    "deadline",
    "receive",
    "receive_size",
    "time_out",
    "_is_body_wanted",
    "_receive_body",
    "_receive_end",
    "_receive_head",
    "_refuse",
    "_time_out",
)
"""The methods of these classes that do not override one."""


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (ours, name)
        for ours in (Connection, Protocol, AdminStream)
        for name, value in vars(ours).items()
        if inspect.isfunction(value) and name not in OWN
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_overridden_method_exists_in_hypercorn_with_the_same_parameters(ours, name):
    """An override of a method that Hypercorn has renamed would never be called."""
    overridden = getattr(ours.__base__, name, None)

    assert overridden is not None, f"{ours.__base__.__name__}.{name} no longer exists"
    assert list(inspect.signature(overridden).parameters) == list(
        inspect.signature(getattr(ours, name)).parameters
    )


@pytest.mark.parametrize("count", [1, 1100], ids=["one request", "more than Hypercorn's limit"])
async def test_a_connection_serves_request_after_request(gateway, count):
    """Hypercorn itself closes a connection after 1,000 requests."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        for _ in range(count):
            await stream.send_all(head("GET /labresults/a.txt HTTP/1.1"))

            assert status(await receive_until(stream, b"alpha")) == 200


async def test_a_connection_to_admin_pages_and_buckets_is_kept_alive(gateway):
    """One connection may serve both applications in turn."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        for _ in range(3):
            await stream.send_all(head("GET /-/healthz HTTP/1.1"))
            await receive_until(stream, b"alive\n")
            await stream.send_all(head("GET /labresults/a.txt HTTP/1.1"))
            await receive_until(stream, b"alpha")


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["GET /labresults/a.txt HTTP/1.1"], True),
        (["GET /labresults/a.txt HTTP/1.1", "connection: close"], False),
        (["GET /labresults/a.txt HTTP/1.0"], False),
    ],
    ids=["HTTP/1.1", "Connection: close", "HTTP/1.0"],
)
async def test_a_connection_is_closed_when_the_request_says_so(gateway, lines, kept):
    """The default of HTTP/1.1 is to keep the connection (RFC 9112, 9.3)."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head(*lines))
        await receive_until(stream, b"alpha")
        closed = False
        with trio.move_on_after(0.2 if kept else 20):
            closed = await stream.receive_some() == b""

    assert closed != kept


async def test_a_request_is_served_over_tls(tmp_path, certificate, nursery):
    """Handshake, request, keep-alive; and a client that does not speak TLS is disconnected."""
    running = await serving(a_plan(tmp_path, certificate=certificate), nursery)
    context = ssl.create_default_context(cafile=str(certificate.certfile))
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", running.port, https_compatible=True, ssl_context=context
    )
    async with stream:
        for _ in range(2):
            await stream.send_all(head("GET /labresults/a.txt HTTP/1.1"))
            await receive_until(stream, b"alpha")
    plain = await running.send_request(head("GET /labresults/a.txt HTTP/1.1"))
    running.index.close()

    assert not plain.startswith(b"HTTP")


class TestDraining:
    """The end of `serve`: no new connections, and a deadline for those that are open."""

    @pytest.fixture
    async def served(self, tmp_path, nursery):
        """A gateway, and an event that is set when `serve` has returned."""
        running = await serving(a_plan(tmp_path), nursery)
        yield running
        running.index.close()

    async def test_idle_connections_are_closed(self, served: Running):
        """A connection without a request in flight does not use up the deadline."""
        async with (
            await trio.open_tcp_stream("127.0.0.1", served.port) as fresh,
            await trio.open_tcp_stream("127.0.0.1", served.port) as used,
        ):
            await used.send_all(head("GET /labresults/a.txt HTTP/1.1"))
            await receive_until(used, b"alpha")
            served.draining.deadline = 1000
            served.draining.requested.set()
            with trio.fail_after(20):
                assert b"" == await fresh.receive_some()
                assert b"" == await used.receive_some()
                await served.finished.wait()

        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("127.0.0.1", served.port)

    @pytest.mark.parametrize("size", [9, body.SMALL], ids=["small", "large"])
    async def test_a_request_in_flight_is_finished(self, served: Running, size):
        """Its body is still received, it gets its response, and then the connection is closed."""
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            await stream.send_all(
                head("PUT /out/k HTTP/1.1", f"content-length: {size}", "expect: 100-continue")
            )
            await receive_until(stream, HEAD_END)
            served.draining.deadline = 1000
            served.draining.requested.set()
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stream.send_all(bytes(size) + head("PUT /out/next HTTP/1.1", "content-length: 0"))
            with trio.fail_after(20):
                responses = b"".join([data async for data in stream])
                await served.finished.wait()

        assert [200] == statuses(responses)
        assert served.index.get("k").size == size
        assert served.index.get("next") is None

    async def test_stalled_clients_are_disconnected_at_the_deadline(self, served: Running):
        """One sends half a body, and one does not read its response."""
        size = 32 << 20
        await served.send_request(
            closing("PUT /out/large HTTP/1.1", f"content-length: {size}"), bytes(size)
        )
        async with (
            await trio.open_tcp_stream("127.0.0.1", served.port) as reader,
            await trio.open_tcp_stream("127.0.0.1", served.port) as writer,
        ):
            await reader.send_all(head("GET /out/large HTTP/1.1"))
            await reader.receive_some(1)
            await writer.send_all(head("PUT /out/half HTTP/1.1", "content-length: 9") + b"123")
            await trio.testing.wait_all_tasks_blocked(0.01)
            served.draining.deadline = 0.1
            served.draining.requested.set()
            with trio.fail_after(20):
                await served.finished.wait()

        assert served.index.get("half") is None


# Bodies.


@pytest.mark.parametrize(
    "size", [0, 10, 70_000, body.SMALL * 8], ids=["empty", "small", "medium", "large"]
)
@pytest.mark.parametrize("cut", [0, 1, 70_000], ids=["after the head", "after a byte", "late"])
async def test_requests_after_a_body_are_served(gateway, size, cut):
    """However a body and the next requests are divided into packets, each byte has its place."""
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    rest = content + head("GET /labresults/a.txt HTTP/1.1") + closing("GET /out/k HTTP/1.1")
    first = head("PUT /out/k HTTP/1.1", f"content-length: {size}")
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(first + rest[:cut])
        await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.send_all(rest[cut:])
        responses = b"".join([data async for data in stream])

    assert [200, 200, 200] == statuses(responses)
    assert hashlib.md5(content).hexdigest() == gateway.index.get("k").etag
    assert responses.endswith(HEAD_END + content)


async def test_transfer_encoding_overrides_a_content_length(gateway):
    """The body ends with its last chunk, however long its length claims it is (RFC 9112, 6.3).

    The connection is closed, because a client that means the length has not sent all of it.
    """
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(
            head("PUT /out/k HTTP/1.1", "transfer-encoding: chunked", "content-length: 1000000")
        )
        await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.send_all(b"3\r\nabc\r\n0\r\n\r\n" + closing("GET /out/k HTTP/1.1"))
        with trio.fail_after(20):
            responses = b"".join([data async for data in stream])

    assert [200] == statuses(responses)
    assert hashlib.md5(b"abc").hexdigest() == gateway.index.get("k").etag


async def test_a_chunked_body_is_stored(gateway):
    """Chunks may be divided into packets anywhere."""
    response = await gateway.send_request(
        closing("PUT /out/k HTTP/1.1", "transfer-encoding: chunked"),
        b"3\r\nabc\r\n",
        b"1\r\nd\r\n0\r\n\r\n",
    )

    assert 200 == status(response)
    assert hashlib.md5(b"abcd").hexdigest() == gateway.index.get("k").etag


@pytest.mark.parametrize("method", ["PUT /out/k", "PUT /out/k?partNumber=1&uploadId={}"])
async def test_an_upload_without_a_length_is_rejected(gateway, method):
    """Unless it is chunked. Other requests have no body then (RFC 9112, 6.3)."""
    created = await gateway.send_request(closing("POST /out/k?uploads HTTP/1.1"))
    upload = created.partition(b"<UploadId>")[2].partition(b"<")[0].decode()

    response = await gateway.send_request(closing(f"{method.format(upload)} HTTP/1.1"))

    assert (200, 411) == (status(created), status(response))
    assert b"<Code>MissingContentLength</Code>" in response
    assert b"You must provide the Content-Length HTTP header." in response


async def test_a_read_with_the_hash_of_a_body_is_rejected(gateway):
    response = await gateway.send_request(
        closing("GET /labresults/a.txt HTTP/1.1", "x-amz-content-sha256: " + "ab" * 32)
    )

    assert 400 == status(response)
    assert b"<Code>XAmzContentSHA256Mismatch</Code>" in response


@pytest.mark.parametrize("size", [8_193, 70_000], ids=["above 8 KiB", "above 64 KiB"])
async def test_more_than_8_kib_of_headers_are_rejected(gateway, size):
    response = await gateway.send_request(
        closing("GET /labresults/a.txt HTTP/1.1", f"x-large: {'a' * size}")
    )

    assert 400 == status(response)
    assert b"<Code>RequestHeaderSectionTooLarge</Code>" in response
    assert b"<MaxSizeAllowed>8192</MaxSizeAllowed>" in response


@pytest.mark.parametrize("size", [10, body.SMALL * 8], ids=["small", "large"])
async def test_an_incomplete_put_leaves_nothing(gateway, size):
    """The old object stays, and no blob is left in the stage."""
    await gateway.send_request(closing("PUT /out/k HTTP/1.1", "content-length: 3"), b"old")
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head("PUT /out/k HTTP/1.1", f"content-length: {size}"))
        await stream.send_all(b"x" * (size // 2))
    response = await gateway.send_request(closing("GET /out/k HTTP/1.1"))

    assert response.endswith(b"old")
    with trio.fail_after(20):
        while len(list((gateway.plan.scratch.parent / "store").rglob("job-1/*"))) > 1:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("size", [10, body.SMALL * 8], ids=["small", "large"])
async def test_an_incomplete_body_is_an_error_for_a_client_that_still_reads(gateway, size):
    """A client that closes its side in the middle of a body gets IncompleteBody."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head("PUT /out/k HTTP/1.1", f"content-length: {size}"))
        await stream.send_all(b"x" * (size // 2))
        await stream.send_eof()
        response = b"".join([data async for data in stream])

    assert 400 == status(response)
    assert b"<Code>IncompleteBody</Code>" in response


@pytest.mark.parametrize("value", ["", "-1", "five", "1e3", "0x10", "5, 6"])
async def test_an_invalid_content_length_is_rejected(gateway, value):
    """The response is 400, and the connection is closed."""
    response = await gateway.send_request(head("PUT /out/k HTTP/1.1", f"content-length: {value}"))

    assert 400 == status(response)


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue", "something-else"])
async def test_any_expectation_is_accepted(gateway, expect):
    """A client that waits for `100 Continue` receives it; other values are ignored."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(
            closing("PUT /out/k HTTP/1.1", "content-length: 4", f"expect: {expect}")
        )
        if expect.lower() == "100-continue":
            assert (await receive_until(stream, HEAD_END)).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"data")
        response = b"".join([data async for data in stream])

    assert 200 == status(response)
    assert 4 == gateway.index.get("k").size


async def test_100_continue_has_a_reason_phrase(gateway):
    """Older versions of botocore reject a status line without one."""
    lines = ["PUT /out/k HTTP/1.1", "content-length: 1", "expect: 100-continue"]
    response = await gateway.send_request(closing(*lines), b"x")

    assert response.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert 200 == status(response.partition(HEAD_END)[2])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(["GET /labresults/a.txt HTTP/1.1"], b"200 OK", id="S3"),
        pytest.param(
            ["GET /labresults/a.txt HTTP/1.1", "range: bytes=0-1"], b"206 Partial Content", id="206"
        ),
        pytest.param(["DELETE /out/k HTTP/1.1"], b"204 No Content", id="no content"),
        pytest.param(
            ["GET /labresults/a.txt HTTP/1.1", "if-none-match: *"], b"304 Not Modified", id="304"
        ),
        pytest.param(["HEAD /out/nothing HTTP/1.1"], b"404 Not Found", id="HEAD"),
        pytest.param(["PUT /out/k HTTP/1.1"], b"411 Length Required", id="error"),
        pytest.param(["GET /-/healthz HTTP/1.1"], b"200 OK", id="probe"),
        pytest.param(["GET / HTTP/1.1", "bad header: 1"], b"400 Bad Request", id="malformed HTTP"),
    ],
)
async def test_a_status_line_has_a_reason_phrase(gateway, lines, expected):
    response = await gateway.send_request(closing(*lines))

    assert response.startswith(b"HTTP/1.1 " + expected + b"\r\n")


OFFERED = "expect: 100-continue"


async def test_a_body_that_is_rejected_from_its_head_is_not_invited(gateway):
    """The connection is closed: whether the body follows is not known."""
    await gateway.send_request(closing("PUT /out/k HTTP/1.1", "content-length: 0"))
    offer = head("PUT /out/k HTTP/1.1", "if-none-match: *", OFFERED, "content-length: 1000000")
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(offer)
        response = await receive_until(stream, b"</Error>")

    assert response.startswith(b"HTTP/1.1 412 Precondition Failed\r\n")
    assert b"\r\nconnection: close\r\n" in response


async def test_a_body_that_is_sent_uninvited_is_discarded(gateway):
    """A client may send it without waiting, and has to see the response."""
    await gateway.send_request(closing("PUT /out/k HTTP/1.1", "content-length: 0"))
    offer = head("PUT /out/k HTTP/1.1", "if-none-match: *", OFFERED, "content-length: 1000000")

    response = await gateway.send_request(offer + bytes(1_000_000))

    assert [412] == statuses(response)
    assert response.endswith(b"</Error>")


async def test_a_body_is_invited_when_it_is_read(gateway):
    """Then the connection serves further requests."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        for _ in range(2):
            await stream.send_all(head("PUT /out/k HTTP/1.1", OFFERED, "content-length: 5"))
            invitation = await receive_until(stream, HEAD_END)
            await stream.send_all(b"alpha")
            response = await receive_until(stream, HEAD_END)

            assert b"HTTP/1.1 100 Continue\r\n" == invitation.split(b"\n")[0] + b"\n"
            assert [200] == statuses(response)


async def test_boto3_does_not_send_a_body_that_is_rejected_from_its_head(gateway, monkeypatch):
    """It takes a status line without a reason for no response to "Expect: 100-continue"."""
    client = gateway.client()
    received = []
    put = ReceiveQueue.put

    async def record(queue: ReceiveQueue, data: bytes) -> None:
        received.append(data)
        await put(queue, data)

    def use():
        client.put_object(Bucket="out", Key="k", Body=b"old")
        monkeypatch.setattr(ReceiveQueue, "put", record)
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket="out", Key="k", Body=bytes(1 << 20), IfNoneMatch="*")
        return client.get_object(Bucket="out", Key="k")["Body"].read()

    assert b"old" == await in_thread(use)
    assert not received


async def test_the_body_of_a_rejected_request_is_discarded(gateway):
    """The client receives the response, and the connection serves the next request."""
    response = await gateway.send_request(
        head("PUT /labresults/k HTTP/1.1", "content-length: 400000"),
        b"x" * 400_000,
        closing("GET /labresults/a.txt HTTP/1.1"),
    )

    assert [403, 200] == statuses(response)
    assert response.endswith(b"alpha")


# Requests.


async def test_pipelined_requests_are_answered_in_order(gateway):
    """Each request sees the effect of those before it."""
    response = await gateway.send_request(
        head("PUT /out/a HTTP/1.1", "content-length: 1")
        + b"1"
        + head("GET /out/a HTTP/1.1")
        + head("DELETE /out/a HTTP/1.1")
        + closing("GET /out/a HTTP/1.1")
    )

    assert [200, 200, 204, 404] == statuses(response)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/out/%zz", 400),
        ("/out/%ff", 400),
        ("/out/%00", 400),
        ("//key", 400),
        ("/out/" + "k" * 1025, 400),
        ("/out/a/../passwd", 404),
        ("/out/../../etc/passwd", 400),
        ("/out/a/../../etc/passwd", 400),
        ("/out/%2e%2e/%2e%2e/etc/passwd", 400),
        ("/nowhere/key", 404),
        ("http://localhost/labresults/a.txt", 200),
        ("/labresults/a.txt?x-id=GetObject&unknown", 200),
        ("/labresults/two%20words.txt", 200),
        ("/labresults/two+words.txt", 404),
        ("/labresults/nested%2Fb.txt", 200),
        ("/labresults/nested/deep/ü.txt", 200),
        ("/labresults/a.txt?versionId=other", 400),
    ],
)
async def test_unusual_targets_have_the_status_of_s3(gateway, target, expected):
    """Escapes, dot segments, absolute targets and raw UTF-8."""
    assert expected == status(await gateway.send_request(closing(f"GET {target} HTTP/1.1")))


async def test_a_client_that_closes_its_side_receives_the_response(gateway):
    """A connection that is closed in one direction still carries the response."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(closing("GET /labresults/a.txt HTTP/1.1"))
        await stream.send_eof()
        response = b"".join([data async for data in stream])

    assert response.endswith(b"alpha")


async def test_unknown_methods_are_not_allowed(gateway):
    """A method that S3 does not have is MethodNotAllowed."""
    response = await gateway.send_request(closing("PATCH /out/k HTTP/1.1"))

    assert 405 == status(response)
    assert b"<Code>MethodNotAllowed</Code>" in response


async def test_a_cors_preflight_is_forbidden(gateway):
    """Without a CORS configuration, OPTIONS is AccessForbidden."""
    response = await gateway.send_request(
        closing(
            "OPTIONS /out/k HTTP/1.1",
            "origin: http://a.example",
            "access-control-request-method: GET",
        )
    )

    assert 403 == status(response)
    assert b"<Code>AccessForbidden</Code>" in response


# Responses.


async def test_request_ids_are_unique_and_agree_between_header_and_document(gateway):
    """The ids of an error document are those of its headers."""
    responses = [await gateway.send_request(closing("GET /out/none HTTP/1.1")) for _ in range(2)]
    ids = [re.findall(rb"x-amz-request-id: (\w+)", response)[0] for response in responses]
    head, _, document = responses[0].partition(HEAD_END)

    assert ids[0] != ids[1]
    assert b"<RequestId>%s</RequestId>" % ids[0] in document
    assert re.findall(rb"x-amz-id-2: (\S+)", head)[0] in document


@pytest.mark.parametrize(
    "line",
    ["HEAD /out/none HTTP/1.1", "HEAD /nowhere HTTP/1.1", "HEAD /out/%zz HTTP/1.1"],
    ids=["no key", "no bucket", "bad escape"],
)
async def test_errors_of_head_have_no_body(gateway, line):
    """A response to HEAD ends with its headers."""
    response = await gateway.send_request(closing(line))

    assert 400 <= status(response) < 500
    assert response.endswith(HEAD_END)


async def test_not_modified_has_no_body(gateway):
    """A 304 carries the ETag, and the connection serves the next request."""
    tag = hashlib.md5(b"alpha").hexdigest()
    response = await gateway.send_request(
        head("GET /labresults/a.txt HTTP/1.1", f"if-none-match: {tag}"),
        closing("GET /labresults/a.txt HTTP/1.1"),
    )
    first, _, second = response.partition(HEAD_END)

    assert 304 == status(first)
    assert tag.encode() in first
    assert second.startswith(b"HTTP/1.1 200")
    assert second.endswith(b"alpha")


async def test_a_large_response_ends_when_the_client_disconnects(gateway):
    """The rest of the object is not read from the store."""
    size = 64 << 20
    sent = await gateway.send_request(
        closing("PUT /out/large HTTP/1.1", f"content-length: {size}"), bytes(size)
    )
    assert 200 == status(sent)
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head("GET /out/large HTTP/1.1"))
        await stream.receive_some()
    for _ in range(3):
        await gateway.send_request(closing("GET /out/small HTTP/1.1"))

    assert size > gateway.statistics().buckets["out"].bytes_read


# Admin pages.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/-/healthz", b"alive"),
        ("/-/readyz", b"ready"),
        ("/-/metrics", b'worker_gateway_reads_total{bucket="labresults"} 0'),
        ("/-/", b"s3://labresults"),
    ],
)
async def test_pages_and_probes_are_below_a_dash(gateway, path, expected):
    """No bucket name is `-`, so these paths are free."""
    response = await gateway.send_request(closing(f"GET {path} HTTP/1.1"))

    assert 200 == status(response)
    assert expected in response


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/-/healthz", 200), ("/-/readyz", 200), ("/-/metrics", 404), ("/-/", 404)],
)
async def test_with_authentication_there_are_only_the_probes(locked, path, expected):
    """The pages name buckets and commits, and have no authentication."""
    assert expected == status(await locked.send_request(closing(f"GET {path} HTTP/1.1")))


@pytest.mark.parametrize("close", ["refuse_new", "freeze"])
async def test_readiness_ends_when_the_output_is_closed(gateway, close):
    """A closed output rejects new writes, a frozen one every write."""
    getattr(gateway.index, close)()

    assert 503 == status(await gateway.send_request(closing("GET /-/readyz HTTP/1.1")))


async def test_a_key_may_start_like_a_page_in_the_virtual_host_style(gateway):
    """`/-/healthz` at the host of a bucket is a key."""
    response = await gateway.send_request(
        b"GET /-/healthz HTTP/1.1\r\nhost: out.localhost\r\nconnection: close\r\n\r\n"
    )

    assert 404 == status(response)
    assert b"<Code>NoSuchKey</Code>" in response


@pytest.mark.parametrize("path", ["/-//healthz", "//-/healthz", "/-/none", "/-/healthz/"])
async def test_other_paths_below_a_dash_are_not_found_and_not_redirected(gateway, path):
    """A redirect would contain the host name that the client sent."""
    response = await gateway.send_request(closing(f"GET {path} HTTP/1.1"))

    assert status(response) in (400, 404)
    assert b"location:" not in response.lower()


async def test_a_page_does_not_wait_for_a_body(gateway):
    """A page is sent whether or not the client sends the body that it has announced."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head("GET /-/healthz HTTP/1.1", "content-length: 1000000"))
        with trio.fail_after(20):
            response = await receive_until(stream, b"alive\n")

    assert 200 == status(response)
