"""Heads of requests that cost more than they may, or have two meanings."""

import hashlib
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import h11
import pytest
import trio
from attacks.conftest import KEYS
from attacks.signing import EMPTY, Signer
from attacks.wire import Wire, send_request
from operations import lines_executed

from worker.gateway.application import S3Application
from worker.gateway.counters import Counters
from worker.gateway.framing import MAX_HEAD, HeadReader, check_head
from worker.gateway.heads import normalize_request_line
from worker.gateway.http import RequestHead
from worker.s3.signing import Credentials

CONTENT = b"content of some length"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
BUCKETS = [f"bucket-{number}" for number in range(32)]


@pytest.fixture
def signer():
    """A signer with the keys of the job."""
    return Signer(KEYS.access, KEYS.secret)


# --- the work before the signature is checked -----------------------------------------------------


def a_head(*lines, target="/out/k", host="localhost"):
    return "\r\n".join([f"GET {target} HTTP/1.1", f"host: {host}", *lines, "", ""]).encode()


def authorized(signed, *, credential="", separator=", "):
    signer = Signer(KEYS.access, KEYS.secret)
    credential = credential or f"{KEYS.access}/{signer.scope}"
    parts = (f"Credential={credential}", f"SignedHeaders={signed};x-amz-date", "Signature=0")
    return f"authorization: AWS4-HMAC-SHA256 {separator.join(parts)}", f"x-amz-date: {signer.stamp}"


def presigned(signed, *, credential=""):
    signer = Signer(KEYS.access, KEYS.secret)
    credential = quote(credential or f"{KEYS.access}/{signer.scope}", safe="")
    return (
        f"/out/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Signature=0"
        f"&X-Amz-Date={signer.stamp}&X-Amz-Expires=60&X-Amz-SignedHeaders={signed}"
    )


def many(form, size):
    """Return different texts of *form*, *size* characters altogether."""
    count = size // (len(form) + 2)
    return [form.format(number) for number in range(count)]


HEADS = {
    "labels of a host": lambda size: a_head(host="a." * (size // 2)),
    "labels of a host of 250 bytes": lambda size: a_head(host="a." * 125, target="/" + "a" * size),
    "labels of an absolute target": lambda size: a_head(target=f"http://{'a.' * (size // 2)}/"),
    "users of an absolute target": lambda size: a_head(target=f"http://{'a@' * (size // 2)}a/"),
    "colons of a host": lambda size: a_head(host="a:" * (size // 2)),
    "slashes": lambda size: a_head(target="/" * size),
    "folders above": lambda size: a_head(target="/out" + "/.." * (size // 3)),
    "a folder, and the one above": lambda size: a_head(target="/out" + "/a/.." * (size // 5)),
    "escapes": lambda size: a_head(target="/out/" + "%2e" * (size // 3)),
    "bytes that are not ASCII": lambda size: a_head(target="/out/" + "ü" * (size // 2)),
    "parameters": lambda size: a_head(target=f"/out?{'&'.join(many('a{}=1', size))}"),
    "one parameter": lambda size: a_head(target="/out?" + "a&" * (size // 2)),
    "empty parameters": lambda size: a_head(target="/out?" + "&" * size),
    "a long parameter": lambda size: a_head(target="/out?a=" + "%61" * (size // 3)),
    "headers": lambda size: a_head(*many("a{}:", size)),
    "one header": lambda size: a_head(*["a:"] * (size // 4)),
    "metadata that is not signed": lambda size: a_head(
        *many("x-amz-meta-{}:", min(size, 7000)), *authorized("host")
    ),
    "signed headers": lambda size: a_head(*authorized(";".join(many("a{}", size)))),
    "one signed header": lambda size: a_head(
        "b: " + "c" * 4000, *authorized("b;" * min(size // 2, 1500) + "host")
    ),
    "one signed header of a URL": lambda size: a_head(
        "b: " + "c" * 7000, target=presigned("host" + ";b" * (size // 2))
    ),
    "signed headers of a URL": lambda size: a_head(
        "b: " + "c" * 7000, target=presigned("host;" + ";".join(many("a{}", size)))
    ),
    "a long credential": lambda size: a_head(target=presigned("host", credential="a" * size)),
    "parts of a credential": lambda size: a_head(
        target=presigned("host", credential="/" * (size // 3))
    ),
    "parts of an authorization": lambda size: a_head(
        f"authorization: AWS4-HMAC-SHA256 {',' * size}"
    ),
    "quotes, which XML escapes": lambda size: a_head(target="/out/k?X-Amz-Algorithm=" + "'" * size),
    "a content type": lambda size: a_head(
        "content-type: multipart/form-data" + ";a=b" * (size // 4)
    ),
    "a date": lambda size: a_head(
        f"x-amz-date: Wed, 21 Oct{' ' * size}2015", *authorized("host")[:1]
    ),
    "SigV2": lambda size: a_head(f"authorization: AWS {'a' * size}:b"),
}


async def refuse(head):
    """Return the size of the response to a head with a wrong signature, if it has any."""
    buckets: list[Any] = [SimpleNamespace(name=name) for name in BUCKETS]
    application = S3Application(
        buckets,
        job="job",
        counters=Counters(BUCKETS, 1),
        credentials=Credentials(KEYS.access, KEYS.secret),
    )
    found, _ = HeadReader().feed(head)
    check_head(found)
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    parser.receive_data(normalize_request_line(found))
    request = parser.next_event()
    path, _, query = request.target.partition(b"?")
    headers = list(request.headers)
    assert not application.has_page(path, headers)
    body: Any = None
    response = await application.respond(RequestHead("GET", path, query, headers, "http"), body)
    assert response.status in (400, 403)
    assert isinstance(response.body, bytes)
    return len(response.body) + sum(len(b"".join(each)) for each in response.headers)


@pytest.mark.parametrize("name", HEADS)
def test_the_work_before_the_signature_is_checked_is_linear(name):
    """In lines of code, of which each is at most linear in the size of one value; and answers have
    a bound, since each contains a few values of the request, in three forms."""
    sizes = []

    def work(size):
        return lines_executed(lambda: sizes.append(trio.run(refuse, HEADS[name](size))))

    half, whole = work(MAX_HEAD // 6), work(MAX_HEAD // 3)

    assert whole < 2.5 * half + 500
    assert whole < MAX_HEAD
    assert max(sizes) < 4 * MAX_HEAD


# --- one value, read once -------------------------------------------------------------------------


def put_presigned(gateway, signer, query, headers, *, body=CONTENT, payload="UNSIGNED-PAYLOAD"):
    target = signer.presigned("PUT", f"/out/presigned?{query}", payload=payload)
    return send_request(gateway.port, "PUT", target, headers, body)


def test_the_digest_of_a_presigned_url_is_that_of_the_body(signed_gateway, signer):
    query = f"X-Amz-Content-Sha256={DIGEST}"
    for headers in ({}, {"x-amz-content-sha256": DIGEST}):
        reply = put_presigned(signed_gateway, signer, query, headers, payload=DIGEST)
        assert 200 == reply.status

    reply = put_presigned(signed_gateway, signer, query, {}, body=b"another", payload=DIGEST)

    assert "XAmzContentSHA256Mismatch" == reply.code


@pytest.mark.parametrize(
    "digest",
    ["UNSIGNED-PAYLOAD", hashlib.sha256(b"evil").hexdigest(), "STREAMING-UNSIGNED-PAYLOAD-TRAILER"],
)
def test_a_header_does_not_replace_the_digest_of_a_presigned_url(signed_gateway, signer, digest):
    query, headers = f"X-Amz-Content-Sha256={DIGEST}", {"x-amz-content-sha256": digest}
    before = [each.key for each in signed_gateway.index.entries()]
    body = b"4\r\nevil\r\n0\r\n\r\n" if digest.startswith("STREAMING") else b"evil"
    if digest.startswith("STREAMING"):
        headers["content-encoding"] = "aws-chunked"
        query += "&x-amz-decoded-content-length=4"

    reply = put_presigned(signed_gateway, signer, query, headers, body=body, payload=DIGEST)

    assert (400, "InvalidArgument") == (reply.status, reply.code)
    assert before == [each.key for each in signed_gateway.index.entries()]


def test_a_header_does_not_replace_a_condition_of_a_presigned_url(signed_gateway, signer):
    """A URL that may only create an object does not overwrite it."""
    condition = "If-None-Match=%2A"
    assert put_presigned(signed_gateway, signer, "", {}).status == 200
    assert put_presigned(signed_gateway, signer, condition, {}).status == 412
    for value in ('"0"', "", "*, *"):
        reply = put_presigned(signed_gateway, signer, condition, {"if-none-match": value})

        assert (400, "InvalidArgument") == (reply.status, reply.code)


def test_a_signed_body_has_a_signed_digest(signed_gateway, signer):
    """Without the header, the digest of an empty body is signed."""
    headers = signer.headers("PUT", "/out/undigested", payload=EMPTY)
    signed = {"x-amz-date": headers["x-amz-date"]}
    plain = signer._request("PUT", "/out/undigested", {"host": signer.host, **signed}, EMPTY)
    sent = {
        **signed,
        "authorization": f"AWS4-HMAC-SHA256 Credential={KEYS.access}/{signer.scope}, "
        f"SignedHeaders=host;x-amz-date, Signature={plain}",
    }

    reply = send_request(signed_gateway.port, "PUT", "/out/undigested", sent, b"evil")

    assert (400, "InvalidRequest") == (reply.status, reply.code)
    assert 200 == send_request(signed_gateway.port, "PUT", "/out/undigested", sent, b"").status


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("partNumber=1&partNumber=2&uploadId=a", "partNumber=2&partNumber=1&uploadId=a"),
        ("partNumber=1&uploadId=a&uploadId=b", "partNumber=1&uploadId=b&uploadId=a"),
        ("versionId=null&versionId=1", "versionId=1&versionId=null"),
        ("response-content-type=a&response-content-type=b",) * 2,
        ("x-id=1&x-id=2",) * 2,
    ],
    ids=["part", "upload", "version", "response header", "an unknown one"],
)
def test_parameters_cannot_be_exchanged_under_a_signature(signed_gateway, signer, target, sent):
    """SigV4 sorts the values of a parameter."""
    headers = signer.headers("GET", f"/out/k?{target}")

    reply = send_request(signed_gateway.port, "GET", f"/out/k?{sent}", headers)

    assert (400, "InvalidArgument") == (reply.status, reply.code)


@pytest.mark.parametrize(
    "first", ["Basic YTpi", "AWS4-HMAC-SHA256 Credential=a", "AWS a:b", ""], ids=repr
)
def test_a_request_has_one_authorization(signed_gateway, signer, first):
    signed = signer.headers("GET", "/")
    whole = signed.pop("authorization")
    lines = [f"{name}: {value}" for name, value in signed.items()]
    for pair in ((first, whole), (whole, first), (whole, whole), tuple(whole.split(", Sig", 1))):
        both = [f"authorization: {each}" for each in pair]
        with Wire(signed_gateway.port) as wire:
            wire.send(a_head(*lines, *both, target="/"))
            reply = wire.reply()

        assert (400, "InvalidRequest") == (reply.status, reply.code)


# --- bounds and grammar ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "a" * 300}, "RequestHeaderSectionTooLarge"),
        ({"host": "a." * 3000}, "RequestHeaderSectionTooLarge"),
        ({"content-type": "a/" + "b" * 2100}, "MetadataTooLarge"),
        ({"content-type": "a/" + "b" * 60_000}, "RequestHeaderSectionTooLarge"),
        ({"x-amz-meta-a": "b" * 2100}, "MetadataTooLarge"),
        ({"cache-control": "b" * 60_000}, "RequestHeaderSectionTooLarge"),
        ({"content-md5": "a" * 5000}, "RequestHeaderSectionTooLarge"),
        ({"x-amz-content-sha256": "a" * 5000}, "RequestHeaderSectionTooLarge"),
        ({"x-amz-decoded-content-length": "1" * 5000}, "RequestHeaderSectionTooLarge"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_header_is_bounded_by_its_meaning(gateway, headers, code):
    reply = send_request(gateway.port, "PUT", "/out/k", headers, b"")

    assert (400, code) == (reply.status, reply.code)


@pytest.mark.parametrize("method", ["FOO", "TRACE", "PATCH", "LINK", "M-SEARCH", "GETS", "foo"])
@pytest.mark.parametrize("target", ["/", "/out", "/out/k", "/labresults/a.txt", "/none/k"])
def test_another_method_is_not_allowed(gateway, method, target):
    reply = send_request(gateway.port, method, target)

    assert (405, "MethodNotAllowed") == (reply.status, reply.code)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE", "FOO"])
def test_an_asterisk_is_no_target_of_other_methods_than_options(gateway, method):
    reply = send_request(gateway.port, method, "*", {}, None)

    assert 400 == reply.status
    assert b"labresults" not in reply.body


@pytest.mark.parametrize("target", ["/%2Fout/k", "//out/k", "/%2fout%2Fk"])
def test_no_slash_precedes_the_bucket(gateway, signed_gateway, signer, target):
    for each in (
        send_request(gateway.port, "GET", target),
        send_request(signed_gateway.port, "GET", signer.presigned("GET", target)),
    ):
        assert (400, "InvalidBucketName") == (each.status, each.code)


NUMBERS = {
    "a plus": "%2B1",
    "a space before": "%201",
    "a space behind": "1%20",
    "a line feed": "1%0A",
    "an underscore": "1_000",
    "a point": "1.0",
    "an exponent": "1e3",
    "hex": "0x1",
    "Arabic": quote("١"),
    "full width": quote("１"),
    "superscript": quote("²"),
    "letters": "one",
}
PARAMETERS = {
    "partNumber of GetObject": ("GET", "/labresults/a.txt?partNumber={}"),
    "partNumber of UploadPart": ("PUT", "/out/numbers?uploadId={upload}&partNumber={}"),
    "max-parts": ("GET", "/out/numbers?uploadId={upload}&max-parts={}"),
    "part-number-marker": ("GET", "/out/numbers?uploadId={upload}&part-number-marker={}"),
    "max-keys": ("GET", "/labresults?list-type=2&max-keys={}"),
    "max-keys of versions": ("GET", "/labresults?versions&max-keys={}"),
    "max-uploads": ("GET", "/out?uploads&max-uploads={}"),
    "max-buckets": ("GET", "/?max-buckets={}"),
}


@pytest.fixture(scope="module")
def upload(gateway):
    """The id of a multipart upload in progress."""
    reply = send_request(gateway.port, "POST", "/out/numbers?uploads", {}, b"")
    found = reply.field("UploadId")
    yield found
    send_request(gateway.port, "DELETE", f"/out/numbers?uploadId={found}")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_number_has_digits_of_ascii_only(gateway, upload, parameter, number):
    method, form = PARAMETERS[parameter]
    target = form.format(NUMBERS[number], upload=upload)

    reply = send_request(gateway.port, method, target, {}, None)

    assert (400, "InvalidArgument") == (reply.status, reply.code)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_times_of_a_presigned_url_have_digits_of_ascii_only(signed_gateway, signer, number):
    target = signer.presigned("GET", "/labresults/a.txt", expires=NUMBERS[number])
    reply = send_request(signed_gateway.port, "GET", target)
    assert (400, "AuthorizationQueryParametersError") == (reply.status, reply.code)

    stamp = quote(signer.stamp.translate({ord("2"): "２"}))
    target = signer.presigned("GET", "/labresults/a.txt").replace(signer.stamp, stamp)
    reply = send_request(signed_gateway.port, "GET", target)
    assert (400, "AuthorizationQueryParametersError") == (reply.status, reply.code)
