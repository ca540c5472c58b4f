"""Concurrent requests for one key: one write succeeds, and each read is consistent."""

import contextlib
import hashlib
import os
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from attacks.cases import completion
from attacks.wire import Reply, Wire, head, request, send_request

LARGE = os.urandom(1 << 20) * 12
OTHER = os.urandom(1 << 20) * 12


def send_together(port: int, requests: list[bytes]) -> list[Reply]:
    """Send all requests except their last bytes, then these; return the responses in order."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(port)) for _ in requests]
        for wire, sent in zip(wires, requests, strict=True):
            wire.send(sent[:-1])
        for wire, sent in zip(wires, requests, strict=True):
            wire.send(sent[-1:])
        return [wire.reply() for wire in wires]


def etag(data: bytes) -> str:
    """Return the ETag of an object with these bytes."""
    return f'"{hashlib.md5(data).hexdigest()}"'


def an_upload(port: int, key: str, data: bytes) -> tuple[str, bytes]:
    """Create an upload of one part; return its id and the body of its completion."""
    upload = send_request(port, "POST", f"/out/{key}?uploads").field("UploadId")
    part = send_request(port, "PUT", f"/out/{key}?partNumber=1&uploadId={upload}", {}, data)
    return upload, completion((1, part.headers["etag"]))


def test_of_300_conditional_creations_one_succeeds(gateway):
    """Its bytes are stored, and all other requests get 412."""
    bodies = [b"writer %d" % number for number in range(300)]

    replies = send_together(
        gateway.port,
        [request("PUT", "/out/created", {"if-none-match": "*"}, each) for each in bodies],
    )

    assert {200: 1, 412: 299} == Counter(each.status for each in replies)
    winner = next(body for body, reply in zip(bodies, replies, strict=True) if reply.status == 200)
    assert winner == send_request(gateway.port, "GET", "/out/created").body


def test_of_100_conditional_replacements_one_succeeds(gateway):
    """All of them name the same ETag in If-Match."""
    now = b"before"
    send_request(gateway.port, "PUT", "/out/replaced", {}, now)
    for turn in range(3):
        bodies = [b"writer %d in turn %d" % (number, turn) for number in range(100)]
        replies = send_together(
            gateway.port,
            [request("PUT", "/out/replaced", {"if-match": etag(now)}, each) for each in bodies],
        )

        assert {200: 1, 412: 99} == Counter(each.status for each in replies)
        now = next(body for body, reply in zip(bodies, replies, strict=True) if reply.status == 200)
        assert now == send_request(gateway.port, "GET", "/out/replaced").body


def test_conditional_increments_lose_none(gateway):
    """Six clients read a number and write its successor."""
    send_request(gateway.port, "PUT", "/out/counter", {}, b"0")

    def count(_: int) -> None:
        done = 0
        with Wire(gateway.port) as wire:
            while done < 10:
                wire.send(request("GET", "/out/counter"))
                seen = wire.reply()
                successor = b"%d" % (int(seen.body) + 1)
                condition = {"if-match": seen.headers["etag"]}
                wire.send(request("PUT", "/out/counter", condition, successor))
                done += wire.reply().status == 200

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(count, range(6)))

    assert b"60" == send_request(gateway.port, "GET", "/out/counter").body


def test_of_30_conditional_completions_one_succeeds(gateway):
    """The other uploads are kept."""
    uploads = [an_upload(gateway.port, "completed", b"upload %d" % n) for n in range(30)]

    replies = send_together(
        gateway.port,
        [
            request("POST", f"/out/completed?uploadId={upload}", {"if-none-match": "*"}, body)
            for upload, body in uploads
        ],
    )

    won = [reply.status == 200 for reply in replies]
    assert {200: 1, 412: 29} == Counter(each.status for each in replies)
    assert (
        b"upload %d" % won.index(True) == send_request(gateway.port, "GET", "/out/completed").body
    )
    for (upload, _), winner in zip(uploads, won, strict=True):
        target = f"/out/completed?uploadId={upload}"
        assert (404 if winner else 200) == send_request(gateway.port, "GET", target).status
        assert 204 == send_request(gateway.port, "DELETE", target).status


def test_concurrent_completions_of_one_upload_have_the_same_response(gateway):
    upload, body = an_upload(gateway.port, "once", b"once")

    replies = send_together(
        gateway.port, [request("POST", f"/out/once?uploadId={upload}", {}, body)] * 40
    )

    assert {(200, replies[0].field("ETag"))} == {(r.status, r.field("ETag")) for r in replies}
    assert b"once" == send_request(gateway.port, "GET", "/out/once").body


def test_a_concurrent_completion_and_abort_are_serialized(gateway):
    for turn in range(20):
        key = f"either-{turn}"
        upload, body = an_upload(gateway.port, key, b"x")
        target = f"/out/{key}?uploadId={upload}"

        completed, aborted = send_together(
            gateway.port, [request("POST", target, {}, body), request("DELETE", target)]
        )

        there = send_request(gateway.port, "GET", f"/out/{key}").status
        assert (completed.status, aborted.status, there) in ((200, 204, 200), (404, 204, 404))


def test_of_50_conditional_deletes_one_succeeds(gateway):
    """A version that was put meanwhile is kept."""
    send_request(gateway.port, "PUT", "/out/seen", {}, b"seen")

    replies = send_together(
        gateway.port, [request("DELETE", "/out/seen", {"if-match": etag(b"seen")})] * 50
    )
    send_request(gateway.port, "PUT", "/out/seen", {}, b"new")
    late = send_request(gateway.port, "DELETE", "/out/seen", {"if-match": etag(b"seen")})

    assert {204: 1, 404: 49} == Counter(each.status for each in replies)
    assert 412 == late.status
    assert b"new" == send_request(gateway.port, "GET", "/out/seen").body


@contextlib.contextmanager
def reading(port: int, target: str):
    """Request a large object, and read the head and some bytes of the response."""
    with Wire(port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.send(request("GET", target))
        first = wire.socket.recv(1000)
        assert first.startswith(b"HTTP/1.1 200")
        wire._received = first
        yield wire


def test_a_read_in_flight_is_a_snapshot(gateway):
    """It returns the old bytes if the object is overwritten or deleted meanwhile."""
    send_request(gateway.port, "PUT", "/out/read", {}, LARGE)
    with reading(gateway.port, "/out/read") as before:
        assert 200 == send_request(gateway.port, "PUT", "/out/read", {}, OTHER).status
        with reading(gateway.port, "/out/read") as between:
            assert 204 == send_request(gateway.port, "DELETE", "/out/read").status
            assert 404 == send_request(gateway.port, "GET", "/out/read").status

            assert OTHER == between.reply().body
            assert LARGE == before.reply().body


@pytest.mark.parametrize("size", [1000, 300_000, 5_000_000], ids=["small", "medium", "large"])
def test_an_incomplete_put_keeps_the_old_object(gateway, size):
    send_request(gateway.port, "PUT", "/out/broken", {}, b"old")
    for sent in (0, size // 2, size - 1):
        with Wire(gateway.port) as wire:
            wire.send(head("PUT", "/out/broken", {"content-length": str(size)}) + b"n" * sent)
        assert b"old" == send_request(gateway.port, "GET", "/out/broken").body

        with Wire(gateway.port) as wire:
            wire.send(head("PUT", "/out/broken", {"content-length": str(size)}) + b"n" * sent)
            wire.half_close()
            assert "IncompleteBody" == wire.reply("PUT").code
        assert b"old" == send_request(gateway.port, "GET", "/out/broken").body


def test_slow_puts_and_gets_of_one_key_do_not_block_each_other(gateway):
    """A copy of the key meanwhile does not block either."""
    send_request(gateway.port, "PUT", "/out/within", {}, LARGE)
    with reading(gateway.port, "/out/within") as reader, Wire(gateway.port) as writer:
        writer.send(head("PUT", "/out/within", {"content-length": str(len(OTHER))}))
        writer.send(OTHER[: len(OTHER) // 2])
        assert LARGE == send_request(gateway.port, "GET", "/out/within").body
        copied = send_request(
            gateway.port, "PUT", "/out/copied", {"x-amz-copy-source": "/out/within"}
        )
        assert 200 == copied.status
        writer.send(OTHER[len(OTHER) // 2 :])
        assert 200 == writer.reply("PUT").status
        assert OTHER == send_request(gateway.port, "GET", "/out/within").body

        assert LARGE == reader.reply().body
    assert LARGE == send_request(gateway.port, "GET", "/out/copied").body


def test_every_response_is_of_one_object(gateway):
    """Meanwhile the key is overwritten with objects of many sizes."""
    versions = [bytes([65 + n]) * size for n, size in enumerate((1, 900, 70_000, 300_000) * 3)]
    send_request(
        gateway.port, "PUT", "/out/mixed", {"x-amz-meta-etag": etag(versions[0])}, versions[0]
    )

    def write(number: int) -> None:
        with Wire(gateway.port) as wire:
            for body in versions[number::2]:
                wire.send(request("PUT", "/out/mixed", {"x-amz-meta-etag": etag(body)}, body))
                assert 200 == wire.reply("PUT").status

    def read(_: int) -> None:
        with Wire(gateway.port) as wire:
            for _turn in range(25):
                wire.send(request("GET", "/out/mixed"))
                seen = wire.reply()
                assert etag(seen.body) == seen.headers["etag"] == seen.headers["x-amz-meta-etag"]

    with ThreadPoolExecutor(6) as pool:
        ended = [pool.submit(write, n) for n in range(2)] + [pool.submit(read, n) for n in range(4)]
    for each in ended:
        each.result()
