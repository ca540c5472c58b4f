"""AWS Signature Version 4 and 2: strings to sign, signing keys and signatures."""

import base64
import calendar
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from time import strptime
from urllib.parse import quote, unquote_to_bytes

import attrs

from worker.s3.error_codes import S3Error
from worker.s3.request import BUCKET, Request
from worker.text import parse_integer

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
SERVICE = "s3"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
MAX_CREDENTIAL = 256
"""Characters; an access key has at most 128 (IAM API, AccessKey)."""
_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)


@attrs.frozen
class Credentials:
    """The key pair of a job."""

    access_key: str
    secret_key: str = attrs.field(repr=False)


@attrs.frozen
class Signed:
    """A verified signature, from which the signatures of chunks and trailers are derived."""

    access_key: str
    timestamp: str = ""
    scope: str = ""
    signature: str = attrs.field(default="", repr=False)
    key: bytes = attrs.field(default=b"", repr=False)

    def check_chunk(self, sha256: str, signature: str) -> "Signed":
        """Verify the signature of the next chunk, whose content has the digest *sha256*.

        Return it; raises SignatureDoesNotMatch.
        """
        return self._check("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_SHA256}\n{sha256}", signature)

    def check_trailers(self, trailers: Mapping[str, str], signature: str) -> None:
        """Verify the signature of the trailers, which follows that of the last chunk."""
        canonical = "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items()))
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        self._check("AWS4-HMAC-SHA256-TRAILER", digest, signature)

    def _check(self, kind: str, content: str, signature: str) -> "Signed":
        text = f"{kind}\n{self.timestamp}\n{self.scope}\n{self.signature}\n{content}"
        expected = sign(self.key, text)
        if not same(expected, signature):
            raise mismatch(self.access_key, text, signature)
        return attrs.evolve(self, signature=expected)


@attrs.frozen
class Scope:
    """The parts of a SigV4 credential: an access key and a credential scope."""

    access_key: str
    date: str
    region: str
    service: str
    terminator: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


@attrs.frozen
class Claim:
    """The unverified signature of a request, with the values that it was made from."""

    scope: Scope
    timestamp: str
    signed_headers: tuple[str, ...]
    signature: str = attrs.field(repr=False)
    payload: str
    """The last line of the canonical request: a digest, or a constant such as UNSIGNED-PAYLOAD."""


def parse_scope(credential: str) -> Scope | None:
    """Parse ``KEY/date/region/service/aws4_request``; None for anything else."""
    if len(credential) > MAX_CREDENTIAL:
        return None
    parts = credential.split("/")
    return Scope(*parts) if len(parts) == 5 and parts[0] else None


def parse_timestamp(value: str) -> int | None:
    """Return the seconds since 1970 of a time such as ``20130524T000000Z``, or None."""
    # Checked before it is cached: a cache of long values would fill the memory. The digits are
    # those of ASCII, of which `strptime` accepts more.
    return _seconds(value) if _TIMESTAMP.fullmatch(value) else None


@lru_cache(maxsize=256)
def _seconds(value: str) -> int | None:
    try:
        return calendar.timegm(strptime(value, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


@lru_cache(maxsize=64)
def signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    """Return the signing key of a day, region and service."""
    key = b"AWS4" + secret_key.encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    """Return the signature of a string to sign, in hex."""
    return hmac.digest(key, text.encode(), "sha256").hex()


def sign_v2(secret_key: str, text: bytes) -> str:
    """Return the SigV2 signature of a string to sign, in Base64."""
    return base64.b64encode(hmac.digest(secret_key.encode(), text, "sha1")).decode()


def same(expected: str, given: str) -> bool:
    """Compare two signatures in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode())


def canonical_request(
    request: Request, claim: Claim, *, host: str | None = None, path: str | None = None
) -> str:
    """Return the canonical request (SigV4, "Create a canonical request").

    The path is percent-decoded once and encoded again except ``A-Za-z0-9-_.~/``, since clients
    differ in what they encode in the request target. *host* and *path* replace those sent.
    """
    if path is None:
        path = quote(unquote_to_bytes(request.path.encode("latin-1")), safe="/~")
    lines = [request.method, path, canonical_query(request.query)]
    for name in claim.signed_headers:
        value = request.headers.get(name, "")
        if name == "host":
            value = request.host if host is None else host
        lines.append(f"{name}:{_collapsed(value)}")
    lines += ["", ";".join(claim.signed_headers), claim.payload]
    return "\n".join(lines)


def _collapsed(value: str) -> str:
    """Return a header value with one space for each run of white space.

    Not all white space of Latin-1: characters of UTF-8 such as ``à`` end in such a byte.
    """
    return b" ".join(value.encode("latin-1").split()).decode("latin-1")


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Return the canonical query string: sorted, encoded, without the signature."""
    pairs = sorted(
        (quote(name, safe="~"), quote(value, safe="~"))
        for name, value in query
        if name != "X-Amz-Signature"
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def string_to_sign(claim: Claim, canonical: str) -> str:
    """Return the string to sign of a canonical request."""
    digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    return f"{ALGORITHM}\n{claim.timestamp}\n{claim.scope}\n{digest}"


def check(request: Request, claim: Claim, credentials: Credentials) -> Signed:
    """Verify the signature of a claim; raises SignatureDoesNotMatch.

    Some clients sign the Host without its port, or the path exactly as they send it. These forms
    are accepted as well.
    """
    scope = claim.scope
    key = signing_key(credentials.secret_key, scope.date, scope.region, scope.service)
    standard = canonical_request(request, claim)
    for canonical in _forms(request, claim, standard):
        expected = sign(key, string_to_sign(claim, canonical))
        if same(expected, claim.signature.lower()):
            return Signed(scope.access_key, claim.timestamp, str(scope), expected, key)
    raise mismatch(scope.access_key, string_to_sign(claim, standard), claim.signature, standard)


def mismatch(access_key: str, text: str, signature: str, canonical: str | None = None) -> S3Error:
    """Return SignatureDoesNotMatch with what a client needs to find its mistake.

    *text* is the string to sign, *signature* the one that was sent, and *canonical* the canonical
    request of SigV4. They are decoded as Latin-1, as they were signed, and shown as UTF-8.
    """
    signed = text.encode("latin-1", "replace")
    fields = {
        "AWSAccessKeyId": access_key,
        "StringToSign": signed.decode("utf-8", "replace"),
        "SignatureProvided": signature,
        "StringToSignBytes": signed.hex(" "),
    }
    if canonical is not None:
        signed = canonical.encode("latin-1", "replace")
        fields["CanonicalRequest"] = signed.decode("utf-8", "replace")
        fields["CanonicalRequestBytes"] = signed.hex(" ")
    return S3Error("SignatureDoesNotMatch", fields=fields)


def _forms(request: Request, claim: Claim, standard: str) -> Iterable[str]:
    yield standard
    hosts: list[str | None] = [None]
    name, colon, digits = request.host.rpartition(":")
    if colon and parse_integer(digits) is not None:
        hosts.append(name)
    for path in (None, request.path):
        for host in hosts:
            if path is not None or host is not None:
                yield canonical_request(request, claim, host=host, path=path)


# The query parameters that SigV2 signs as part of the resource.
SUBRESOURCES = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "defaultObjectAcl",
        "delete",
        "inventory",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "partNumber",
        "policy",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    }
)


def string_to_sign_v2(request: Request, date: str, path: str) -> str:
    """Return the string to sign of SigV2; *date* is the Date header, or the Expires parameter.

    *path* is that of the resource, with its bucket. Unlike in SigV4, white space within a header is
    signed as it is.
    """
    headers = request.headers
    amz = "".join(
        f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("x-amz-")
    )
    return (
        f"{request.method}\n{headers.get('content-md5', '')}\n{headers.get('content-type', '')}\n"
        f"{date}\n{amz}{_resource_v2(request, path)}"
    )


def _resource_v2(request: Request, path: str) -> str:
    sub = sorted((name, value) for name, value in request.query if name in SUBRESOURCES)
    if not sub:
        return path
    # A parameter without a value has no equals sign.
    query = "&".join(f"{name}={value}" if value else name for name, value in sub)
    return f"{path}?{query.encode().decode('latin-1')}"  # Decoded like the path and the headers.


def check_v2(request: Request, credentials: Credentials, *, date: str, signature: str) -> Signed:
    """Verify a SigV2 signature; raises SignatureDoesNotMatch."""
    path = f"/{request.bucket}{request.path}" if request.virtual else request.path
    paths = [path]
    if request.level == BUCKET and not path.endswith("/"):
        # boto3 signs the path of a bucket with a slash, which S3 accepts, but sends none.
        paths.append(f"{path}/")
    for each in paths:
        text = string_to_sign_v2(request, date, each)
        digest = hmac.digest(
            credentials.secret_key.encode(), text.encode("latin-1", "replace"), hashlib.sha1
        )
        if hmac.compare_digest(base64.b64encode(digest), signature.encode("utf-8", "replace")):
            return Signed(credentials.access_key)
    raise mismatch(credentials.access_key, string_to_sign_v2(request, date, path), signature)
