"""Many at once on one key, over several processes: one wins, and nobody sees half of anything."""

import contextlib
import hashlib
import os
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from attacks.cases import completion
from attacks.wire import Reply, Wire, ask, head, request

LARGE = os.urandom(1 << 20) * 12
OTHER = os.urandom(1 << 20) * 12


def at_once(port: int, requests: list[bytes]) -> list[Reply]:
    """Send all requests but for their last bytes, then those, and return the answers in order."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(port)) for _ in requests]
        for wire, sent in zip(wires, requests, strict=True):
            wire.send(sent[:-1])
        for wire, sent in zip(wires, requests, strict=True):
            wire.send(sent[-1:])
        return [wire.reply() for wire in wires]


def etag(data: bytes) -> str:
    """Return the ETag of an object of these bytes."""
    return f'"{hashlib.md5(data).hexdigest()}"'


def an_upload(port: int, key: str, data: bytes) -> tuple[str, bytes]:
    """Begin an upload of one part; return its id and the body that completes it."""
    upload = ask(port, "POST", f"/out/{key}?uploads").field("UploadId")
    part = ask(port, "PUT", f"/out/{key}?partNumber=1&uploadId={upload}", {}, data)
    return upload, completion((1, part.headers["etag"]))


def test_of_hundreds_who_create_one_wins(family):
    """Of 300 who put a key only if it is not there, one is told 200, and it is theirs."""
    bodies = [b"writer %d" % number for number in range(300)]

    replies = at_once(
        family.port,
        [request("PUT", "/out/created", {"if-none-match": "*"}, each) for each in bodies],
    )

    assert {200: 1, 412: 299} == Counter(each.status for each in replies)
    winner = next(body for body, reply in zip(bodies, replies, strict=True) if reply.status == 200)
    assert winner == ask(family.port, "GET", "/out/created").body


def test_of_hundreds_who_replace_one_version_one_wins(family):
    """Of 100 who replace what they all have seen, one is told 200, each time."""
    now = b"before"
    ask(family.port, "PUT", "/out/replaced", {}, now)
    for turn in range(3):
        bodies = [b"writer %d in turn %d" % (number, turn) for number in range(100)]
        replies = at_once(
            family.port,
            [request("PUT", "/out/replaced", {"if-match": etag(now)}, each) for each in bodies],
        )

        assert {200: 1, 412: 99} == Counter(each.status for each in replies)
        now = next(body for body, reply in zip(bodies, replies, strict=True) if reply.status == 200)
        assert now == ask(family.port, "GET", "/out/replaced").body


def test_a_counter_counts(family):
    """Six who read a number and write its successor on condition, again and again, lose none."""
    ask(family.port, "PUT", "/out/counter", {}, b"0")

    def count(_: int) -> None:
        done = 0
        with Wire(family.port) as wire:
            while done < 10:
                wire.send(request("GET", "/out/counter"))
                seen = wire.reply()
                successor = b"%d" % (int(seen.body) + 1)
                condition = {"if-match": seen.headers["etag"]}
                wire.send(request("PUT", "/out/counter", condition, successor))
                done += wire.reply().status == 200

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(count, range(6)))

    assert b"60" == ask(family.port, "GET", "/out/counter").body


def test_of_racing_completions_of_one_key_one_wins(family):
    """Of 30 uploads completed only if the key is not there, one is it; the others live on."""
    uploads = [an_upload(family.port, "completed", b"upload %d" % n) for n in range(30)]

    replies = at_once(
        family.port,
        [
            request("POST", f"/out/completed?uploadId={upload}", {"if-none-match": "*"}, body)
            for upload, body in uploads
        ],
    )

    won = [reply.status == 200 for reply in replies]
    assert {200: 1, 412: 29} == Counter(each.status for each in replies)
    assert b"upload %d" % won.index(True) == ask(family.port, "GET", "/out/completed").body
    for (upload, _), winner in zip(uploads, won, strict=True):
        target = f"/out/completed?uploadId={upload}"
        assert (404 if winner else 200) == ask(family.port, "GET", target).status
        assert (404 if winner else 204) == ask(family.port, "DELETE", target).status


def test_racing_completions_of_one_upload_are_all_answered_alike(family):
    """A client that asks twice at once, because the first answer was late, hears the same."""
    upload, body = an_upload(family.port, "once", b"once")

    replies = at_once(family.port, [request("POST", f"/out/once?uploadId={upload}", {}, body)] * 40)

    assert {(200, replies[0].field("ETag"))} == {(r.status, r.field("ETag")) for r in replies}
    assert b"once" == ask(family.port, "GET", "/out/once").body


def test_a_completion_and_an_abort_agree_on_who_was_first(family):
    """Either the object is there and there was nothing to abort, or it never will be."""
    for turn in range(20):
        key = f"either-{turn}"
        upload, body = an_upload(family.port, key, b"x")
        target = f"/out/{key}?uploadId={upload}"

        completed, aborted = at_once(
            family.port, [request("POST", target, {}, body), request("DELETE", target)]
        )

        there = ask(family.port, "GET", f"/out/{key}").status
        assert (completed.status, aborted.status, there) in ((200, 404, 200), (404, 204, 404))


def test_a_delete_on_condition_takes_only_what_was_seen(family):
    """Of 50 who delete one version, one does; a version put meanwhile is not touched."""
    ask(family.port, "PUT", "/out/seen", {}, b"seen")

    replies = at_once(
        family.port, [request("DELETE", "/out/seen", {"if-match": etag(b"seen")})] * 50
    )
    ask(family.port, "PUT", "/out/seen", {}, b"new")
    late = ask(family.port, "DELETE", "/out/seen", {"if-match": etag(b"seen")})

    assert {204: 1, 404: 49} == Counter(each.status for each in replies)
    assert 412 == late.status
    assert b"new" == ask(family.port, "GET", "/out/seen").body


@contextlib.contextmanager
def reading(port: int, target: str):
    """Ask for a large object, and read its head and a little, so that the rest is under way."""
    with Wire(port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.send(request("GET", target))
        first = wire.socket.recv(1000)
        assert first.startswith(b"HTTP/1.1 200")
        wire._received = first
        yield wire


def test_a_reader_in_flight_keeps_the_old_bytes(family):
    """What somebody is reading is overwritten and deleted, and they read it to the end."""
    ask(family.port, "PUT", "/out/read", {}, LARGE)
    with reading(family.port, "/out/read") as before:
        assert 200 == ask(family.port, "PUT", "/out/read", {}, OTHER).status
        with reading(family.port, "/out/read") as between:
            assert 204 == ask(family.port, "DELETE", "/out/read").status
            assert 404 == ask(family.port, "GET", "/out/read").status

            assert OTHER == between.reply().body
            assert LARGE == before.reply().body


@pytest.mark.parametrize("size", [1000, 300_000, 5_000_000], ids=["small", "medium", "large"])
def test_a_put_that_breaks_off_leaves_the_old_object(family, size):
    """Whether the connection ends in the middle or one byte before the end."""
    ask(family.port, "PUT", "/out/broken", {}, b"old")
    for sent in (0, size // 2, size - 1):
        with Wire(family.port) as wire:
            wire.send(head("PUT", "/out/broken", {"content-length": str(size)}) + b"n" * sent)
        assert b"old" == ask(family.port, "GET", "/out/broken").body

        with Wire(family.port) as wire:
            wire.send(head("PUT", "/out/broken", {"content-length": str(size)}) + b"n" * sent)
            wire.half_close()
            assert "IncompleteBody" == wire.reply("PUT").code
        assert b"old" == ask(family.port, "GET", "/out/broken").body


def test_a_put_and_a_get_within_each_other_both_end(family):
    """A put waits for no reader of its key, a reader for no put, and a copy for neither."""
    ask(family.port, "PUT", "/out/within", {}, LARGE)
    with reading(family.port, "/out/within") as reader, Wire(family.port) as writer:
        writer.send(head("PUT", "/out/within", {"content-length": str(len(OTHER))}))
        writer.send(OTHER[: len(OTHER) // 2])
        assert LARGE == ask(family.port, "GET", "/out/within").body
        copied = ask(family.port, "PUT", "/out/copied", {"x-amz-copy-source": "/out/within"})
        assert 200 == copied.status
        writer.send(OTHER[len(OTHER) // 2 :])
        assert 200 == writer.reply("PUT").status
        assert OTHER == ask(family.port, "GET", "/out/within").body

        assert LARGE == reader.reply().body
    assert LARGE == ask(family.port, "GET", "/out/copied").body


def test_nobody_ever_sees_a_mixture(family):
    """While a key is overwritten in all sizes, each answer has one object's headers and bytes."""
    versions = [bytes([65 + n]) * size for n, size in enumerate((1, 900, 70_000, 300_000) * 3)]
    ask(family.port, "PUT", "/out/mixed", {"x-amz-meta-etag": etag(versions[0])}, versions[0])

    def write(number: int) -> None:
        with Wire(family.port) as wire:
            for body in versions[number::2]:
                wire.send(request("PUT", "/out/mixed", {"x-amz-meta-etag": etag(body)}, body))
                assert 200 == wire.reply("PUT").status

    def read(_: int) -> None:
        with Wire(family.port) as wire:
            for _turn in range(25):
                wire.send(request("GET", "/out/mixed"))
                seen = wire.reply()
                assert etag(seen.body) == seen.headers["etag"] == seen.headers["x-amz-meta-etag"]

    with ThreadPoolExecutor(6) as pool:
        ended = [pool.submit(write, n) for n in range(2)] + [pool.submit(read, n) for n in range(4)]
    for each in ended:
        each.result()
