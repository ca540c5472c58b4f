"""Raw HTTP: what comes over a socket gets a valid answer, in order, and never a bare 500."""

import hashlib
import re

import pytest
import trio

from worker.gateway import body


def head(*lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join([*lines, "host: localhost", "", ""]).encode("utf-8", "surrogateescape")


def closing(*lines: str) -> bytes:
    """Return the head of the last request of a connection."""
    return head(*lines, "connection: close")


def status(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1])


async def test_pages_and_probes_lie_under_a_dash(gateway):
    """`/-/healthz`, `/-/readyz`, `/-/metrics` and a page for people answer; S3 has the rest."""
    for path, expected in {
        "/-/healthz": b"alive",
        "/-/readyz": b"ready",
        "/-/metrics": b'worker_gateway_reads_total{bucket="labresults"} 0',
        "/-/": b"s3://labresults",
    }.items():
        answer = await gateway.ask(closing(f"GET {path} HTTP/1.1"))

        assert 200 == status(answer)
        assert expected in answer


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/-/healthz", 200), ("/-/readyz", 200), ("/-/metrics", 404), ("/-/", 404)],
)
async def test_only_probes_are_open_where_requests_are_signed(locked, path, expected):
    """The names of buckets and commits are told to nobody who has not signed."""
    assert expected == status(await locked.ask(closing(f"GET {path} HTTP/1.1")))


async def test_readiness_ends_with_the_output(gateway):
    """Once the output is frozen, the gateway is not ready for anything new."""
    gateway.index.freeze()

    assert 503 == status(await gateway.ask(closing("GET /-/readyz HTTP/1.1")))


async def test_a_key_may_begin_like_a_page_in_the_host_of_its_bucket(gateway):
    """`/-/healthz` at the host of a bucket is an object."""
    answer = await gateway.ask(
        b"GET /-/healthz HTTP/1.1\r\nhost: out.localhost\r\nconnection: close\r\n\r\n"
    )

    assert 404 == status(answer)
    assert b"<Code>NoSuchKey</Code>" in answer


async def test_ids_agree_between_header_and_body(gateway):
    """The request id of an error document is that of the header, and no two are the same."""
    answers = [await gateway.ask(closing("GET /out/none HTTP/1.1")) for _ in range(2)]
    ids = [re.findall(rb"x-amz-request-id: (\w+)", answer)[0] for answer in answers]

    assert ids[0] != ids[1]
    assert b"<RequestId>%s</RequestId>" % ids[0] in answers[0]
    assert re.findall(rb"x-amz-id-2: (\S+)", answers[0])[0] in answers[0].partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "line",
    ["HEAD /out/none HTTP/1.1", "HEAD /nowhere HTTP/1.1", "HEAD /out/%zz HTTP/1.1"],
    ids=["no key", "no bucket", "bad escape"],
)
async def test_errors_of_head_have_no_body(gateway, line):
    """An answer to HEAD ends with its head."""
    answer = await gateway.ask(closing(line))

    assert 400 <= status(answer) < 500
    assert answer.endswith(b"\r\n\r\n")


async def test_not_modified_has_no_body_and_the_connection_goes_on(gateway):
    """A 304 carries the ETag, nothing follows its head, and the next answer is whole."""
    tag = hashlib.md5(b"alpha").hexdigest()
    answer = await gateway.ask(
        head("GET /labresults/a.txt HTTP/1.1", f"if-none-match: {tag}"),
        closing("GET /labresults/a.txt HTTP/1.1"),
    )
    first, _, second = answer.partition(b"\r\n\r\n")

    assert 304 == status(first)
    assert tag.encode() in first
    assert second.startswith(b"HTTP/1.1 200")
    assert second.endswith(b"alpha")


@pytest.mark.parametrize("value", ["", "-1", "five", "1e3", "0x10", "5, 6"])
async def test_a_content_length_that_is_none_is_refused(gateway, value):
    """It gets a real 400 and the connection ends."""
    answer = await gateway.ask(head("PUT /out/k HTTP/1.1", f"content-length: {value}"))

    assert 400 == status(answer)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/out/%zz", 400),
        ("/out/%ff", 400),
        ("/out/%00", 400),
        ("//key", 400),
        ("/out/" + "k" * 1025, 400),
        ("/out/../../etc/passwd", 404),
        ("/out/%2e%2e/%2e%2e/etc/passwd", 404),
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
async def test_odd_targets_get_real_answers(gateway, target, expected):
    """Whatever the target, the answer is what S3 says of it."""
    assert expected == status(await gateway.ask(closing(f"GET {target} HTTP/1.1")))


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue", "something-else"])
async def test_any_expectation_is_accepted(gateway, expect):
    """A client that waits for `100 Continue` gets it, and its object is stored."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(
            closing("PUT /out/k HTTP/1.1", "content-length: 4", f"expect: {expect}")
        )
        answer = b""
        if expect.lower() == "100-continue":
            answer = await stream.receive_some()
            assert answer.startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"data")
        async for data in stream:
            answer += data

    assert b"HTTP/1.1 200 " in answer
    assert 4 == gateway.index.get("k").size


async def test_a_body_chunked_by_http_arrives(gateway):
    """A body without a length is stored whole, however it is cut."""
    answer = await gateway.ask(
        closing("PUT /out/k HTTP/1.1", "transfer-encoding: chunked"),
        b"3\r\nabc\r\n",
        b"1\r\nd\r\n0\r\n\r\n",
    )

    assert 200 == status(answer)
    assert hashlib.md5(b"abcd").hexdigest() == gateway.index.get("k").etag


async def test_a_put_without_any_length_has_an_empty_body(gateway):
    """Neither Content-Length nor Transfer-Encoding: an empty object, and no waiting for more."""
    answer = await gateway.ask(closing("PUT /out/k HTTP/1.1"))

    assert 200 == status(answer)
    assert 0 == gateway.index.get("k").size


@pytest.mark.parametrize("size", [10, body.SMALL * 8], ids=["small", "large"])
async def test_a_put_that_breaks_off_leaves_nothing(gateway, size):
    """Half an object does not exist, the old one stays, and no blob is left behind."""
    await gateway.ask(closing("PUT /out/k HTTP/1.1", "content-length: 3"), b"old")
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head("PUT /out/k HTTP/1.1", f"content-length: {size}"))
        await stream.send_all(b"x" * (size // 2))
    answer = await gateway.ask(closing("GET /out/k HTTP/1.1"))

    assert answer.endswith(b"old")
    with trio.fail_after(5):
        while len(list((gateway.plan.scratch.parent / "store").rglob("job-1/*"))) > 1:
            await trio.lowlevel.checkpoint()


async def test_requests_in_a_row_are_answered_in_order(gateway):
    """Pipelined requests get their answers in the order of the requests."""
    answer = await gateway.ask(
        head("PUT /out/a HTTP/1.1", "content-length: 1")
        + b"1"
        + head("GET /out/a HTTP/1.1")
        + head("DELETE /out/a HTTP/1.1")
        + closing("GET /out/a HTTP/1.1")
    )

    assert [b"200", b"200", b"204", b"404"] == re.findall(rb"HTTP/1.1 (\d+)", answer)


async def test_a_connection_goes_on_after_an_error(gateway):
    """A refused body is read to its end, and the connection serves the next request."""
    answer = await gateway.ask(
        head("PUT /labresults/k HTTP/1.1", "content-length: 400000"),
        b"x" * 400_000,
        closing("GET /labresults/a.txt HTTP/1.1"),
    )

    assert [b"403", b"200"] == re.findall(rb"HTTP/1.1 (\d+)", answer)
    assert answer.endswith(b"alpha")


async def test_a_client_that_has_said_all_it_will_is_answered(gateway):
    """A connection that the client has closed in one direction still carries the answer."""
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(closing("GET /labresults/a.txt HTTP/1.1"))
        await stream.send_eof()
        answer = b""
        async for data in stream:
            answer += data

    assert answer.endswith(b"alpha")


async def test_a_client_that_goes_away_ends_a_large_answer(gateway):
    """What nobody receives is not read: of 64 MiB only the first pieces are counted."""
    size = 64 << 20
    sent = await gateway.ask(
        closing("PUT /out/large HTTP/1.1", f"content-length: {size}"), bytes(size)
    )
    assert 200 == status(sent)
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head("GET /out/large HTTP/1.1"))
        await stream.receive_some()
    for _ in range(3):
        await gateway.ask(closing("GET /out/small HTTP/1.1"))

    assert size > gateway.statistics().buckets["out"].bytes_read


async def test_options_without_cors_is_refused(gateway):
    """A preflight is answered with an error document, not with a failure."""
    answer = await gateway.ask(
        closing(
            "OPTIONS /out/k HTTP/1.1",
            "origin: http://a.example",
            "access-control-request-method: GET",
        )
    )

    assert 403 == status(answer)
    assert b"<Code>AccessForbidden</Code>" in answer


async def test_unknown_methods_are_refused_by_name(gateway):
    """A method that S3 does not have gets MethodNotAllowed."""
    answer = await gateway.ask(closing("PATCH /out/k HTTP/1.1"))

    assert 405 == status(answer)
    assert b"<Code>MethodNotAllowed</Code>" in answer


async def test_continue_has_its_reason(gateway):
    """`100 Continue` is sent in full: older botocore takes a line of two words for no answer."""
    lines = ["PUT /out/k HTTP/1.1", "content-length: 1", "expect: 100-continue"]
    answer = await gateway.ask(closing(*lines), b"x")

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert 200 == status(answer.partition(b"\r\n\r\n")[2])
