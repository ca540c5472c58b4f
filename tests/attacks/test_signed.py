"""A gateway with authentication."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from attacks.conftest import KEYS
from attacks.signing import EMPTY, STREAMING, Signer, seed_of
from attacks.wire import send_request
from builders import checksum_of

from worker.s3.aws_chunked import MIN_CHUNK


def now() -> datetime:
    """Return the current time when the case runs."""
    return datetime.now(UTC)


CONTENT = b"content of some length"
TARGET = "/out/signed"


@pytest.fixture
def signer():
    """A signer with the keys of the job."""
    return Signer(KEYS.access, KEYS.secret)


def test_signed_requests_are_accepted(signed_gateway, signer):
    """In a header, in a URL, and for any region."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    elsewhere = attrs.evolve(signer, region="eu-nowhere-9")

    put = send_request(
        signed_gateway.port, "PUT", TARGET, signer.headers("PUT", TARGET, payload=digest), CONTENT
    )
    got = send_request(signed_gateway.port, "GET", TARGET, elsewhere.headers("GET", TARGET))
    url = send_request(
        signed_gateway.port, "GET", signer.presigned("GET", f"{TARGET}?x-id=GetObject")
    )

    assert (200, 200, 200) == (put.status, got.status, url.status)
    assert CONTENT == got.body == url.body


CHUNKS = ((CONTENT * MIN_CHUNK)[:MIN_CHUNK], CONTENT)
WHOLE = b"".join(CHUNKS)
TRAILERS = {"x-amz-checksum-crc32": checksum_of("CRC32", CHUNKS).value}


def test_signed_chunks_and_trailers_are_accepted(signed_gateway, signer):
    sent = {
        "x-amz-decoded-content-length": str(len(WHOLE)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    headers = signer.headers("PUT", TARGET, sent, payload=f"{STREAMING}-TRAILER")
    body = signer.chunks(seed_of(headers), *CHUNKS, trailers=TRAILERS)

    assert 200 == send_request(signed_gateway.port, "PUT", TARGET, headers, b"".join(body)).status


HEADERS: dict[str, tuple[Any, str | None]] = {
    "nothing signed": ({}, "AccessDenied"),
    "an empty signature": ({"authorization": ""}, "InvalidArgument"),
    "another mechanism": ({"authorization": "Basic YTpi"}, "InvalidArgument"),
    "a bearer": ({"authorization": "Bearer x"}, "InvalidArgument"),
    "nothing but the algorithm": ({"authorization": "AWS4-HMAC-SHA256"}, "InvalidArgument"),
    "no date beside it": (
        {"authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request"},
        "AccessDenied",
    ),
    "no signature in it": (
        lambda s: {
            **s.headers("GET", TARGET),
            "authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request",
        },
        "AuthorizationHeaderMalformed",
    ),
    "another secret": (
        lambda s: attrs.evolve(s, secret="guess").headers("GET", TARGET),
        "SignatureDoesNotMatch",
    ),
    "another key": (
        lambda s: attrs.evolve(s, access="AKIAOTHER").headers("GET", TARGET),
        "InvalidAccessKeyId",
    ),
    "another host": (
        lambda s: attrs.evolve(s, host="elsewhere").headers("GET", TARGET),
        "SignatureDoesNotMatch",
    ),
    "another method": (lambda s: s.headers("PUT", TARGET), "SignatureDoesNotMatch"),
    "another key of an object": (lambda s: s.headers("GET", "/out/a"), "SignatureDoesNotMatch"),
    "a query more": (lambda s: s.headers("GET", f"{TARGET}?acl"), "SignatureDoesNotMatch"),
    "a clock 16 minutes slow": (
        lambda s: attrs.evolve(s, when=now() - timedelta(minutes=16)).headers("GET", TARGET),
        "RequestTimeTooSkewed",
    ),
    "a clock 16 minutes fast": (
        lambda s: attrs.evolve(s, when=now() + timedelta(minutes=17)).headers("GET", TARGET),
        "RequestTimeTooSkewed",
    ),
    "the year 9999": (
        lambda s: {**s.headers("GET", TARGET), "x-amz-date": "Fri, 31 Dec 9999 23:59:59 -2359"},
        "AccessDenied",
    ),
    "the year 1": (
        lambda s: {**s.headers("GET", TARGET), "x-amz-date": "0001-01-01T00:00:00+23:59"},
        "AccessDenied",
    ),
    "no time": (
        lambda s: {**s.headers("GET", TARGET), "x-amz-date": "noon"},
        "AccessDenied",
    ),
    "a header that is not signed": (
        lambda s: {**s.headers("GET", TARGET), "x-amz-meta-a": "1"},
        "AccessDenied",
    ),
    "a header that was changed": (
        lambda s: {**s.headers("GET", TARGET, {"range": "bytes=0-1"}), "range": "bytes=0-9"},
        "SignatureDoesNotMatch",
    ),
    "another digest": (
        lambda s: {**s.headers("GET", TARGET), "x-amz-content-sha256": "0" * 64},
        "SignatureDoesNotMatch",
    ),
    "a digest without its signature": (
        lambda s: s.headers("GET", TARGET, payload=EMPTY[:-1] + "0"),
        None,  # it is signed, and GET has no body to compare it with
    ),
    "V2 with another secret": (
        lambda s: {
            "authorization": f"AWS {s.access}:c2lnbmF0dXJlIG9mIDIwYg==",
            "date": now().strftime("%a, %d %b %Y %H:%M:%S GMT"),
        },
        "SignatureDoesNotMatch",
    ),
    "V2 with another key": (
        lambda s: {"authorization": "AWS other:sig", "x-amz-date": s.stamp},
        "InvalidAccessKeyId",
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_wrong_authorization_header_is_rejected(signed_gateway, signer, name):
    make, code = HEADERS[name]

    reply = send_request(
        signed_gateway.port, "GET", TARGET, make(signer) if callable(make) else make
    )

    assert code in (None, reply.code), reply.body
    assert KEYS.secret.encode() not in reply.body


URLS = {
    "expired": (
        lambda s: attrs.evolve(s, when=now() - timedelta(minutes=2)).presigned("GET", TARGET),
        "AccessDenied",
    ),
    "of tomorrow": (
        lambda s: attrs.evolve(s, when=now() + timedelta(days=1)).presigned("GET", TARGET),
        "AccessDenied",
    ),
    "for eight days": (
        lambda s: s.presigned("GET", TARGET, expires=8 * 24 * 3600),
        "AuthorizationQueryParametersError",
    ),
    "for no time": (
        lambda s: s.presigned("GET", TARGET, expires=-1),
        "AuthorizationQueryParametersError",
    ),
    "for a while": (
        lambda s: s.presigned("GET", TARGET, expires="while"),
        "AuthorizationQueryParametersError",
    ),
    "with another secret": (
        lambda s: attrs.evolve(s, secret="guess").presigned("GET", TARGET),
        "SignatureDoesNotMatch",
    ),
    "with another key": (
        lambda s: attrs.evolve(s, access="AKIAOTHER").presigned("GET", TARGET),
        "InvalidAccessKeyId",
    ),
    "for another method": (lambda s: s.presigned("PUT", TARGET), "SignatureDoesNotMatch"),
    "with a parameter more": (
        lambda s: s.presigned("GET", TARGET) + "&response-content-type=text/html",
        "SignatureDoesNotMatch",
    ),
    "made longer": (
        lambda s: s.presigned("GET", TARGET).replace("Expires=60", "Expires=600"),
        "SignatureDoesNotMatch",
    ),
    "given twice": (
        lambda s: s.presigned("GET", TARGET).replace("&X-Amz-Date", "&X-Amz-Expires=9&X-Amz-Date"),
        "InvalidArgument",
    ),
    "without its signature": (
        lambda s: s.presigned("GET", TARGET).partition("&X-Amz-Signature")[0],
        "AuthorizationQueryParametersError",
    ),
    "V2, expired": (
        lambda s: f"{TARGET}?AWSAccessKeyId={s.access}&Expires=1&Signature=x",
        "AccessDenied",
    ),
    "V2, with another secret": (
        lambda s: f"{TARGET}?AWSAccessKeyId={s.access}&Expires=9999999999&Signature=x",
        "SignatureDoesNotMatch",
    ),
    "V2, for ever": (
        lambda s: f"{TARGET}?AWSAccessKeyId={s.access}&Expires=999999999999999&Signature=x",
        "SignatureDoesNotMatch",
    ),
}


@pytest.mark.parametrize("name", URLS)
def test_a_wrong_presigned_url_is_rejected(signed_gateway, signer, name):
    make, code = URLS[name]

    reply = send_request(signed_gateway.port, "GET", make(signer))

    invalid = code in ("AuthorizationQueryParametersError", "InvalidArgument")
    assert (400 if invalid else 403, code) == (reply.status, reply.code), reply.body
    assert KEYS.secret.encode() not in reply.body


BODIES = {
    "a chunk changed": lambda pieces: [pieces[0].replace(b"content", b"kontent"), *pieces[1:]],
    "chunks in another order": lambda pieces: [pieces[1], pieces[0], *pieces[2:]],
    "a chunk left out": lambda pieces: [pieces[0], *pieces[2:]],
    "a chunk twice": lambda pieces: [pieces[0], *pieces],
    "the signature of the last chunk changed": lambda pieces: [
        *pieces[:2],
        pieces[2].replace(b"signature=", b"signature=0"),
        *pieces[3:],
    ],
    "chunks without signatures": lambda pieces: [
        *(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in CHUNKS),
        b"0\r\n",
        pieces[3],
    ],
    "the end left out": lambda pieces: pieces[:2],
    "the trailer changed": lambda pieces: [*pieces[:3], pieces[3].replace(b"32:", b"32:A")],
    "the trailer without its signature": lambda pieces: [
        *pieces[:3],
        pieces[3].partition(b"x-amz-trailer-signature")[0] + b"\r\n",
    ],
}


@pytest.mark.parametrize("change", BODIES.values(), ids=BODIES)
def test_a_changed_signed_body_is_rejected_and_not_stored(signed_gateway, signer, change):
    target = "/out/tampered"
    sent = {
        "x-amz-decoded-content-length": str(len(WHOLE)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    headers = signer.headers("PUT", target, sent, payload=f"{STREAMING}-TRAILER")
    pieces = signer.chunks(seed_of(headers), *CHUNKS, trailers=TRAILERS)

    reply = send_request(signed_gateway.port, "PUT", target, headers, b"".join(change(pieces)))

    assert reply.code in ("SignatureDoesNotMatch", "IncompleteBody"), reply.body
    assert (
        404
        == send_request(signed_gateway.port, "GET", target, signer.headers("GET", target)).status
    )
