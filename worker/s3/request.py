"""A request as S3 interprets it: bucket, key, query parameters and headers."""

import re
from collections.abc import Collection, Iterable, Mapping, Set
from urllib.parse import unquote_to_bytes

import attrs

from worker.model import MAX_KEY
from worker.s3 import header_text
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request_headers import MAX_HOST, headers_by_name, too_long

MAX_QUERY_PAIRS = 256

SERVICE = "service"
BUCKET = "bucket"
OBJECT = "object"

# SDKs move headers into the query of a presigned URL: those that start with x-amz-, and the
# conditions of the request. S3 treats them as headers.
CONDITIONS = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"))
# The digest of the body, which is the last line of the canonical request of SigV4.
SIGNED_V4 = frozenset(("x-amz-content-sha256",))
# In SigV2, also these headers are signed.
SIGNED_V2 = frozenset(("content-type", "content-md5"))
# The parameters of the signature itself; in SigV2, none of them has a meaning.
SIGNATURE_PARAMETERS = frozenset(
    (
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    )
)
# SDKs compute the digest of an empty body, since they do not have the real one.
DIGESTS = ("x-amz-checksum-", "x-amz-sdk-checksum-")
CHECKSUM_SETTINGS = frozenset(f"x-amz-checksum-{name}" for name in ("algorithm", "mode", "type"))
"""Headers named like a checksum that have none. S3 accepts them in every operation."""
_HEX = frozenset(b"0123456789abcdefABCDEF")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")


@attrs.frozen(eq=False)
class Request:
    """A request with a valid target; its method, parameters and headers are not validated.

    Header values are decoded as Latin-1, one character for each byte, so that signatures and user
    metadata are exactly what the client sent.
    """

    method: str
    """Upper case."""
    path: str
    """The path as sent, percent-encoded, without the query; decoded as Latin-1."""
    host: str
    """The Host header as sent, with its port if it has one; empty without one."""
    bucket: str | None
    key: str | None
    """Percent-decoded once; ``//``, ``.`` and ``..`` have no special meaning."""
    level: str
    """``service``, ``bucket`` or ``object``, as the target names."""
    virtual: bool
    """Whether the bucket is named in the host (virtual-hosted style)."""
    query: tuple[tuple[str, str], ...]
    """The decoded query parameters in order."""
    params: Mapping[str, str]
    """The query parameters by name; one that occurs several times has one value."""
    headers: Mapping[str, str]
    """By lower-case name; headers of the same name are joined with commas."""
    hoisted: frozenset[str] = frozenset()
    """The names in *headers* that were sent as query parameters of a presigned URL."""

    @property
    def is_signed(self) -> bool:
        """Whether the request has a signature, which may be invalid."""
        return (
            "authorization" in self.headers
            or "X-Amz-Signature" in self.params
            or "Signature" in self.params
        )

    @property
    def resource(self) -> str:
        """The Resource element of an error document: ``/bucket/key``, decoded."""
        if self.bucket is None:
            return "/"
        return f"/{self.bucket}" if self.key is None else f"/{self.bucket}/{self.key}"


def parse(
    method: str,
    raw_path: bytes,
    query_string: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    buckets: Collection[str],
) -> Request:
    """Parse a request; raises no other error than S3Error.

    *raw_path* is the request target as sent, up to the ``?``; it may be in absolute form. *buckets*
    are the existing buckets: a host ``NAME.domain`` is virtual-hosted style only for their names.
    """
    by_name = headers_by_name(headers)
    host = by_name.get("host", "")
    if not raw_path.startswith(b"/"):
        host, raw_path = _absolute(method, raw_path, host)
    # An address such as 127.0.0.1:9000 or [::1] contains no bucket.
    name = host.partition(":")[0]
    bucket = None
    if "." in name and not name[-1].isdigit() and not host.startswith("["):
        bucket = virtual_bucket(name, buckets)
    virtual = bucket is not None
    if b"%" in raw_path or not raw_path.isascii() or b"\0" in raw_path:
        path = _decode_path(raw_path)
    else:
        path = raw_path.decode()
    if virtual:
        key = path[1:]
    else:
        bucket, _, key = path[1:].partition("/")
        if not bucket:
            if key:
                raise S3Error("InvalidBucketName", BucketName="")
            bucket = None
    if len(key) * 4 > MAX_KEY or ".." in key:
        check_key(key, raw_path.decode("utf-8", "replace"))
    query = _query(query_string) if query_string else ()
    params = dict(query)
    if len(params) < len(query):
        _check_repeated(query)
    hoisted: frozenset[str] = frozenset()
    if "X-Amz-Signature" in params:
        hoisted = _hoist(params, by_name, CONDITIONS | SIGNED_V4)
    elif "Signature" in params and "AWSAccessKeyId" in params:
        hoisted = _hoist(params, by_name, CONDITIONS | SIGNED_V2)
    return Request(
        method.upper(),
        raw_path.decode("latin-1"),
        host,
        bucket,
        key or None,
        OBJECT if key else SERVICE if bucket is None else BUCKET,
        virtual,
        query,
        params,
        by_name,
        hoisted,
    )


def check_key(key: str, sent: str) -> None:
    """Reject a key that is too long or leads out of its bucket.

    *sent* is the target that contains it. Raises KeyTooLongError and InvalidURI.
    """
    if (size := len(key.encode())) > MAX_KEY:
        raise S3Error("KeyTooLongError", Size=size, MaxSizeAllowed=MAX_KEY)
    if ".." in key:
        check_climb(key, sent)


def check_climb(key: str, sent: str) -> None:
    """Reject a key whose ``..`` would lead out of its bucket, as S3 does; raises InvalidURI.

    *sent* is the target that contains it. Within the bucket, ``..`` is a name like any other.
    """
    depth = 0
    for part in key.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            raise S3Error("InvalidURI", URI=sent)


def _hoist(params: Mapping[str, str], headers: dict[str, str], more: Set[str]) -> frozenset[str]:
    """Add the headers that a presigned URL has in its query, and return their names.

    These are the headers named in *more*, and those that start with ``x-amz-``. A header that is
    sent as well must have the same value: it would replace the one that is signed, unless it is
    signed itself. Raises InvalidArgument.
    """
    found: dict[str, str] = {}
    for sent, text in params.items():
        name = sent.lower()
        is_amz = name.startswith("x-amz-")
        if not (name in more or is_amz) or (
            name.startswith(DIGESTS) and name not in CHECKSUM_SETTINGS
        ):
            continue
        value = text.encode().strip(b" \t").decode("latin-1")
        if headers.get(name, value) != value or found.setdefault(name, value) != value:
            raise invalid_argument(name, None, f"The request has two values of {name}; send one.")
    hoisted = frozenset(
        name
        for name in found
        if name not in headers and (name in more or name not in SIGNATURE_PARAMETERS)
    )
    for name in hoisted:
        check_header(name, found[name])
        headers[name] = found[name]
    return hoisted


def _check_repeated(query: tuple[tuple[str, str], ...]) -> None:
    """Reject a parameter with several values, one of which a reader would have to choose.

    A signature does not help: their order is not signed. Raises InvalidArgument.
    """
    values: dict[str, str] = {}
    for name, value in query:
        if values.setdefault(name, value) != value:
            raise invalid_argument(
                name, None, "The query has this parameter twice, with different values."
            )


def check_header(name: str, value: str) -> None:
    """Reject what cannot be sent as a header, so that a GET could not return it.

    User metadata may have any value, since it is encoded. Raises InvalidArgument.
    """
    if not _HEADER_NAME.fullmatch(name) or (
        header_text.has_control(value) and not name.startswith("x-amz-meta-")
    ):
        raise invalid_argument(name, value, "This cannot be a header.")


def _absolute(method: str, target: bytes, host: str) -> tuple[str, bytes]:
    """Return host and path of a target in absolute or asterisk form (RFC 9112, 3.2)."""
    if target == b"*" and method.upper() == "OPTIONS":  # Of the server itself.
        return host, b"/"
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise S3Error("InvalidURI", URI=target.decode("utf-8", "replace"))
    authority, _, path = rest.partition(b"/")
    host = authority.rpartition(b"@")[2].decode("latin-1")
    if len(host) > MAX_HOST:
        raise too_long("host", len(host))
    return host, b"/" + path


def virtual_bucket(name: str, buckets: Collection[str]) -> str | None:
    """Return the bucket that the host *name* starts with, the shortest one; None without one.

    Host names are case-insensitive, and some clients send them in lower case.
    """
    lower = name.lower()
    found = [bucket for bucket in buckets if lower.startswith(f"{bucket.lower()}.")]
    return min(found, key=lambda each: (len(each), not name.startswith(each)), default=None)


def _decode_path(raw_path: bytes) -> str:
    if b"%" in raw_path:
        _check_escapes(raw_path)
        raw_path = unquote_to_bytes(raw_path)
    try:
        path = raw_path.decode()
    except UnicodeDecodeError:
        raise S3Error(
            "InvalidURI",
            "Couldn't parse the specified URI: a key is text in UTF-8.",
            URI=raw_path.decode("utf-8", "replace"),
        ) from None
    check_characters(path)
    return path


def check_characters(key: str) -> None:
    """Reject a key with a character that the gateway cannot store; raises InvalidURI."""
    if "\x00" in key:
        raise S3Error(
            "InvalidURI",
            "Couldn't parse the specified URI: a key cannot contain the character U+0000.",
            URI=key.replace("\x00", "%00"),
        )


def _check_escapes(raw_path: bytes) -> None:
    for piece in raw_path.split(b"%")[1:]:
        if len(piece) < 2 or piece[0] not in _HEX or piece[1] not in _HEX:
            raise S3Error(
                "InvalidURI",
                "Couldn't parse the specified URI: % is not followed by two hex digits; "
                "a % itself is sent as %25.",
                URI=raw_path.decode("utf-8", "replace"),
            )


def _query(query_string: bytes) -> tuple[tuple[str, str], ...]:
    pairs = []
    pieces = query_string.split(b"&", MAX_QUERY_PAIRS)
    if len(pieces) > MAX_QUERY_PAIRS:
        raise S3Error("InvalidURI", f"The query has more than {MAX_QUERY_PAIRS} parameters.")
    for piece in pieces:
        if piece:
            name, _, value = piece.partition(b"=")
            pairs.append((_query_text(name), _query_text(value)))
    return tuple(pairs)


def _query_text(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise S3Error(
            "InvalidURI",
            "Couldn't parse the specified URI: the query is not text in UTF-8.",
        ) from None
