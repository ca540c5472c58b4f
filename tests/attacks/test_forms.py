"""Hostile forms: framing, truncation, floods, and fields that try to be something else."""

import socket

import pytest
from attacks.wire import Wire, head, request, send_request

BOUNDARY = "b0undary"
KIND = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
CONTENT = b"\r\n--b0undar\r\n\r\n-- \x00\xff" * 40


def a_part(name: str, value: bytes, more: str = "") -> bytes:
    """Return a part with its boundary."""
    disposition = f'content-disposition: form-data; name="{name}"{more}'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + value + b"\r\n"


def a_form(key: str, content: bytes = CONTENT, *before: bytes) -> bytes:
    """Return a form that stores *content*."""
    file = a_part("file", content, '; filename="f"')
    return b"".join([a_part("key", key.encode()), *before, file]) + f"--{BOUNDARY}--\r\n".encode()


def keys(gateway) -> list[str]:
    """Return the keys of ``out`` that these tests write."""
    return [each.key for each in gateway.index.entries() if each.key.startswith("form/")]


@pytest.fixture(autouse=True)
def empty(gateway):
    """Remove what a test has written."""
    yield
    for key in keys(gateway):
        send_request(gateway.port, "DELETE", f"/out/{key}")


def test_a_form_may_be_divided_anywhere(gateway):
    """Also in chunks of the transfer coding."""
    body = a_form("form/cut")
    kind = {**KIND, "transfer-encoding": "chunked"}
    for cut in range(1, len(body), 11):
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (body[:cut], body[cut:]))
        with Wire(gateway.port) as wire:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.send(head("POST", "/out", kind))
            wire.send(chunks[: cut + 4])
            wire.send(chunks[cut + 4 :] + b"0\r\n\r\n")
            assert 204 == wire.reply("POST").status, cut

        assert CONTENT == send_request(gateway.port, "GET", "/out/form/cut").body, cut


def test_a_form_that_ends_early_stores_nothing(gateway):
    """The connection ends within the body: wherever, an existing object stays."""
    body = a_form("form/old", b"new" * 200)
    assert 200 == send_request(gateway.port, "PUT", "/out/form/old", {}, b"old").status
    sent = {**KIND, "content-length": str(len(body))}
    for cut in range(0, len(body), 13):
        with Wire(gateway.port) as wire:
            wire.send(head("POST", "/out", sent) + body[:cut])
            wire.half_close()
            reply = wire.reply("POST")
            assert (400, b"") == (reply.status, wire.rest()), cut

    assert b"old" == send_request(gateway.port, "GET", "/out/form/old").body


def test_a_form_without_its_end_stores_nothing_and_the_connection_stays(gateway):
    """The body is complete as HTTP has it, and cut anywhere as a form."""
    body = a_form("form/cut")
    with Wire(gateway.port) as wire:
        for end in range(0, len(body) - 4, 7):
            wire.send(request("POST", "/out", KIND, body[:end]))
            reply = wire.reply("POST")
            assert (400, "MalformedPOSTRequest") == (reply.status, reply.code), end
        wire.send(request("POST", "/out", KIND, body))
        assert 204 == wire.reply("POST").status

    assert ["form/cut"] == keys(gateway)


FLOOD = b"x" * 40_000

REJECTED = {
    "no field": (b"", "InvalidArgument"),
    "field without end": (a_part("x-ignore-a", FLOOD), "MaxPostPreDataLengthExceeded"),
    "many fields": (a_part("x-ignore-a", b"") * 1000, "MaxPostPreDataLengthExceeded"),
    "header without end": (b"--b0undary\r\na: " + FLOOD, "MalformedPOSTRequest"),
    "name without end": (b"--b0undary\r\n" + FLOOD, "MalformedPOSTRequest"),
    "many headers": (b"--b0undary\r\n" + b"a: b\r\n" * 3000, "MalformedPOSTRequest"),
    "preamble": (b"preamble\r\n", "MalformedPOSTRequest"),
    "newlines": (b"\r\n" * 20_000, "MaxPostPreDataLengthExceeded"),
    "nested form": (
        b"--b0undary\r\ncontent-type: multipart/mixed; boundary=in\r\n\r\n"
        b"--in\r\n\r\nx\r\n--in--\r\n",
        "InvalidArgument",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_rejected_form_leaves_the_connection_usable(gateway, name):
    before, code = REJECTED[name]
    body = before + (a_form("form/k").replace(a_part("key", b"form/k"), b""))
    with Wire(gateway.port) as wire:
        wire.send(request("POST", "/out", KIND, body))
        reply = wire.reply("POST")
        wire.send(request("GET", "/labresults/a.txt"))

        assert (400, code) == (reply.status, reply.code)
        assert b"alpha" == wire.reply().body
    assert [] == keys(gateway)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 71,
        'multipart/form-data; boundary="',
        "multipart/form-data; boundary=other",
        'multipart/form-data; boundary="b0undary\\"',
    ],
)
def test_another_boundary_is_malformed(gateway, kind):
    reply = send_request(gateway.port, "POST", "/out", {"content-type": kind}, a_form("form/k"))

    assert (400, "MalformedPOSTRequest") == (reply.status, reply.code)
    assert [] == keys(gateway)


def test_a_request_behind_a_form_is_answered(gateway):
    """Pipelined; the body of the form is not taken for it, nor it for the form."""
    inner = b"GET /labresults/a.txt HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with Wire(gateway.port) as wire:
        wire.send(request("POST", "/out", KIND, a_form("form/k", inner)) + inner)

        assert (204, b"alpha") == (wire.reply("POST").status, wire.reply().body)
    assert inner == send_request(gateway.port, "GET", "/out/form/k").body


def test_a_form_needs_a_length(gateway):
    reply = send_request(gateway.port, "POST", "/out", KIND)

    assert (411, "MissingContentLength") == (reply.status, reply.code)


def test_a_form_for_an_input_is_refused_before_its_body_is_invited(gateway):
    sent = {**KIND, "content-length": str(1 << 30), "expect": "100-continue"}
    with Wire(gateway.port) as wire:
        wire.send(head("POST", "/labresults", sent))

        assert "AccessDenied" == wire.reply("POST").code


def test_a_form_beyond_5_gibibytes_is_refused_from_its_head(gateway):
    sent = {**KIND, "content-length": str((5 << 30) + 1), "expect": "100-continue"}
    with Wire(gateway.port) as wire:
        wire.send(head("POST", "/out", sent))

        assert "EntityTooLarge" == wire.reply("POST").code


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-meta-a\\r\\nset-cookie", b"a"),
        ("x-amz-meta-a: b", b"c"),
        ("Cache-Control", b"a\r\nset-cookie: b"),
        ("Content-Disposition", b"a\0b"),
    ],
)
def test_a_field_cannot_inject_a_header(gateway, name, value):
    body = a_form("form/k", b"", a_part(name, value))

    assert "InvalidArgument" == send_request(gateway.port, "POST", "/out", KIND, body).code
    assert [] == keys(gateway)


def test_a_redirect_cannot_inject_a_header(gateway):
    """A URL with a line end is no URL; a key with one is encoded."""
    for url, key in ((b"http://a/\r\nset-cookie: b", "form/k"), (b"http://a/", "form/\r\nb: c")):
        body = a_form(key, b"", a_part("success_action_redirect", url))
        reply = send_request(gateway.port, "POST", "/out", KIND, body)

        assert reply.status in (204, 303)
        assert {"set-cookie", "b"}.isdisjoint(reply.headers)


def test_metadata_with_any_text_can_be_read(gateway):
    """Line ends and control characters are encoded; white space at the ends is none of it."""
    fields = {"lines": "a\r\nb", "nul": "\0", "edge": " \ta\t ", "text": "ü€"}
    parts = [a_part(f"x-amz-meta-{name}", value.encode()) for name, value in fields.items()]
    body = a_form("form/k", b"", *parts)

    assert 204 == send_request(gateway.port, "POST", "/out", KIND, body).status
    assert 200 == send_request(gateway.port, "HEAD", "/out/form/k").status
    assert {**fields, "edge": "a"} == gateway.index.get("form/k").metadata


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\r\n--b0undary!" * 100_000, id="boundaries that are none"),
        pytest.param(b"\r" * 3_000_000, id="line ends"),
        pytest.param(b"--b0undary" * 100_000, id="boundaries without line ends"),
    ],
)
def test_content_that_resembles_boundaries_is_stored_as_it_is(gateway, content):
    reply = send_request(gateway.port, "POST", "/out", KIND, a_form("form/k", content))

    assert 204 == reply.status
    assert content == send_request(gateway.port, "GET", "/out/form/k").body


def test_memory_does_not_grow_with_the_size_of_a_form(gateway):
    """Of the file, of what precedes it, and of what follows it."""
    filler = bytes(1 << 20)
    size = 96
    before = gateway.rss()
    for first, last in (
        (a_form("form/large", b"").removesuffix(b"\r\n--b0undary--\r\n"), b"\r\n--b0undary--\r\n"),
        (a_form("form/tail", b"x") + a_part("x", b"").removesuffix(b"\r\n"), b"\r\n"),
        (a_part("x-ignore-a", b"").removesuffix(b"\r\n"), b"\r\n--b0undary--\r\n"),
    ):
        total = len(first) + size * len(filler) + len(last)
        with Wire(gateway.port) as wire:
            wire.send(head("POST", "/out", {**KIND, "content-length": str(total)}) + first)
            for _ in range(size):
                wire.send(filler)
            wire.send(last)
            wire.reply("POST")

    assert size << 20 == gateway.index.get("form/large").size
    assert gateway.rss() - before < 64 << 20
