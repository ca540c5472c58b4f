"""Valid requests, and mutations of them."""

# ruff: noqa: E501 - what a fuzzer picks from is read as tables

import random
from collections.abc import Callable
from urllib.parse import quote

import attrs
from attacks.cases import ETAG, TRAILER_MODE, completion, content_md5, tag_set, zeros
from attacks.wire import framed, head


@attrs.define
class Draft:
    """A request that can be changed part by part."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    length: bool = True
    """Whether a Content-Length is added that is right."""

    def raw(self) -> bytes:
        """Return the request as bytes."""
        sent = dict(self.headers)
        names = {name.lower() for name in sent}
        if self.length and not names & {"content-length", "transfer-encoding"}:
            sent["content-length"] = str(len(self.body))
        return head(self.method, self.target.encode("utf-8", "surrogateescape"), sent) + self.body


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
DELETE = b"<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"
FORM = b"".join(
    b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % each
    for each in (
        (b"key", b"k-${filename}"), (b"x-amz-meta-a", b"1"), (b"success_action_status", b"201"),
        (b"success_action_redirect", b"http://a.test/"), (b"tagging", b"<Tagging/>"), (b'file"; filename="c', b"content"),
    )
) + b"--b--\r\n"  # fmt: skip
V2 = "/out?list-type=2&prefix=a&delimiter=/&max-keys=2&encoding-type=url&start-after=a&fetch-owner=true"


def valid_requests(upload: str) -> list[Draft]:
    """Return one valid request of each operation; *upload* is an upload of the key ``big``."""
    streaming = {"x-amz-content-sha256": TRAILER_MODE, "x-amz-decoded-content-length": "10"}
    part = f"/out/big?partNumber=1&uploadId={upload}"
    return [
        Draft("GET", "/", {}),
        Draft("GET", "/labresults/a.txt", {"range": "bytes=1-3", "if-match": f'"{ETAG}", *'}),
        Draft("GET", "/labresults/a.txt?response-content-type=text/x&response-expires=x", {}),
        Draft("GET", "/labresults/nested/deep/%C3%BC.txt", {"x-amz-checksum-mode": "ENABLED"}),
        Draft("GET", "/labresults/a.txt?partNumber=1", {"if-none-match": "*"}),
        Draft("HEAD", "/labresults/a.txt", {"if-modified-since": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Draft("HEAD", "/out", {}),
        Draft("GET", V2, {}),
        Draft("GET", "/out?marker=a&prefix=b&delimiter=%2F&max-keys=1000", {}),
        Draft("GET", "/labresults?list-type=2&continuation-token=1YQ", {}),
        Draft("GET", "/out?versions&key-marker=a&version-id-marker=null", {}),
        Draft("GET", "/out?uploads&key-marker=a&upload-id-marker=x&max-uploads=3", {}),
        Draft("GET", f"/out/big?uploadId={upload}&max-parts=2&part-number-marker=1", {}),
        Draft("GET", "/out?location", {}),
        Draft("GET", "/labresults/a.txt?tagging", {}),
        Draft("GET", "/labresults/a.txt?attributes", {"x-amz-object-attributes": "ETag,ObjectSize"}),
        Draft("PUT", "/out/k", {"x-amz-meta-a": "1", "content-md5": zeros(16)}, b"body"),
        Draft("PUT", "/out/k", {"x-amz-tagging": "a=1&b=2", "cache-control": "no-cache"}, b"body"),
        Draft("PUT", "/out/k", {"x-amz-checksum-sha256": zeros(32), "if-none-match": "*"}, b"b"),
        Draft("PUT", "/out/k%20+%2B", {"expect": "100-continue", "x-amz-acl": "private"}, b"body"),
        Draft("PUT", "/out/k", streaming, framed(b"hello", b"hello")),
        Draft(
            "PUT",
            "/out/k",
            {**streaming, "x-amz-trailer": "x-amz-checksum-crc32", "content-encoding": "aws-chunked"},
            framed(b"hello", b"hello", trailers=(b"x-amz-checksum-crc32:AAAAAA==",)),
        ),
        Draft("PUT", "/out/k", {"transfer-encoding": "chunked"}, CHUNKED),
        Draft("PUT", "/out/k", {**streaming, "transfer-encoding": "chunked"}, b"1f\r\na\r\nhellohello\r\n0\r\n\r\n0\r\n\r\n"),
        Draft("PUT", "/out/large", {}, b"l" * 400_000),
        Draft("PUT", "/out/c", {"x-amz-copy-source": "/labresults/a.txt"}),
        Draft("PUT", "/out/k", {"x-amz-copy-source": "out/k", "x-amz-metadata-directive": "REPLACE"}),
        Draft("PUT", "/out/k?tagging", {}, tag_set(("a", "1"))),
        Draft("PUT", part, {}, b"part"),
        Draft("PUT", part, {"x-amz-copy-source": "labresults/part", "x-amz-copy-source-range": "bytes=0-9"}),
        Draft("POST", "/out/other?uploads", {"x-amz-checksum-algorithm": "CRC32"}),
        Draft("POST", f"/out/big?uploadId={upload}", {}, completion((1, ETAG), (2, ETAG))),
        Draft("POST", "/out?delete", {"content-md5": zeros(16)}, DELETE),
        Draft("POST", "/out?delete", {"content-md5": content_md5(DELETE)}, DELETE),
        Draft("POST", "/out", {"content-type": "multipart/form-data; boundary=b"}, FORM),
        Draft("POST", "/out", {"content-type": "multipart/form-data; boundary=b", "expect": "100-continue"}, FORM),
        Draft("POST", "/labresults", {"content-type": "multipart/form-data; boundary=b", "origin": "null"}, FORM),
        Draft("DELETE", "/out/k", {"if-match": "*"}),
        Draft("DELETE", "/out/k?tagging", {}),
        Draft("DELETE", "/out/big?uploadId=none", {}),
        Draft("OPTIONS", "/out/k", {"origin": "http://a"}),
        Draft("GET", "/-/metrics", {}),
        Draft("POST", "/-/healthz", {}, b"x"),
    ]  # fmt: skip


VALUES = [
    "", "0", "-1", "1", "*", '"', '"*"', "W/", "\t", "ü", "\udcff", "a" * 5000, "%", "%00", "%ff", "%2e%2e/", "\x7f",
    "99999999999999999999", "1e9", "0x10", "null", "true", "bytes=", "bytes=-", "bytes=0-0,1-1", ",", ";", "=", "&",
    "bytes=18446744073709551615-", "chunked", "identity", "gzip, chunked", "100-continue", "close", "keep-alive, close",
    "Wed, 31 Feb 2015 99:99:99 GMT", "9999-12-31T23:59:59-23:59", "20150830T123600Z", TRAILER_MODE, "UNSIGNED-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=host, Signature=",
    "AWS a:b", "arn:aws:s3:::x/y", "multipart/form-data", "multipart/form-data; boundary=k", "/out/", "labresults/a.txt?versionId=", "x-amz-checksum-crc32", "x-amz-checksum-md5",
    "SHA256", "COMPOSITE", "FULL_OBJECT", "REPLACE", "COPY", "upgrade", "h2c", "websocket", "out.localhost", "[::1", "a b",
]  # fmt: skip
NAMES = [
    "range", "if-match", "if-none-match", "if-range", "if-modified-since", "if-unmodified-since", "content-length", "host",
    "transfer-encoding", "content-md5", "expect", "connection", "upgrade", "te", "trailer", "authorization", "x-amz-date",
    "date", "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer", "x-amz-checksum-crc32",
    "x-amz-checksum-type", "x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-mode",
    "x-amz-copy-source", "x-amz-copy-source-range", "x-amz-copy-source-if-match", "x-amz-metadata-directive",
    "x-amz-tagging-directive", "x-amz-tagging", "x-amz-meta-a", "x-amz-meta-", "x-amz-mp-object-size", "content-encoding",
    "x-amz-object-attributes", "x-amz-max-parts", "x-amz-if-match-size", "x-amz-if-match-last-modified-time", "x-amz-acl",
    "x-amz-grant-read", "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-write-offset-bytes", "content-type",
]  # fmt: skip
PARAMS = [
    "uploads", "uploadId", "partNumber", "tagging", "acl", "versions", "versionId", "delete", "list-type", "prefix", "marker",
    "delimiter", "max-keys", "encoding-type", "continuation-token", "start-after", "attributes", "location", "select",
    "response-content-type", "response-content-disposition", "X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential",
    "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "AWSAccessKeyId", "Signature", "Expires", "x-amz-meta-b", "x-id",
]  # fmt: skip
PATHS = [
    "/", "//", "/.", "/..", "/../..", "/out/../labresults/a.txt", "/out/%2e%2e", "/out/%00", "/out/%", "/out/%zz", "/out/%ff",
    "/out/%ed%a0%80", "/out/" + "k" * 1025, "/out/" + "%f0%9d%84%9e" * 256, "/out//k", "/out/k/", "/%6fut/k", "*", "out/k",
    "http://gateway/out/k", "http://out.gateway/k", "https://", "/out/é", "/-/", "/-/../out", "/out;k", "/out#k", "/?", "?",
]  # fmt: skip
PIECES = [
    b"\r\n", b"\n", b"\r", b"\x00", b"\xff", b" ", b":", b"0\r\n\r\n", b"<", b">", b"&", b"]]>", b"<!--", b"<!DOCTYPE a>", b"\xef\xbb\xbf",
    b"<![CDATA[", b"&#0;", b"&lt;", b"<Object>", b"</Object>", b"<Part>", b"ffffffffffffffff\r\n", b"-1\r\n", b";chunk-signature=",
    b"--b", b"\r\n--b--", b"${filename}", b"x-amz-checksum-crc32:", b"HTTP/1.1", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
]  # fmt: skip
METHODS = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "CONNECT",
    "get",
    "X",
]

Mutation = Callable[[random.Random, Draft], None]


def _method(pick: random.Random, draft: Draft) -> None:
    draft.method = pick.choice(METHODS)


def _path(pick: random.Random, draft: Draft) -> None:
    draft.target = (
        pick.choice(PATHS) + draft.target[draft.target.find("?") :][: pick.choice([0, 9999])]
    )


def _parameter(pick: random.Random, draft: Draft) -> None:
    joint = "&" if "?" in draft.target else "?"
    value = quote(pick.choice(VALUES), safe="%", errors="surrogateescape")
    draft.target += f"{joint}{pick.choice(PARAMS)}={value}"


def _parameter_value(pick: random.Random, draft: Draft) -> None:
    path, mark, query = draft.target.partition("?")
    pairs = query.split("&")
    place = pick.randrange(len(pairs))
    value = quote(pick.choice(VALUES), safe="%", errors="surrogateescape")
    pairs[place] = f"{pairs[place].partition('=')[0]}={value}"
    draft.target = path + mark + "&".join(pairs)


def _header(pick: random.Random, draft: Draft) -> None:
    draft.headers[pick.choice(NAMES)] = pick.choice(VALUES)


def _header_value(pick: random.Random, draft: Draft) -> None:
    if draft.headers:
        draft.headers[pick.choice(list(draft.headers))] = pick.choice(VALUES)


def _header_gone(pick: random.Random, draft: Draft) -> None:
    if draft.headers:
        del draft.headers[pick.choice(list(draft.headers))]


def _no_length(_pick: random.Random, draft: Draft) -> None:
    draft.length = False


def _body(pick: random.Random, draft: Draft) -> None:
    draft.body = mutate_bytes(pick, draft.body)


def _other_body(pick: random.Random, draft: Draft) -> None:
    draft.body = pick.choice([b"", CHUNKED, DELETE, framed(b"hello"), b"x" * 300_000, bytes(100)])


MUTATIONS: tuple[Mutation, ...] = (
    _method, _path, _parameter, _parameter, _parameter_value, _parameter_value, _header, _header, _header, _header_value,
    _header_value, _header_gone, _no_length, _body, _body, _body, _other_body,
)  # fmt: skip


def mutate_bytes(pick: random.Random, data: bytes) -> bytes:
    """Return *data* with bytes flipped, removed, inserted or duplicated."""
    changed = bytearray(data)
    for _ in range(pick.choice([1, 1, 1, 2, 5])):
        at = pick.randrange(len(changed) + 1)
        match pick.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << pick.randrange(8)
            case 1:
                del changed[at : at + pick.choice([1, 2, 10])]
            case 2:
                changed[at:at] = pick.choice(PIECES)
            case 3:
                changed[at:at] = changed[at : at + 30] * pick.choice([1, 2, 50])
            case _:
                del changed[at + pick.choice([0, 1000]) :]
    return bytes(changed)
