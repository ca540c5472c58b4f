"""Canned responses: the configuration of a private bucket, and the rejection of its changes."""

from collections.abc import Mapping

from worker.s3.error_codes import CATALOGUE, S3Error
from worker.s3.request import Request
from worker.s3.routing import Operation
from worker.s3.xml_responses import OWNER, document

_CORS_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_XSI = "http://www.w3.org/2001/XMLSchema-instance"

DOCUMENTS: Mapping[str, tuple[str, str]] = {
    "LocationConstraint": ("LocationConstraint", ""),
    "VersioningConfiguration": ("VersioningConfiguration", ""),
    "AbacStatus": ("AbacStatus", "<Status>Disabled</Status>"),
    "AccessControlPolicy": (
        "AccessControlPolicy",
        f"<Owner>{OWNER}</Owner><AccessControlList><Grant>"
        f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">{OWNER}</Grantee>'
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>",
    ),
    "OwnershipControls": (
        "OwnershipControls",
        "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
    ),
    "PublicAccessBlockConfiguration": (
        "PublicAccessBlockConfiguration",
        "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
        "<BlockPublicPolicy>true</BlockPublicPolicy>"
        "<RestrictPublicBuckets>true</RestrictPublicBuckets>",
    ),
    "RequestPaymentConfiguration": ("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"),
    "AccelerateConfiguration": ("AccelerateConfiguration", ""),
    "BucketLoggingStatus": ("BucketLoggingStatus", ""),
    "NotificationConfiguration": ("NotificationConfiguration", ""),
    **{
        f"ListBucket{noun}ConfigurationsResult": (root, "<IsTruncated>false</IsTruncated>")
        for noun, root in (
            ("Analytics", "ListBucketAnalyticsConfigurationsResult"),
            ("Inventory", "ListInventoryConfigurationsResult"),
            ("Metrics", "ListMetricsConfigurationsResult"),
            ("IntelligentTiering", "ListIntelligentTieringConfigurationsResult"),
        )
    },
}
"""The root element of a document and its content, by the `canned` of an operation."""

REJECTIONS: Mapping[str, tuple[str, str]] = {
    "AccessDenied": (
        "AccessDenied",
        "Access Denied: the settings of a job's buckets cannot be changed.",
    ),
    "DeleteBucket": (
        "AccessDenied",
        "Access Denied: the buckets of a job last as long as the job.",
    ),
    "ObjectLockMissing": ("InvalidRequest", "Bucket is missing Object Lock Configuration"),
    "NotImplemented": ("NotImplemented", "This operation is not implemented by this gateway."),
}
"""The error code and the message of a rejection, by the `canned` of an operation."""


def respond(operation: Operation, request: Request, *, exists: bool) -> bytes:
    """Return the document of an operation with a canned response (status 200); raises S3Error.

    *exists* tells whether the bucket is one of the job's.
    """
    name = operation.canned or ""
    if name == "CreateBucket":
        raise _create_bucket(request, exists=exists)
    if name == "Preflight":
        raise _preflight(request, exists=exists)
    if name == "NotImplemented":
        raise _rejection(name, operation)
    if request.bucket is not None and not exists:
        raise S3Error("NoSuchBucket", BucketName=request.bucket)
    if name not in DOCUMENTS:
        raise _rejection(name, operation, request.bucket)
    root, content = DOCUMENTS[name]
    token = request.params.get("continuation-token")
    if token is not None and operation.name.startswith("List"):
        if token:
            raise S3Error("MalformedContinuationToken")
        content += "<ContinuationToken></ContinuationToken>"
    return document(root, content)


def _rejection(name: str, operation: Operation, bucket: str | None = None) -> S3Error:
    code, message = REJECTIONS.get(name, (name, None))
    if code == "NotImplemented":
        return S3Error(code, message, Operation=operation.name)
    if CATALOGUE[code][0] == 404 and code != "NoSuchConfiguration":
        # A setting that the bucket does not have.
        return S3Error(code, message, BucketName=bucket)
    return S3Error(code, message)


def _preflight(request: Request, *, exists: bool) -> S3Error:
    """Return the error of a preflight request: no bucket allows requests of other origins."""
    if not request.headers.get("origin"):
        return S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    method = request.headers.get("access-control-request-method") or "OPTIONS"
    if method not in _CORS_METHODS:
        return S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method}")
    message = None if exists else "CORSResponse: Bucket not found"
    return S3Error("AccessForbidden", message, Method=method, ResourceType="BUCKET")


def _create_bucket(request: Request, *, exists: bool) -> S3Error:
    if exists:
        # Clients create a bucket before they write to it. They continue after this error, and
        # not after AccessDenied.
        return S3Error("BucketAlreadyOwnedByYou", BucketName=request.bucket)
    return S3Error(
        "AccessDenied",
        "Access Denied: a job has the buckets of its inputs and `out`, and no others can be "
        "created; write to s3://out",
        BucketName=request.bucket,
    )
