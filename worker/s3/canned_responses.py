"""Responses that are the same for every private bucket, and the refusals to change one."""

from collections.abc import Mapping

from worker.s3.error_codes import CATALOGUE, S3Error
from worker.s3.request import Request
from worker.s3.routing import Operation
from worker.s3.xml_responses import HEAD, NAMESPACE, OWNER, document

_XSI = "http://www.w3.org/2001/XMLSchema-instance"

# By the ``answer`` of an operation: the document that every such request gets.
DOCUMENTS: Mapping[str, bytes] = {
    "LocationConstraint": f'{HEAD}<LocationConstraint xmlns="{NAMESPACE}"/>'.encode(),
    "VersioningConfiguration": document("VersioningConfiguration", ""),
    "AccessControlPolicy": document(
        "AccessControlPolicy",
        f"<Owner>{OWNER}</Owner><AccessControlList><Grant>"
        f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">{OWNER}</Grantee>'
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>",
    ),
    "OwnershipControls": document(
        "OwnershipControls",
        "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
    ),
    "PublicAccessBlockConfiguration": document(
        "PublicAccessBlockConfiguration",
        "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
        "<BlockPublicPolicy>true</BlockPublicPolicy>"
        "<RestrictPublicBuckets>true</RestrictPublicBuckets>",
    ),
    "RequestPaymentConfiguration": document(
        "RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"
    ),
    "AccelerateConfiguration": document("AccelerateConfiguration", ""),
    "BucketLoggingStatus": document("BucketLoggingStatus", ""),
    "NotificationConfiguration": document("NotificationConfiguration", ""),
    **{
        f"ListBucket{noun}ConfigurationsResult": document(root, "<IsTruncated>false</IsTruncated>")
        for noun, root in (
            ("Analytics", "ListBucketAnalyticsConfigurationsResult"),
            ("Inventory", "ListInventoryConfigurationsResult"),
            ("Metrics", "ListMetricsConfigurationsResult"),
            ("IntelligentTiering", "ListBucketIntelligentTieringConfigurationsOutput"),
        )
    },
}

# By the ``answer`` of an operation: the code that refuses it, and a sentence that says why.
REFUSALS: Mapping[str, tuple[str, str]] = {
    "AccessDenied": (
        "AccessDenied",
        "Access Denied: the settings of a job's buckets cannot be changed.",
    ),
    "DeleteBucket": (
        "AccessDenied",
        "Access Denied: the buckets of a job last as long as the job.",
    ),
    "ObjectLockMissing": ("InvalidRequest", "Bucket is missing Object Lock Configuration"),
    "Preflight": ("AccessForbidden", CATALOGUE["AccessForbidden"][1]),
    "NotImplemented": ("NotImplemented", "This operation is not implemented by this gateway."),
}


def answer(operation: Operation, request: Request, *, exists: bool) -> bytes:
    """Return the document that an operation with a fixed answer gets (200); raises S3Error.

    *exists* is whether the bucket is one of the job's.
    """
    name = operation.answer or ""
    if name == "CreateBucket":
        raise _create_bucket(request, exists=exists)
    if name == "Preflight" and "origin" not in request.headers:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    if name == "NotImplemented":
        raise _refusal(name, operation)
    if request.bucket is not None and not exists:
        raise S3Error("NoSuchBucket", BucketName=request.bucket)
    found = DOCUMENTS.get(name)
    if found is not None:
        return found
    raise _refusal(name, operation)


def _refusal(name: str, operation: Operation) -> S3Error:
    code, message = REFUSALS.get(name, (name, None))
    if code == "NotImplemented":
        return S3Error(code, message, Operation=operation.name)
    return S3Error(code, message)


def _create_bucket(request: Request, *, exists: bool) -> S3Error:
    if exists:
        # Clients create before they write, and go on from this one; from a 403 they do not.
        return S3Error("BucketAlreadyOwnedByYou", BucketName=request.bucket)
    return S3Error(
        "AccessDenied",
        "Access Denied: a job has the buckets of its inputs and `out`, and no others can be made; "
        "write to s3://out",
        BucketName=request.bucket,
    )
