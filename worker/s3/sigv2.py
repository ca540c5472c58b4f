"""Signature Version 2: in the header and presigned, as old clients still send it."""

import base64
import hashlib
import hmac

from worker.s3.errors import S3Error
from worker.s3.request import Request
from worker.s3.sigv4 import Credentials, Signed

# The parameters that are part of the resource which is signed.
SUBRESOURCES = frozenset(
    {
        "accelerate",
        "acl",
        "cors",
        "delete",
        "lifecycle",
        "location",
        "logging",
        "notification",
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


def string_to_sign(request: Request, date: str) -> str:
    """Return the text that a V2 signature signs; *date* is the Date line, or Expires."""
    headers = request.headers
    amz = "".join(
        f"{name}:{' '.join(value.split())}\n"
        for name, value in sorted(headers.items())
        if name.startswith("x-amz-")
    )
    return (
        f"{request.method}\n{headers.get('content-md5', '')}\n{headers.get('content-type', '')}\n"
        f"{date}\n{amz}{_resource(request)}"
    )


def _resource(request: Request) -> str:
    path = request.path
    if request.virtual:
        path = f"/{request.bucket}{path}"
    sub = sorted((name, value) for name, value in request.query if name in SUBRESOURCES)
    if not sub:
        return path
    # A parameter without a value stands there without an equals sign.
    return f"{path}?" + "&".join(f"{name}={value}" if value else name for name, value in sub)


def check(request: Request, credentials: Credentials, *, date: str, signature: str) -> Signed:
    """Return the signature if it is right; raises SignatureDoesNotMatch."""
    text = string_to_sign(request, date)
    digest = hmac.digest(
        credentials.secret_key.encode(), text.encode("latin-1", "replace"), hashlib.sha1
    )
    expected = base64.b64encode(digest)
    if not hmac.compare_digest(expected, signature.encode("utf-8", "replace")):
        raise S3Error(
            "SignatureDoesNotMatch",
            AWSAccessKeyId=credentials.access_key,
            StringToSign=text,
            StringToSignBytes=text.encode("utf-8", "replace").hex(" "),
        )
    return Signed(credentials.access_key)
