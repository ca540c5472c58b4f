"""One HTTP request as S3 sees it: its address, its query and its headers, taken apart once."""

import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import unquote_to_bytes

import attrs

from worker.s3.error_codes import S3Error, invalid_argument

MAX_KEY = 1024  # bytes of UTF-8
MAX_QUERY_PAIRS = 256

SERVICE = "service"
BUCKET = "bucket"
OBJECT = "object"

# Headers that some SDKs move into the query of a presigned URL. Digests are not among them: those
# SDKs put there what they computed of the body they did not have.
HOISTED = ("x-amz-meta-", "x-amz-tagging", "x-amz-acl", "x-amz-storage-class")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@attrs.frozen(eq=False)
class Request:
    """A request of which the address was understood; nothing else has been judged.

    Header values are text in Latin-1, one character a byte, so that signatures and user metadata
    see exactly what was sent. ``method`` is upper case.
    """

    method: str
    path: str
    """The path as sent, still percent-encoded, without the query; in Latin-1."""
    query_string: str
    """The query as sent, without the ``?``; in Latin-1."""
    host: str
    """The Host as sent, with its port if there is one; empty if there is none."""
    bucket: str | None
    key: str | None
    """Percent-decoded once and otherwise untouched: ``//``, ``.`` and ``..`` are plain text."""
    level: str
    """``service``, ``bucket`` or ``object``: what the address names."""
    virtual: bool
    """Whether the bucket came from the host and not from the path."""
    query: tuple[tuple[str, str], ...]
    """The query decoded, in the order sent."""
    params: Mapping[str, str]
    """The query by name; of a name given twice, the first."""
    headers: Mapping[str, str]
    """By lower-case name; a header that was sent twice is joined with commas."""
    hoisted: frozenset[str] = frozenset()
    """Those of ``headers`` that a presigned URL carried in its query."""

    @property
    def resource(self) -> str:
        """What error documents call the Resource: ``/bucket/key``, decoded."""
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
    """Return the request that was sent; raises only S3Error.

    *raw_path* is the target up to the ``?`` as it came over the wire, absolute form included.
    *buckets* are the names that exist: only ``NAME.anything`` of one of them is the
    virtual-host style.
    """
    by_name = _headers(headers)
    host = by_name.get("host", "")
    if not raw_path.startswith(b"/"):
        host, raw_path = _absolute(raw_path, host)
    # An address such as 127.0.0.1:9000 or [::1] contains no bucket.
    name = host.partition(":")[0]
    bucket = None
    if "." in name and not name[-1].isdigit() and not host.startswith("["):
        bucket = _virtual_bucket(name, buckets)
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
    if len(key) * 4 > MAX_KEY and (size := len(key.encode())) > MAX_KEY:
        raise S3Error("KeyTooLongError", Size=size, MaxSizeAllowed=MAX_KEY)
    query = _query(query_string) if query_string else ()
    params = dict(reversed(query)) if query else {}
    hoisted: frozenset[str] = frozenset()
    if "X-Amz-Signature" in params:
        hoisted = _hoist(params, by_name)
    return Request(
        method.upper(),
        raw_path.decode("latin-1"),
        query_string.decode("latin-1"),
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


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    by_name: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        # Not all that is white space in Latin-1: UTF-8 has letters that end in such a byte.
        value = raw_value.strip(b" \t").decode("latin-1")
        by_name[name] = f"{by_name[name]},{value}" if name in by_name else value
    return by_name


def _hoist(params: Mapping[str, str], headers: dict[str, str]) -> frozenset[str]:
    found = {
        name.lower(): value.encode().strip(b" \t").decode("latin-1")
        for name, value in params.items()
        if name.lower().startswith(HOISTED) and name.lower() not in headers
    }
    for name, value in found.items():
        # A header could not have held it, and the answer to a GET could not give it back.
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            raise invalid_argument(name, value, "This cannot be a header.")
    headers.update(found)
    return frozenset(found)


def _absolute(target: bytes, host: str) -> tuple[str, bytes]:
    """Return host and path of a target that does not begin with a slash (RFC 9112, 3.2)."""
    if target == b"*":  # OPTIONS of the server itself
        return host, b"/"
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise S3Error("InvalidURI", URI=target.decode("utf-8", "replace"))
    authority, _, path = rest.partition(b"/")
    return authority.rpartition(b"@")[2].decode("latin-1"), b"/" + path


def _virtual_bucket(name: str, buckets: Collection[str]) -> str | None:
    """Return the bucket that the host *name* starts with, or None."""
    position = name.find(".")
    while position > 0:
        label = name[:position]
        if label in buckets:
            return label
        # Hosts have no case, and some clients lower them; names of buckets may have upper case.
        for bucket in buckets:
            if bucket.lower() == label.lower():
                return bucket
        position = name.find(".", position + 1)
    return None


def _decode_path(raw_path: bytes) -> str:
    if b"%" in raw_path:
        _refuse_broken_escapes(raw_path)
        raw_path = unquote_to_bytes(raw_path)
    try:
        path = raw_path.decode()
    except UnicodeDecodeError:
        raise S3Error(
            "InvalidURI",
            "Couldn't parse the specified URI: a key is text in UTF-8.",
            URI=raw_path.decode("utf-8", "replace"),
        ) from None
    if "\x00" in path:
        raise S3Error(
            "InvalidURI",
            "Couldn't parse the specified URI: a key cannot hold the character U+0000.",
            URI=path.replace("\x00", "%00"),
        )
    return path


def _refuse_broken_escapes(raw_path: bytes) -> None:
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
