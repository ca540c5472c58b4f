"""Signatures that are moved to another request, and requests that are changed under a signature.

The attacker has a valid signature, or none, and no key. Whatever is changed, nothing is stored,
deleted or shown.
"""
# ruff: noqa: ARG005 - a row of a table takes what it may change.

import hashlib
import hmac
import re
from datetime import timedelta
from urllib.parse import quote

import attrs
import pytest
from attacks.conftest import KEYS
from attacks.signing import EMPTY, STREAMING, Signer, seed_of
from attacks.wire import Wire, head, send_request
from builders import checksum_of

from worker.s3.aws_chunked import MIN_CHUNK

KEY = "/out/signatures/key"
OTHER = "/out/signatures/other"
CONTENT = b"content of the key"


@pytest.fixture
def signer():
    """A signer with the keys of the job."""
    return Signer(KEYS.access, KEYS.secret)


@pytest.fixture(autouse=True)
def objects(signed_gateway):
    """Store the two objects, and check afterwards that they and no others are there."""
    signer = Signer(KEYS.access, KEYS.secret)
    for target in (KEY, OTHER):
        if stored(signed_gateway).get(target) is None:
            digest = hashlib.sha256(CONTENT).hexdigest()
            headers = signer.headers("PUT", target, payload=digest)
            assert 200 == send_request(signed_gateway.port, "PUT", target, headers, CONTENT).status
    before = stored(signed_gateway)
    yield
    assert before == stored(signed_gateway)


def stored(gateway):
    """Return what is stored below the prefix of these tests."""
    prefix = "signatures/"
    return {
        f"/out/{each.key}": each for each in gateway.index.entries() if each.key.startswith(prefix)
    }


def assert_refused(reply):
    """The response is an error of the client, and has neither content nor the key."""
    assert 400 <= reply.status < 500, (reply.status, reply.body)
    assert CONTENT not in reply.body
    assert KEYS.secret.encode() not in reply.body


# Requests to which a signature of GET of the key is moved.
MOVED = [
    pytest.param("HEAD", KEY, id="HEAD"),
    pytest.param("PUT", KEY, id="PUT"),
    pytest.param("DELETE", KEY, id="DELETE"),
    pytest.param("POST", f"{KEY}?uploads", id="an upload"),
    pytest.param("GET", OTHER, id="another key"),
    pytest.param("GET", "/labresults/signatures/key", id="another bucket"),
    pytest.param("GET", "/out", id="the bucket"),
    pytest.param("GET", "/", id="the service"),
    pytest.param("GET", f"{KEY}/", id="a slash behind"),
    pytest.param("GET", "/out//signatures/key", id="two slashes"),
    pytest.param("GET", "/out/./signatures/key", id="a point"),
    pytest.param("GET", "/out/signatures/x/../key", id="a folder and the one above"),
    pytest.param("GET", "/OUT/signatures/key", id="upper case"),
    pytest.param("GET", f"{KEY};x", id="a semicolon"),
    pytest.param("GET", f"{KEY}#x", id="a fragment"),
    pytest.param("GET", f"{KEY}?acl", id="its ACL"),
    pytest.param("GET", f"{KEY}?tagging", id="its tags"),
    pytest.param("GET", f"{KEY}?versionId=null", id="a version"),
    pytest.param("GET", f"{KEY}?partNumber=1", id="a part"),
    pytest.param("GET", f"{KEY}?response-content-type=text/html", id="another type"),
    pytest.param("POST", "/out?delete", id="a deletion of many"),
]
# Headers that are added to a signed PUT.
ADDED = [
    pytest.param({name: value}, id=name)
    for name, value in {
        "x-amz-copy-source": "/labresults/a.txt",
        "x-amz-acl": "public-read",
        "x-amz-meta-a": "b",
        "x-amz-tagging": "a=b",
        "x-amz-storage-class": "GLACIER",
        "x-amz-decoded-content-length": "4",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-write-offset-bytes": "0",
        "x-amz-website-redirect-location": "/x",
        "x-amz-expected-bucket-owner": "1" * 12,
    }.items()
]
V4_CHANGES = {
    "a shorter signature": lambda text: text[:-1],
    "a longer signature": lambda text: f"{text}0",
    "another region": lambda text: text.replace("us-east-1", "eu-west-1"),
    "no region": lambda text: text.replace("us-east-1", ""),
    "another date": lambda text: re.sub(r"/\d{8}/", "/20200101/", text),
    "another service": lambda text: text.replace("/s3/", "/sts/"),
    "another end": lambda text: text.replace("aws4_request", "aws5_request"),
    "a prefix of the key": lambda text: text.replace("Credential=", "Credential=x/"),
    "the key in lower case": lambda text: text.replace(KEYS.access, KEYS.access.lower()),
    "a component more": lambda text: f"{text}, X=y",
    "the signature twice": lambda text: f"{text}, {text.rpartition(', ')[2]}",
    "a signed header less": lambda text: text.replace(";x-amz-date", ""),
    "a signed header more": lambda text: text.replace("=host", "=accept;host"),
    "a signed header twice": lambda text: text.replace("=host", "=host;host"),
    "signed headers in another order": lambda text: text.replace(
        "host;x-amz-content-sha256", "x-amz-content-sha256;host"
    ),
    "an empty signed header": lambda text: text.replace("=host", "=;host"),
    "another algorithm": lambda text: text.replace("HMAC-SHA256", "ECDSA-P256-SHA256"),
    "the algorithm in lower case": lambda text: text.replace("AWS4-HMAC", "aws4-hmac"),
    "SigV2": lambda text: f"AWS {KEYS.access}:{text.rpartition('=')[2]}",
}


@pytest.mark.parametrize(("method", "target"), MOVED)
@pytest.mark.parametrize("version", ["headers", "headers_v2"], ids=["SigV4", "SigV2"])
def test_a_signature_is_valid_for_its_request_only(signed_gateway, signer, version, method, target):
    signed = getattr(signer, version)("GET", KEY)
    body = b"evil" if method in ("PUT", "POST") else None

    assert_refused(send_request(signed_gateway.port, method, target, signed, body))


@pytest.mark.parametrize(("method", "target"), MOVED)
@pytest.mark.parametrize("version", ["presigned", "presigned_v2"], ids=["SigV4", "SigV2"])
def test_a_presigned_url_is_valid_for_its_request_only(
    signed_gateway, signer, version, method, target
):
    query = getattr(signer, version)("GET", KEY).partition("?")[2]
    body = b"evil" if method in ("PUT", "POST") else None
    url = f"{target}{'&' if '?' in target else '?'}{query}"

    assert_refused(send_request(signed_gateway.port, method, url, {}, body))


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("version", ["headers", "headers_v2"], ids=["SigV4", "SigV2"])
def test_a_header_that_is_not_signed_is_refused(signed_gateway, signer, version, added):
    more = {"payload": "UNSIGNED-PAYLOAD"} if version == "headers" else {}
    signed = getattr(signer, version)("PUT", KEY, **more)

    assert_refused(
        send_request(
            signed_gateway.port, "PUT", KEY, {**signed, **added}, b"4\r\nevil\r\n0\r\n\r\n"
        )
    )


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("place", ["header", "query"])
@pytest.mark.parametrize("version", ["presigned", "presigned_v2"], ids=["SigV4", "SigV2"])
def test_a_presigned_url_takes_no_further_header(signed_gateway, signer, version, place, added):
    """Also not as a parameter."""
    url = getattr(signer, version)("PUT", KEY)
    if place == "query":
        url += "".join(f"&{name}={quote(value)}" for name, value in added.items())
    headers = added if place == "header" else {}

    assert_refused(
        send_request(signed_gateway.port, "PUT", url, headers, b"4\r\nevil\r\n0\r\n\r\n")
    )


@pytest.mark.parametrize("change", V4_CHANGES.values(), ids=V4_CHANGES)
def test_a_changed_authorization_is_refused(signed_gateway, signer, change):
    signed = signer.headers("GET", KEY)
    changed = {**signed, "authorization": change(signed["authorization"])}

    assert changed != signed
    assert_refused(send_request(signed_gateway.port, "GET", KEY, changed))


@pytest.mark.parametrize("host", ["evil", "localhost.", "LOCALHOST", "out.localhost", "127.0.0.1"])
def test_a_signature_is_valid_for_its_host_only(signed_gateway, signer, host):
    with Wire(signed_gateway.port) as wire:
        wire.send(head("GET", KEY, signer.headers("GET", KEY), host=host))

        assert_refused(wire.reply())


V2_CHANGES = {
    "another date": {"date": "Thu, 01 Jan 2026 00:00:00 GMT"},
    "no date": {"date": ""},
    "x-amz-date": {"x-amz-date": "Thu, 01 Jan 2026 00:00:00 GMT"},
    "a content type": {"content-type": "text/html"},
    "a digest": {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="},
    "a token": {"x-amz-security-token": "x"},
    "no signature": {"authorization": f"AWS {KEYS.access}:"},
    "another key": {"authorization": "AWS another:c2ln"},
    "two signatures": {"authorization": f"AWS {KEYS.access}:a:b"},
    "SigV4": {"authorization": "AWS4-HMAC-SHA256 Credential=a"},
}


@pytest.mark.parametrize("change", V2_CHANGES.values(), ids=V2_CHANGES)
def test_a_changed_header_of_sigv2_is_refused(signed_gateway, signer, change):
    signed = {**signer.headers_v2("GET", KEY), **change}

    assert_refused(send_request(signed_gateway.port, "GET", KEY, signed))


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_sigv2_signature_is_valid_for_15_minutes(signed_gateway, signer, minutes):
    other = attrs.evolve(signer, when=signer.when + timedelta(minutes=minutes))

    assert_refused(send_request(signed_gateway.port, "GET", KEY, other.headers_v2("GET", KEY)))


def _as_header(signer):
    url = signer.presigned_v2("GET", KEY)
    expires, signature = re.findall(r"Expires=(\d+)&Signature=(.*)", url)[0]
    signature = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
    return KEY, {"date": expires, "authorization": f"AWS {signer.access}:{signature}"}


def _as_url(signer):
    signed = signer.headers_v2("GET", KEY)
    signature = quote(signed["authorization"].partition(":")[2], safe="")
    date = quote(signed["date"])
    return f"{KEY}?AWSAccessKeyId={signer.access}&Expires={date}&Signature={signature}", {}


@pytest.mark.parametrize("move", [_as_header, _as_url], ids=["to a header", "to a URL"])
def test_a_sigv2_signature_stays_in_its_place(signed_gateway, signer, move):
    """The time of a URL and the date of a header have the same line."""
    target, headers = move(signer)

    assert_refused(send_request(signed_gateway.port, "GET", target, headers))


URLS_V2 = {
    "later": lambda url: re.sub(r"Expires=\d+", "Expires=9999999999", url),
    "later as well": lambda url: f"{url}&Expires=9999999999",
    "another signature as well": lambda url: f"{url}&Signature=x",
    "SigV4 as well": lambda url: f"{url}&X-Amz-Signature=x",
    "a fragment": lambda url: url.replace("&Signature", "#&Signature"),
    "parameters in lower case": lambda url: url.replace("AWSAccessKeyId", "awsaccesskeyid"),
    "a content type": lambda url: f"{url}&Content-Type=text/html",
    "a digest": lambda url: f"{url}&Content-MD5=1B2M2Y8AsgTpgAmY7PhCfg==",
    "metadata of two lines": lambda url: f"{url}&x-amz-meta-a=1%0Ax-amz-tagging:a=b",
}


@pytest.mark.parametrize("change", URLS_V2.values(), ids=URLS_V2)
def test_a_changed_url_of_sigv2_is_refused(signed_gateway, signer, change):
    assert_refused(
        send_request(signed_gateway.port, "GET", change(signer.presigned_v2("GET", KEY)))
    )


def test_a_value_that_is_signed_by_sigv2_does_not_contain_another_one(signed_gateway, signer):
    """A line end of one header, or ``&`` of one parameter, would hide the one behind it."""
    signed = {"x-amz-meta-a": "1", "x-amz-tagging": "a=b"}
    url = signer.presigned_v2("PUT", "/out/signed-by-v2", signed)
    honest = f"{url}&x-amz-meta-a=1&x-amz-tagging=a%3Db"
    hidden = f"{url}&x-amz-meta-a=1%0Ax-amz-tagging:a%3Db"

    assert 200 == send_request(signed_gateway.port, "PUT", honest, {}, CONTENT).status
    reply = send_request(signed_gateway.port, "PUT", hidden, {}, CONTENT)
    assert (400, "InvalidArgument") == (reply.status, reply.code)

    kind = "response-content-type=text/plain"
    url = signer.presigned_v2("GET", f"{KEY}?response-content-disposition=a&{kind}")
    hidden = url.replace(f"&{kind}", f"%26{quote(kind, safe='')}")

    assert CONTENT == send_request(signed_gateway.port, "GET", url).body
    reply = send_request(signed_gateway.port, "GET", hidden)
    assert (400, "InvalidArgument") == (reply.status, reply.code)


@pytest.mark.parametrize("place", ["header", "URL"])
def test_sigv2_signs_no_chunks(signed_gateway, place):
    """Without a signing key, anybody could make their signatures."""
    mode = {"x-amz-content-sha256": STREAMING, "x-amz-decoded-content-length": "4"}
    signer = Signer(KEYS.access, KEYS.secret)
    before, pieces = "", []
    for content in (b"evil", b""):
        digest = hashlib.sha256(content).hexdigest()
        text = "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", "", "", before, EMPTY, digest))
        before = signing_without_a_key(text)
        pieces.append(b"%x;chunk-signature=%s\r\n%s\r\n" % (len(content), before.encode(), content))
    target, headers = KEY, mode
    if place == "URL":
        target = signer.presigned_v2("PUT", KEY, mode)
    else:
        headers = signer.headers_v2("PUT", KEY, mode)

    reply = send_request(signed_gateway.port, "PUT", target, headers, b"".join(pieces))

    assert (400, "InvalidRequest") == (reply.status, reply.code)


def signing_without_a_key(text):
    """Return the signature of a text with an empty key."""
    return hmac.digest(b"", text.encode(), "sha256").hex()


CHUNKS = (b"a" * MIN_CHUNK, b"b" * (MIN_CHUNK + 1), b"end")
WHOLE = b"".join(CHUNKS)
SUM = checksum_of("CRC32", CHUNKS).value
LINE = f"x-amz-checksum-crc32:{SUM}\r\n".encode()
TRAILER_SIGNATURE = b"x-amz-trailer-signature:"
ZEROS = b"0" * 64


def _signature(piece):
    return re.findall(rb"chunk-signature=(.{64})", piece)[0]


def _resigned(pieces, signer):
    """Sign the trailers as if they were a chunk."""
    digest = hashlib.sha256(LINE.replace(b"\r", b"")).hexdigest()
    before = _signature(pieces[3]).decode()
    signature = signer.sign("AWS4-HMAC-SHA256-PAYLOAD", before, EMPTY, digest).encode()
    return [*pieces[:4], LINE + TRAILER_SIGNATURE + signature + b"\r\n\r\n"]


CHANGED_CHUNKS = {
    "in another order": lambda p, s: [p[1], p[0], *p[2:]],
    "the first left out": lambda p, s: p[1:],
    "the second left out": lambda p, s: [p[0], *p[2:]],
    "the last left out": lambda p, s: [*p[:2], *p[3:]],
    "one twice": lambda p, s: [p[0], *p],
    "cut behind the first": lambda p, s: p[:1],
    "cut before the empty one": lambda p, s: p[:3],
    "cut before the trailers": lambda p, s: p[:4],
    "the empty one earlier": lambda p, s: [p[0], *p[3:]],
    "a changed byte": lambda p, s: [p[0].replace(b"aa", b"ab", 1), *p[1:]],
    "a smaller size": lambda p, s: [p[0].replace(b"2000;", b"1fff;"), *p[1:]],
    "two as one": lambda p, s: [
        b"4001;chunk-signature=" + _signature(p[1]) + b"\r\n" + CHUNKS[0] + CHUNKS[1] + b"\r\n",
        *p[2:],
    ],
    "a signature of zeros": lambda p, s: [p[0].replace(_signature(p[0]), ZEROS), *p[1:]],
    "a signature in upper case": lambda p, s: [
        p[0].replace(_signature(p[0]), _signature(p[0]).upper()),
        *p[1:],
    ],
    "a short signature": lambda p, s: [p[0].replace(_signature(p[0]), ZEROS[:63]), *p[1:]],
    "an empty signature": lambda p, s: [p[0].replace(_signature(p[0]), b""), *p[1:]],
    "a signature of Latin-1": lambda p, s: [p[0].replace(_signature(p[0]), b"\xff" * 64), *p[1:]],
    "no signatures": lambda p, s: [re.sub(rb";chunk-signature=.{64}", b"", each) for each in p],
    "a second signature": lambda p, s: [
        p[0].replace(b"\r\n", b";chunk-signature=" + ZEROS + b"\r\n", 1),
        *p[1:],
    ],
    "another signature first": lambda p, s: [
        p[0].replace(b";", b";chunk-signature=" + ZEROS + b";", 1),
        *p[1:],
    ],
    "signatures exchanged": lambda p, s: [
        p[0].replace(_signature(p[0]), _signature(p[1])),
        p[1].replace(_signature(p[1]), _signature(p[0])),
        *p[2:],
    ],
    "another sum": lambda p, s: [*p[:4], p[4].replace(SUM.encode(), b"AAAAAA==")],
    "no sum": lambda p, s: [*p[:4], b"\r\n"],
    "a sum without its signature": lambda p, s: [*p[:4], LINE + b"\r\n"],
    "a sum signed as a chunk": _resigned,
    "a sum signed by zeros": lambda p, s: [
        *p[:4],
        LINE + TRAILER_SIGNATURE + ZEROS + b"\r\n\r\n",
    ],
    "another signature of the sum first": lambda p, s: [
        *p[:4],
        TRAILER_SIGNATURE + ZEROS + b"\r\n" + p[4],
    ],
    "a second signature of the sum": lambda p, s: [
        *p[:4],
        p[4][:-2] + TRAILER_SIGNATURE + ZEROS + b"\r\n\r\n",
    ],
    "the sum twice": lambda p, s: [*p[:4], LINE + p[4]],
    "a trailer more": lambda p, s: [*p[:4], b"x-amz-meta-a:b\r\n" + p[4]],
    "a trailer behind the signature": lambda p, s: [*p[:4], p[4][:-2] + b"x-amz-acl:b\r\n\r\n"],
    "a request behind the end": lambda p, s: [*p, b"GET / HTTP/1.1\r\n\r\n"],
    "the content alone": lambda p, s: [WHOLE],
    "nothing": lambda p, s: [],
}
TRAILERS = {"x-amz-checksum-crc32": SUM}
OTHER_SEEDS = {
    "of another object": lambda s, seed: s.chunks(
        seed_of(s.headers("PUT", OTHER, payload=STREAMING)), *CHUNKS, trailers=TRAILERS
    ),
    "of zeros": lambda s, seed: s.chunks("0" * 64, *CHUNKS, trailers=TRAILERS),
    "of no seed": lambda s, seed: s.chunks("", *CHUNKS, trailers=TRAILERS),
    "with another secret": lambda s, seed: attrs.evolve(s, secret="x").chunks(
        seed, *CHUNKS, trailers=TRAILERS
    ),
    "at another time": lambda s, seed: attrs.evolve(s, when=s.when + timedelta(seconds=1)).chunks(
        seed, *CHUNKS, trailers=TRAILERS
    ),
    "for another region": lambda s, seed: attrs.evolve(s, region="x").chunks(
        seed, *CHUNKS, trailers=TRAILERS
    ),
}
CHANGED_MODES = {
    "no mode of trailers": {"x-amz-content-sha256": STREAMING},
    "unsigned chunks": {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
    "an unsigned body": {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    "another algorithm": {
        "x-amz-content-sha256": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"
    },
    "a smaller length": {"x-amz-decoded-content-length": str(len(WHOLE) - 1)},
    "another trailer": {"x-amz-trailer": "x-amz-checksum-crc32c"},
}


def _chunked(signer, length=len(WHOLE)):
    sent = {"x-amz-decoded-content-length": str(length), "x-amz-trailer": "x-amz-checksum-crc32"}
    return signer.headers("PUT", KEY, sent, payload=f"{STREAMING}-TRAILER")


@pytest.mark.parametrize("change", CHANGED_CHUNKS.values(), ids=CHANGED_CHUNKS)
def test_changed_chunks_are_refused(signed_gateway, signer, change):
    headers = _chunked(signer)
    pieces = signer.chunks(seed_of(headers), *CHUNKS, trailers=TRAILERS)
    changed = change(pieces, signer)

    assert changed != pieces
    assert_refused(send_request(signed_gateway.port, "PUT", KEY, headers, b"".join(changed)))


@pytest.mark.parametrize("make", OTHER_SEEDS.values(), ids=OTHER_SEEDS)
def test_chunks_of_another_signature_are_refused(signed_gateway, signer, make):
    headers = _chunked(signer)
    body = b"".join(make(signer, seed_of(headers)))

    assert_refused(send_request(signed_gateway.port, "PUT", KEY, headers, body))


@pytest.mark.parametrize("change", CHANGED_MODES.values(), ids=CHANGED_MODES)
def test_the_framing_of_a_body_is_signed(signed_gateway, signer, change):
    headers = _chunked(signer)
    body = b"".join(signer.chunks(seed_of(headers), *CHUNKS, trailers=TRAILERS))

    assert_refused(send_request(signed_gateway.port, "PUT", KEY, {**headers, **change}, body))


@pytest.mark.parametrize("length", [0, len(WHOLE) - 1, len(WHOLE) + 1])
def test_another_length_of_signed_chunks_is_refused(signed_gateway, signer, length):
    headers = _chunked(signer, length)
    body = b"".join(signer.chunks(seed_of(headers), *CHUNKS, trailers=TRAILERS))

    assert_refused(send_request(signed_gateway.port, "PUT", KEY, headers, body))


SOURCES = [
    "/none/signatures/key", "../out/signatures/key", "/labresults/../out/signatures/key",
    "/labresults/%2e%2e/out/signatures/key", "/OUT/signatures/key", "/out//signatures/key",
    "/out/signatures/key%00", "/out/signatures/key%0d%0ax", "/out/signatures/key?versionId=x",
    "/out/signatures/key?versionId=null&x", "/out/signatures/key#x", "/out/signatures/%zz",
    "http://localhost/out/signatures/key", "arn:aws:s3:::out/signatures/key", "/-/healthz",
    "/etc/passwd", "file:///etc/passwd", "/out", "/", "", "/out/signatures/" + "k" * 1025,
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source[:50] or "empty")
def test_a_copy_source_leads_to_no_other_place(signed_gateway, signer, source):
    """Although it is signed."""
    headers = signer.headers("PUT", "/out/signatures/copied", {"x-amz-copy-source": source})

    assert_refused(send_request(signed_gateway.port, "PUT", "/out/signatures/copied", headers))
