"""Fuzzer of the S3 protocol, without a server: mutated requests, bodies and documents."""

import argparse
import math
import random
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from worker.s3 import (
    attributes,
    bucket_listing,
    canned_responses,
    copying,
    listing,
    metadata,
    multipart,
    post_form,
    post_object,
    post_policy,
    reads,
    tags,
    upload_listing,
    xml_requests,
    xml_responses,
)
from worker.s3.authentication import verify
from worker.s3.aws_chunked import ChunkedDecoder
from worker.s3.checksums import upload_checksum
from worker.s3.conditions import (
    copy_conditions,
    delete_conditions,
    read_conditions,
    write_conditions,
)
from worker.s3.digests import Digests
from worker.s3.error_codes import S3Error
from worker.s3.payload import FRAMINGS, Payload, parse_payload
from worker.s3.post_authentication import verify_form
from worker.s3.request import parse
from worker.s3.routing import route
from worker.s3.signing import Credentials, Signed
from worker.s3.xml_requests import parse_xml

PAIR = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = 1369353600.0
STEP_TIMEOUT = 2.0  # seconds

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "get", ""]
TARGETS = [
    b"/", b"*", b"/out", b"/out/", b"/out/a%20b", b"//out//a", b"http://out.h/a", b"/out/%FF%00",
    b"/out/" + b"k" * 1024, b"/out/%E2%82%AC/../.", b"/labresults/x",
]  # fmt: skip
QUERIES = [
    b"", b"list-type=2&prefix=a&delimiter=/&max-keys=3&continuation-token=1YQ", b"versions",
    b"uploads&key-marker=a&upload-id-marker=b", b"partNumber=3&uploadId=x", b"tagging", b"acl",
    b"delete", b"versionId=null", b"location", b"encoding-type=url&marker=%00", b"attributes",
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1"
    b"%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    b"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    b"AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENX%3D&Expires=1375139620",
]  # fmt: skip
HEADERS = [
    (b"host", b"out.localhost:9000"),
    (b"range", b"bytes=0-9"),
    (b"x-amz-date", b"20130524T000000Z"),
    (b"date", b"Fri, 24 May 2013 00:00:00 GMT"),
    (
        b"authorization",
        b"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        b"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd",
    ),
    (b"authorization", b"AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU="),
    *((b"x-amz-content-sha256", mode.encode()) for mode in FRAMINGS),
    (b"x-amz-content-sha256", b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (b"x-amz-decoded-content-length", b"66560"),
    (b"content-length", b"66824"),
    (b"x-amz-trailer", b"x-amz-checksum-crc32c"),
    (b"x-amz-checksum-crc32", b"AAAAAA=="),
    (b"x-amz-checksum-algorithm", b"CRC32"),
    (b"x-amz-checksum-type", b"COMPOSITE"),
    (b"x-amz-sdk-checksum-algorithm", b"CRC32"),
    (b"content-md5", b"1B2M2Y8AsgTpgAmY7PhCfg=="),
    (b"content-encoding", b"aws-chunked,gzip"),
    (b"x-amz-copy-source", b"/out/a%20b?versionId=null"),
    (b"x-amz-copy-source-range", b"bytes=0-5"),
    (b"x-amz-copy-source-if-match", b'"abc"'),
    (b"x-amz-metadata-directive", b"REPLACE"),
    (b"x-amz-tagging", b"a=1&b=%C3%BC"),
    (b"x-amz-meta-owner", b"me"),
    (b"x-amz-object-attributes", b"ETag,ObjectParts"),
    (b"if-match", b'"abc", W/"def"'),
    (b"if-none-match", b"*"),
    (b"if-modified-since", b"Tue, 14 Nov 2023 22:13:20 GMT"),
    (b"origin", b"null"),
]
DOCUMENTS = [
    b'<Delete xmlns="u"><Object><Key>a&amp;b</Key><ETag>"x"</ETag></Object><Quiet>true</Quiet>'
    b"</Delete>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag>"
    b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>",
    b'<!DOCTYPE a [<!ENTITY b "c">]><Delete>&b;</Delete>',
]
FRAMED = [
    b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
    b"5;chunk-signature="
    + b"a" * 64
    + b"\r\nhello\r\n0;chunk-signature="
    + b"b" * 64
    + b"\r\n\r\n",
]
FORM_POLICY = (
    b'{"expiration": "2013-06-01T00:00:00.000Z", "conditions": [{"bucket": "out"},'
    b' {"acl": "private"}, ["starts-with", "$key", "a/"], ["content-length-range", 0, "9"],'
    b' ["eq", "$x-amz-meta-a", "1"]]}'
)
FORM_KIND = b"multipart/form-data; boundary=b"
FORM = (
    b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % each
        for each in (
            (b"key", b"a/${filename}"),
            (b"acl", b"private"),
            (b"x-amz-meta-a", b"1"),
            (b"success_action_redirect", b"http://a.test/?b"),
            (b"tagging", b"<Tagging><TagSet/></Tagging>"),
            (b"policy", b64encode(FORM_POLICY)),
            (b'file"; filename="c', b"content"),
            (b"submit", b""),
        )
    )
    + b"--b--\r\n"
)
FRAGMENTS = [
    b"--b", b"--", b"\\", b"$", b"[", b"null", b"1e9", b"name=",
    b"\x00", b"\r\n", b"\n", b"%", b"%00", b"%ff", b"\xff", b"\xed\xa0\x80", b"-", b"9" * 40, b";",
    b",", b"=", b"&", b"+", b"/", b'"', b"<", b"&#0;", b"\xc2\xb2", b" ", b"a" * 5000, b"*", b":",
]  # fmt: skip


class Fuzzer:
    """A sequence of mutated input, determined by its seed."""

    def __init__(self, seed: int, *, step_timeout: float = math.inf) -> None:
        """Raise an error for a step that takes more than *step_timeout* seconds."""
        self.random = random.Random(seed)
        self.step_timeout = step_timeout
        self.outcomes: Counter[str] = Counter()

    def mutate(self, data: bytes) -> bytes:
        """Return *data* with bytes removed, duplicated, replaced or inserted."""
        for _ in range(self.random.choice([0, 0, 1, 1, 2, 4])):
            at = self.random.randint(0, len(data))
            to = min(len(data), at + self.random.randint(0, 8))
            middle = self.random.choice(
                [b"", data[at:to] * 2, self.random.choice(FRAGMENTS), self.random.randbytes(3)]
            )
            data = data[:at] + middle + data[to:]
        return data

    def attempt(self, step: str, act: Callable[[], object]) -> object:
        """Return the result of *act*, or None if it raises S3Error."""
        started = time.monotonic()
        try:
            result = act()
            self.outcomes[f"{step} accepted"] += 1
        except S3Error as error:
            self.outcomes[f"{step} rejected"] += 1
            written = xml_responses.error(error, resource="/", request_id="R", host_id="H")
            parse_xml(written, "Error")
            result = None
        took = time.monotonic() - started
        if took > self.step_timeout:
            raise AssertionError(f"{step} took {took:.1f} s")
        return result

    def request(self) -> None:
        """Parse a request, route it, and evaluate everything that an operation could."""
        rng = self.random
        headers = [
            (self.mutate(name) if rng.random() < 0.05 else name, self.mutate(value))
            for name, value in rng.sample(HEADERS, rng.randint(0, 12))
        ]
        found = self.attempt(
            "request",
            lambda: parse(
                rng.choice(METHODS),
                self.mutate(rng.choice(TARGETS)),
                self.mutate(rng.choice(QUERIES)),
                headers,
                buckets=("out", "labresults"),
            ),
        )
        if found is None:
            return
        request: Any = found
        operation: Any = self.attempt("route", lambda: route(request))
        if operation is not None and operation.canned is not None:
            self.attempt(
                "canned response", lambda: canned_responses.respond(operation, request, exists=True)
            )
        signed: Any = self.attempt("signature", lambda: verify(request, PAIR, now=NOW))
        for step, act in {
            "listing": lambda: listing.parse_list(request, rng.choice(["v1", "v2", "versions"])),
            "uploads": lambda: upload_listing.parse_uploads(request),
            "buckets": lambda: bucket_listing.parse_buckets(request),
            "parts": lambda: upload_listing.parse_parts(request),
            "object metadata": lambda: metadata.object_metadata(request),
            "copy source": lambda: copying.copy_source(request),
            "attributes": lambda: attributes.requested_attributes(request),
            "part number": lambda: multipart.part_number(request),
            "upload checksum": lambda: upload_checksum(request),
            "read conditions": lambda: read_conditions(request.headers, now=NOW),
            "write conditions": lambda: write_conditions(request.headers),
            "delete conditions": lambda: delete_conditions(request.headers),
            "copy conditions": lambda: copy_conditions(request.headers, now=NOW),
            "range": lambda: reads.select_range(request.headers.get("range"), 10),
            "copy range": lambda: copying.copy_source_range(request.headers.get("range"), 10),
            "tags": lambda: tags.parse_tagging_header(request.headers.get("x-amz-tagging", "")),
        }.items():
            self.attempt(step, act)
        form: Any = self.attempt("payload", lambda: parse_payload(request))
        if form is not None:
            digests: Any = self.attempt("digests", lambda: Digests.of_request(request, form))
            self.framed(form, signed, digests)

    def framed(
        self, form: Payload | None = None, signed: Signed | None = None, digests: Any = None
    ) -> None:
        """Decode a mutated aws-chunked body in random pieces."""
        mode = self.random.choice(list(FRAMINGS))
        if form is None or not form.framed:
            framing = FRAMINGS[mode]
            form = Payload(
                5,
                framed=True,
                signed=framing.signed,
                trailer=framing.trailer,
                announced=("x-amz-checksum-crc32",) if framing.trailer else (),
            )
        body = self.mutate(self.random.choice(FRAMED))

        def decode() -> None:
            decoder = ChunkedDecoder(form, signed)
            at = 0
            while at < len(body):
                to = at + self.random.randint(1, 40)
                for piece in decoder.feed(body[at:to]):
                    if digests is not None:
                        digests.update(piece)
                at = to
            decoder.finish()
            if digests is not None:
                digests.verify(decoder.trailers)

        self.attempt("framed body", decode)

    def document(self) -> None:
        """Parse a mutated document with each parser."""
        body = self.mutate(self.random.choice(DOCUMENTS))
        for reader in (
            xml_requests.parse_delete,
            xml_requests.parse_complete,
            xml_requests.parse_tagging,
        ):
            self.attempt(reader.__name__, partial(reader, body))

    def form(self) -> None:
        """Decode a mutated form in random pieces, and evaluate its fields and its policy."""
        rng = self.random
        kind, body = self.mutate(FORM_KIND), self.mutate(FORM)
        sent = [(b"host", b"localhost"), (b"content-type", kind)]
        parsed = self.attempt(
            "form request", lambda: parse("POST", b"/out", b"", sent, buckets=("out",))
        )
        if parsed is None:
            return
        request: Any = parsed

        def decode() -> post_form.Form:
            decoder = post_form.FormDecoder(post_form.form_boundary(request))
            at = 0
            while at < len(body):
                to = at + rng.randint(1, 200)
                decoder.feed(body[at:to])
                at = to
            return decoder.finish()

        policy = b64encode(self.mutate(FORM_POLICY)).decode()
        read: Any = self.attempt("policy", lambda: post_policy.parse_policy(policy))
        found: Any = self.attempt("form", decode)
        if found is None:
            return
        self.attempt("form signature", lambda: verify_form(found, PAIR, now=NOW))
        if read is not None:
            self.attempt(
                "form policy",
                lambda: post_policy.check_policy(
                    read, found, bucket="out", signed_v4=True, now=NOW
                ),
            )
        described: Any = self.attempt(
            "form object", lambda: post_object.object_request(request, found)
        )
        if described is not None:
            self.attempt("form metadata", lambda: post_object.form_metadata(described, found))
            url = post_object.redirect(described, found, etag="0")
            for value in (url or "", post_object.location(described, scheme="http")):
                if not value.isascii() or "\r" in value or "\n" in value:
                    raise AssertionError(f"{value!r} is not a header")

    def round(self) -> None:
        """Fuzz each kind of input once."""
        self.form()
        self.request()
        self.framed()
        self.document()


def main() -> None:
    """Fuzz for a number of seconds; an exception other than S3Error ends it and prints the seed."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = arguments.parse_args()
    deadline = time.monotonic() + options.seconds
    rounds = 0
    while time.monotonic() < deadline:
        fuzzer = Fuzzer(options.seed + rounds, step_timeout=STEP_TIMEOUT)
        try:
            for _ in range(100):
                fuzzer.round()
        except Exception:
            print(f"repeat with --seed {options.seed + rounds}", file=sys.stderr)
            raise
        rounds += 1
    print(f"{rounds * 100} rounds without an unexpected exception; outcomes of the last hundred:")
    for outcome, times in sorted(fuzzer.outcomes.items()):
        print(f"{times:7} {outcome}")


if __name__ == "__main__":
    main()
