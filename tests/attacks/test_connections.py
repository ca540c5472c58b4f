"""Clients that hold connections: unfinished heads, bodies and responses that stand still, and many.

Time is virtual, so minutes pass when all tasks wait.
"""
# ruff: noqa: ARG001 - a fixture is a parameter, such as the clock that makes time virtual.

import contextlib
import errno
import io
import json
import resource
import socket
import ssl
import subprocess
import sys
import tracemalloc

import pytest
import structlog
import trio
import trio.testing
from attacks.wire import request
from gateways import a_plan, self_signed, serving
from trio.to_thread import run_sync as in_thread

from worker import telemetry
from worker.gateway import body
from worker.gateway.connections import (
    HEAD_TIMEOUT,
    STALL_TIMEOUT,
    Connections,
    Limits,
    accept_connections,
)
from worker.gateway.server import KEEP_ALIVE
from worker.store import blobs

GET = request("GET", "/labresults/a.txt")
PUT = "PUT /out/k HTTP/1.1\r\nhost: localhost\r\n"
TIMEOUT = b"<Code>RequestTimeout</Code>"
DAY = 86_400.0


@pytest.fixture
def virtual_clock():
    """Virtual time, which passes when all tasks have waited for 50 ms: threads work meanwhile."""
    return trio.testing.MockClock(autojump_threshold=0.05)


@pytest.fixture
async def gateway(tmp_path, nursery, virtual_clock):
    """A gateway in the process of the test, in virtual time."""
    running = await serving(a_plan(tmp_path), nursery)
    yield running
    running.index.close()


@pytest.fixture
def lines():
    """A function that returns the events of the log so far."""
    stream = io.StringIO()
    telemetry.configure("json", "info", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def connect(gateway):
    """Return a connection to *gateway*, to be awaited."""
    return trio.open_tcp_stream("127.0.0.1", gateway.port)  # noqa: ASYNC105 - by the caller


async def rest(stream):
    """Return what *stream* receives until it is closed, and the seconds until then."""
    before, received = trio.current_time(), b""
    with contextlib.suppress(trio.BrokenResourceError), trio.fail_after(DAY):
        received = b"".join([data async for data in stream])
    return received, trio.current_time() - before


async def answer(stream, sent=GET):
    """Send a request for ``a.txt`` and return its response."""
    received = b""
    with trio.fail_after(DAY):
        await stream.send_all(sent)
        while not received.endswith(b"alpha"):
            data = await stream.receive_some()
            assert data, f"the connection was closed after {received[:1000]!r}"
            received += data
    return received


# Heads.

PARTIAL_HEADS = [
    pytest.param(b"G", id="a byte"),
    pytest.param(b"GET /labresults/a.txt HTTP/1.1\r\n", id="a line"),
    pytest.param(b"GET /labresults/a.txt HTTP/1.1\r\nhost: localhost\r\n", id="all but its end"),
    pytest.param(GET[:-1], id="all but a byte"),
    pytest.param(b"GET /" + b"a" * 60_000, id="60 KB"),
]


@pytest.mark.parametrize("sent", PARTIAL_HEADS)
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
async def test_a_head_that_is_not_completed_is_cut_off(gateway, sent, before, virtual_clock):
    """Its time begins with its first byte."""
    async with await connect(gateway) as stream:
        await trio.sleep(100)
        if before:
            await answer(stream, before + sent)
        else:
            await stream.send_all(sent)
        received, seconds = await rest(stream)

    assert TIMEOUT in received
    assert HEAD_TIMEOUT == pytest.approx(seconds, abs=1)


async def test_an_unfinished_head_is_held_once(gateway, virtual_clock):
    """And not also as the bytes that were received last: clients without keys can send many."""
    count, sent = 16, b"GET /" + b"a" * 60_000
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await connect(gateway)) for _ in range(count)]
        await trio.sleep(1)
        tracemalloc.start()
        try:
            for stream in streams:
                await stream.send_all(sent)
            await trio.sleep(1)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert held < 1.5 * count * len(sent)


@pytest.mark.parametrize("pause", [1, 10, 29])
async def test_single_bytes_do_not_extend_the_time_of_a_head(gateway, pause, virtual_clock):
    head, sent = b"GET /" + b"a" * 1000, 0
    async with await connect(gateway) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            for byte in head:
                await stream.send_all(bytes([byte]))
                sent += 1
                with trio.move_on_after(pause):
                    assert TIMEOUT in await stream.receive_some()
                    break

    assert HEAD_TIMEOUT // pause <= sent <= HEAD_TIMEOUT // pause + 2


async def test_a_slow_head_that_is_complete_in_time_is_answered(gateway, virtual_clock):
    """And so is the next one: each has its own time."""
    async with await connect(gateway) as stream:
        for _ in range(3):
            third = len(GET) // 3
            for piece in (GET[:third], GET[third:-1]):
                await stream.send_all(piece)
                await trio.sleep(14)
            assert b"200" == (await answer(stream, GET[-1:])).split(b" ", 2)[1]


async def test_an_idle_connection_is_kept(gateway, virtual_clock):
    """A client may compute between its requests, and connect long before the first."""
    async with await connect(gateway) as stream:
        for _ in range(3):
            await trio.sleep(KEEP_ALIVE - 1)
            await answer(stream)


# TLS.


@pytest.fixture
async def secure(tmp_path, nursery, virtual_clock):
    """A gateway with TLS, and a function that returns a TLS connection to it."""
    certificate = self_signed(tmp_path)
    running = await serving(a_plan(tmp_path, certificate=certificate), nursery)
    context = ssl.create_default_context(cafile=str(certificate.certfile))

    async def connect_securely():
        stream = await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", running.port, https_compatible=True, ssl_context=context
        )
        await stream.do_handshake()
        return stream

    yield running, connect_securely
    running.index.close()


CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50)


@pytest.mark.parametrize("sent", [b"", b"\x16", CLIENT_HELLO], ids=["nothing", "a byte", "a part"])
async def test_a_handshake_that_is_not_completed_is_cut_off(secure, sent, virtual_clock):
    """Its time begins when the connection is accepted."""
    async with await connect(secure[0]) as stream:
        await stream.send_all(sent)
        received, seconds = await rest(stream)

    assert not received.startswith(b"HTTP")
    assert HEAD_TIMEOUT == pytest.approx(seconds, abs=1)


async def test_over_tls_a_head_and_a_body_have_the_same_limits(secure, virtual_clock):
    _, connect_securely = secure
    for sent, expected in (
        (GET[:-1], HEAD_TIMEOUT),
        (f"{PUT}content-length: 5\r\n\r\nhell".encode(), STALL_TIMEOUT),
    ):
        async with await connect_securely() as stream:
            await trio.sleep(100)
            await answer(stream)
            await stream.send_all(sent)
            received, seconds = await rest(stream)

        assert TIMEOUT in received
        assert expected <= seconds <= expected + 10


# Bodies.


def chunked(data):
    """Return the request of a chunked body that starts with *data*."""
    return f"{PUT}transfer-encoding: chunked\r\n\r\n".encode() + data


def form(rest):
    """Return the request of a form whose file starts with *rest*."""
    return (
        b"POST /out HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3000000\r\n"
        b"content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        b'content-disposition: form-data; name="key"\r\n\r\nk\r\n--b\r\n'
        b'content-disposition: form-data; name="file"\r\n\r\n' + rest
    )


FRAMED = (
    f"{PUT}content-length: 3000000\r\nx-amz-decoded-content-length: 2900000\r\n"
    "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n\r\n"
).encode()
STALLED_BODIES = [
    pytest.param(f"{PUT}content-length: 5\r\n\r\n".encode(), id="nothing"),
    pytest.param(f"{PUT}content-length: 5\r\n\r\nhell".encode(), id="all but a byte"),
    pytest.param(f"{PUT}content-length: 9000000\r\n\r\n".encode() + bytes(3000), id="a part"),
    pytest.param(
        f"{PUT}content-length: 9000000\r\n\r\n".encode() + bytes(3_000_000), id="a large part"
    ),
    pytest.param(
        f"{PUT}expect: 100-continue\r\ncontent-length: 5\r\n\r\n".encode(), id="after 100 Continue"
    ),
    pytest.param(chunked(b""), id="no chunk"),
    pytest.param(chunked(b"5"), id="within the size of a chunk"),
    pytest.param(chunked(b"5;a"), id="within an extension"),
    pytest.param(chunked(b"5\r\nhe"), id="within a chunk"),
    pytest.param(chunked(b"5\r\nhello\r\n0\r\n"), id="before the last line"),
    pytest.param(chunked(b"5\r\nhello\r\n0\r\nx: 1"), id="within the trailers"),
    pytest.param(FRAMED + b"20000\r\n" + bytes(70_000), id="aws-chunked"),
    pytest.param(form(b"")[:-30], id="within the fields of a form"),
    pytest.param(form(bytes(1_500_000)), id="within the file of a form"),
    pytest.param(
        b"POST /out?delete HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n"
        b"content-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n\r\n<Delete>",
        id="within a document",
    ),
]


@pytest.mark.parametrize("sent", STALLED_BODIES)
async def test_a_body_that_stalls_is_cut_off(gateway, sent, lines, virtual_clock):
    """The client gets RequestTimeout, and nothing is stored."""
    async with await connect(gateway) as stream:
        await stream.send_all(sent)
        received, seconds = await rest(stream)

    assert TIMEOUT in received
    assert b"\r\nconnection: close\r\n" in received.lower()
    assert STALL_TIMEOUT <= seconds < STALL_TIMEOUT + 30
    assert gateway.index.get("k") is None
    assert [("gateway.client_stalled", "request body", 1)] == [
        (line["event"], line["part"], line["times"]) for line in lines()
    ]
    stage = gateway.plan.scratch.parent / "store"
    assert 1 >= len(list(stage.rglob("job-1/*")))


@pytest.mark.parametrize("size", [7, body.SMALL + 7], ids=["small", "large"])
@pytest.mark.parametrize("frame", [False, True], ids=["length", "chunked"])
async def test_a_body_that_makes_progress_is_received(gateway, size, frame, virtual_clock):
    """However slow it is: a byte within the time limit is progress."""
    kind = "transfer-encoding: chunked" if frame else f"content-length: {size}"
    async with await connect(gateway) as stream:
        await stream.send_all(f"{PUT}{kind}\r\n\r\n".encode())
        first = bytes(size - 7)
        if first:
            await stream.send_all(b"%x\r\n%s\r\n" % (len(first), first) if frame else first)
        for byte in b"goodbye":
            await trio.sleep(STALL_TIMEOUT - 1)
            await stream.send_all(b"1\r\n%c\r\n" % byte if frame else bytes([byte]))
        if frame:
            await stream.send_all(b"0\r\n\r\n")
        await answer(stream)

    assert size == gateway.index.get("k").size


async def test_the_content_of_a_slow_body_is_written_and_not_held(gateway, virtual_clock):
    """Less than a batch is written after seconds, so that many slow clients need little memory."""
    size = body.BATCH - 1000
    async with await connect(gateway) as stream:
        await stream.send_all(f"{PUT}content-length: 9000000\r\n\r\n".encode() + bytes(size))
        for _ in range(30):
            await trio.sleep(5)
            files = (gateway.plan.scratch.parent / "store").rglob("job-1/*")
            written = sum(each.stat().st_size for each in files)
            if written == size:
                break

    assert size == written


def document(method, target, start, size):
    """Return a request whose XML body has *size* bytes, all of them but the last one."""
    head = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n"
    digest = "content-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n\r\n"
    return f"{head}{digest}{start}".encode() + b" " * (size - 1 - len(start))


DOCUMENTS = [
    pytest.param("POST", "/out?delete", "<Delete>", id="deletion"),
    pytest.param("PUT", "/out/k?tagging", "<Tagging>", id="tags"),
    pytest.param("PUT", "/out/k?acl", "<AccessControlPolicy>", id="ACL"),
    pytest.param("POST", "/out/k?restore", "<RestoreRequest>", id="restore"),
    pytest.param("POST", "/out/k?uploadId={upload}", "<Complete", id="completion"),
]


async def new_upload(gateway):
    """Create an upload of ``k`` and return its id."""
    async with await connect(gateway) as stream:
        await stream.send_all(request("POST", "/out/k?uploads", {}, b""))
        created = await stream.receive_some()
    return created.partition(b"<UploadId>")[2].partition(b"<")[0].decode()


@pytest.mark.parametrize(("method", "target", "start"), DOCUMENTS)
async def test_a_slow_document_is_written_and_not_held(
    gateway, method, target, start, virtual_clock
):
    """Many clients that stall within megabytes of XML need little memory."""
    target = target.format(upload=await new_upload(gateway))
    sent = document(method, target, start, 8 << 20)
    tracemalloc.start()
    try:
        async with await connect(gateway) as stream:
            await stream.send_all(sent)
            await trio.sleep(STALL_TIMEOUT / 2)
            held, _ = tracemalloc.get_traced_memory()
            await stream.send_all(b" ")
            received = await stream.receive_some()
    finally:
        tracemalloc.stop()

    assert held < 2 << 20
    assert b"<Code>" in received


async def test_a_document_beyond_the_space_of_scratch_is_unavailable(
    gateway, monkeypatch, virtual_clock
):
    def fail(*_args, **_options):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(body, "SpooledTemporaryFile", fail)
    async with await connect(gateway) as stream:
        await stream.send_all(request("PUT", "/out/k?tagging", {}, b"<Tagging/>"))

        assert b"<Code>ServiceUnavailable</Code>" in await stream.receive_some()
    assert gateway.plan.scratch_full.exists()


@pytest.mark.parametrize("size", [1, 2, 100, body.TINY - 1])
def test_tiny_pieces_of_a_body_are_combined(size):
    """An object of Python for each of them would take many times as much memory."""
    collected, count = [], 100_000 // size
    for _ in range(count):
        body.collect(collected, bytes(size))

    assert bytes(size) * count == b"".join(collected)
    assert len(collected) <= 2 * size * count / body.TINY + 1


async def test_a_stalled_body_does_not_end_its_response(gateway, virtual_clock):
    """A client may announce a body, never send it, and read a response for longer than that."""
    await put(gateway, "large", 8 << 20)
    async with await connect(gateway) as stream:
        await stream.send_all(
            b"GET /out/large HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n"
        )
        received = 0
        with trio.fail_after(DAY):
            while received < 8 << 20:
                await trio.sleep(STALL_TIMEOUT / 8)
                received += len(await stream.receive_some(1 << 18))


# Responses.


async def put(gateway, key, size):
    """Store an object of *size* bytes."""
    async with await connect(gateway) as stream:
        await stream.send_all(request("PUT", f"/out/{key}", {}, bytes(size)))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


SLOW = 64 << 10
"""Bytes that a slow client reads in half of the time limit."""


def small_buffers(stream):
    """Let the kernel receive little for *stream*."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    return stream


@pytest.fixture
async def narrow(tmp_path, nursery, virtual_clock):
    """A gateway with a single connection."""
    running = await serving(a_plan(tmp_path), nursery, limits=Limits(connections=1))
    await put(running, "large", 32 << 20)
    yield running
    running.index.close()


async def test_a_client_that_does_not_read_its_response_is_cut_off(narrow, lines, virtual_clock):
    """The only connection is then free for another client.

    There is no upper bound of its time: the kernel acknowledges data in real time.
    """
    async with await connect(narrow) as stuck, await connect(narrow) as other:
        small_buffers(stuck)
        await stuck.send_all(request("GET", "/out/large"))
        await trio.sleep(1)
        before = trio.current_time()
        await answer(other)
        seconds = trio.current_time() - before

    assert STALL_TIMEOUT <= seconds
    assert ["response"] == [line["part"] for line in lines() if "part" in line]


async def test_over_tls_a_client_that_does_not_read_is_cut_off(secure, lines, virtual_clock):
    _, connect_securely = secure
    async with await connect_securely() as stream:
        await stream.send_all(request("PUT", "/out/large", {}, bytes(32 << 20)))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    async with await connect_securely() as stuck:
        small_buffers(stuck.transport_stream)
        await stuck.send_all(request("GET", "/out/large"))
        for _ in range(100):
            await trio.sleep(STALL_TIMEOUT / 4)
            if found := [line["part"] for line in lines()]:
                break

    assert ["response"] == found


async def test_a_client_that_reads_slowly_gets_its_response(narrow, lines, virtual_clock):
    """It reads less within the time limit than the kernel buffers for it."""
    received, size = 0, 8 << 20
    async with await connect(narrow) as stream:
        small_buffers(stream)
        await stream.send_all(request("GET", "/out/large", {"range": f"bytes=0-{size - 1}"}))
        for _ in range(size // SLOW):
            await trio.sleep(STALL_TIMEOUT / 2)
            step = 0
            while step < SLOW:
                data = await stream.receive_some(SLOW - step)
                assert data, f"the connection was closed after {received} bytes"
                step += len(data)
            received += step

    assert "gateway.client_stalled" not in [line["event"] for line in lines()]


# Many connections.


@pytest.mark.parametrize("sent", [b"", GET[:-1]], ids=["idle", "half a head"])
async def test_many_unfinished_requests_do_not_keep_others_out(
    tmp_path,
    nursery,
    virtual_clock,
    sent,
):
    """At the bound, the oldest idle connection is closed for the next one."""
    running = await serving(a_plan(tmp_path), nursery, limits=Limits(connections=8))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            stream = await stack.enter_async_context(await connect(running))
            await stream.send_all(sent)
        async with await connect(running) as other:
            assert b"200" == (await answer(other)).split(b" ", 2)[1]
            probe = request("GET", "/-/healthz", {"connection": "close"})
            await other.send_all(probe)
            assert (await rest(other))[0].endswith(b"alive\n")
    running.index.close()


HOLDER = """
import resource, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for _ in range(400):
    held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
    held[-1].sendall(b"GET /out HTTP/1.1\\r\\nx: ")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def few_descriptors():
    """A limit of 300 open files for this process, as set by ``ulimit -n``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_400_unfinished_heads_leave_descriptors_for_others(
    tmp_path,
    nursery,
    lines,
    few_descriptors,
):
    """They are those of another process, and the gateway has 300 descriptors."""
    running = await serving(a_plan(tmp_path), nursery)
    command = [sys.executable, "-c", HOLDER, str(running.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        with trio.fail_after(60):
            assert b"held\n" == await in_thread(holder.stdout.readline)
            for target, expected in (("/-/healthz", b"alive\n"), ("/labresults/a.txt", b"alpha")):
                sent = request("GET", target, {"connection": "close"})
                assert (await running.send_request(sent)).endswith(expected)
        holder.communicate()
    running.index.close()

    assert {"gateway.connections_full"} == {line["event"] for line in lines()}


async def test_pipelined_requests_without_end_do_not_keep_others_out(gateway, virtual_clock):
    """They are handled in turn with those of other connections, and read as they are answered."""
    sent = 0

    async def flood(stream):
        nonlocal sent
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await stream.send_all(GET * 100)
                sent += 100

    async with (
        await connect(gateway) as flooding,
        await connect(gateway) as other,
        trio.open_nursery() as tasks,
    ):
        tasks.start_soon(flood, flooding)
        for _ in range(20):
            assert b"200" == (await answer(other)).split(b" ", 2)[1]
        tasks.cancel_scope.cancel()


async def test_what_recurs_is_logged_once_a_minute(gateway, lines, virtual_clock):
    """Each line has the number of times since the one before."""
    for _ in range(2):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                stream = await stack.enter_async_context(await connect(gateway))
                await stream.send_all(GET[:-1])
            await trio.sleep(HEAD_TIMEOUT + 60)
    async with await connect(gateway) as last:
        await last.send_all(GET[:-1])
        await rest(last)

    assert [1, 20, 20] == [line["times"] for line in lines()]
    assert {"gateway.client_stalled"} == {line["event"] for line in lines()}


HASHED = {"x-amz-copy-source": "/out/large", "x-amz-checksum-algorithm": "SHA256"}
READERS = [
    pytest.param("PUT", "/out/copy", HASHED, b"", id="a copy with another checksum"),
    pytest.param(
        "PUT",
        "/out/k?partNumber=1&uploadId={upload}",
        {"x-amz-copy-source": "/out/large", "x-amz-copy-source-range": "bytes=1-2999999"},
        b"",
        id="a copy of a part",
    ),
    pytest.param("GET", "/out/large", {}, None, id="a read"),
    pytest.param("PUT", "/out/k", {}, bytes(3_000_000), id="an upload"),
    pytest.param("GET", "/labresults?list-type=2", {}, None, id="a listing"),
]


@pytest.mark.parametrize(("method", "target", "headers", "content"), READERS)
async def test_more_requests_than_threads_are_answered(
    gateway, method, target, headers, content, monkeypatch, virtual_clock
):
    """None holds a thread while it waits for another one, such as one that reads.

    Without RWF_NOWAIT, as for a store that is no directory, everything is read in threads.
    """
    virtual_clock.autojump_threshold = 2.0  # a thread may work for longer than 50 ms
    await put(gateway, "large", 3_000_000)
    monkeypatch.setattr(blobs, "NOWAIT", None)
    monkeypatch.setattr(trio.to_thread.current_default_thread_limiter(), "total_tokens", 2)
    target = target.format(upload=await new_upload(gateway))
    sent = request(method, target, {**headers, "connection": "close"}, content)
    statuses = []

    async def send():
        async with await connect(gateway) as stream:
            await stream.send_all(sent)
            statuses.append((await rest(stream))[0][9:12])

    async with trio.open_nursery() as clients:
        for _ in range(4):
            clients.start_soon(send)

    assert [b"200"] * 4 == statuses


async def test_requests_that_fail_alike_are_one_line_a_minute(gateway, virtual_clock, lines):
    """A client that repeats a request on a store that fails does not fill the log."""
    for each in (gateway.plan.scratch.parent / "store").rglob("*"):
        if each.is_file() and each.parent.name != "job-1":
            each.unlink()
    async with await connect(gateway) as stream:
        for _ in range(20):
            await stream.send_all(request("GET", "/labresults/a.txt"))
            assert b"HTTP/1.1 5" == (await stream.receive_some())[:10]

    failed = [line for line in lines() if line["event"] == "gateway.failed"]
    assert 1 == len(failed) == failed[0]["times"]


async def test_a_fault_of_one_connection_does_not_end_the_others(nursery, lines):
    """It is logged with its traceback, once a minute."""

    async def handle(stream, _slot):
        if await stream.receive_some() == b"fault":
            raise ZeroDivisionError("a fault")
        await stream.send_all(b"served")

    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    nursery.start_soon(
        accept_connections, listener, lambda stream, _: stream, Connections(9), handle, nursery
    )
    for sent, expected in ((b"fault", b""), (b"fault", b""), (b"request", b"served")):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(sent)
            assert expected == await stream.receive_some()

    assert [("gateway.connection_failed", 1)] == [(x["event"], x["times"]) for x in lines()]
    assert "ZeroDivisionError" in lines()[0]["exception"]
    nursery.cancel_scope.cancel()
