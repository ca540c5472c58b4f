"""Routing: the table of S3 operations, and the operation of a request."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import attrs

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import BUCKET, OBJECT, SERVICE, Request
from worker.s3.subresources import OF_THE_BUCKET, RESOURCE_TYPES, misplaced, subresource

NOT_IMPLEMENTED = "NotImplemented"
NOT_ALLOWED = "MethodNotAllowed"
COPY_SOURCE = "x-amz-copy-source"
ENCRYPTION = "x-amz-server-side-encryption"
_OWNERS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


@attrs.frozen
class Operation:
    """An operation of the S3 API, and which requests it handles."""

    method: str
    level: str
    """SERVICE, BUCKET or OBJECT."""
    name: str
    """As in the S3 API reference."""
    params: AbstractSet[str] = frozenset()
    """Query parameters that the request must have, with any value."""
    values: Mapping[str, str] = attrs.field(factory=dict)
    """Query parameters that the request must have with these values."""
    header: str | None = None
    """A header that the request must have."""
    writes: bool = False
    """Whether the operation changes a bucket, which an input bucket rejects."""
    canned: str | None = None
    """The name of the canned response or error code of every such request; None if a handler
    responds."""


# The most specific operation first: the first match is used.
OPERATIONS: tuple[Operation, ...] = (
    # --- the service
    Operation("GET", SERVICE, "ListBuckets"),
    Operation("POST", SERVICE, "ServicePost", canned=NOT_ALLOWED),
    Operation("OPTIONS", SERVICE, "Preflight", canned="Preflight"),
    # --- objects: subresources first
    Operation("GET", OBJECT, "ListParts", {"uploadId"}),
    Operation("GET", OBJECT, "GetObjectTagging", {"tagging"}),
    Operation("GET", OBJECT, "GetObjectAttributes", {"attributes"}),
    Operation("GET", OBJECT, "GetObjectAcl", {"acl"}),
    Operation("GET", OBJECT, "GetObjectLegalHold", {"legal-hold"}, canned="ObjectLockMissing"),
    Operation("GET", OBJECT, "GetObjectRetention", {"retention"}, canned="ObjectLockMissing"),
    Operation("GET", OBJECT, "GetObjectTorrent", {"torrent"}, canned=NOT_ALLOWED),
    Operation("GET", OBJECT, "GetObjectAnnotation", {"annotation"}, canned=NOT_IMPLEMENTED),
    Operation("GET", OBJECT, "GetObject"),
    Operation("HEAD", OBJECT, "HeadObject"),
    Operation(
        "PUT",
        OBJECT,
        "UploadPartCopy",
        {"partNumber", "uploadId"},
        header=COPY_SOURCE,
        writes=True,
    ),
    Operation("PUT", OBJECT, "UploadPart", {"partNumber", "uploadId"}, writes=True),
    Operation("PUT", OBJECT, "PutObjectTagging", {"tagging"}, writes=True),
    Operation("PUT", OBJECT, "PutObjectAcl", {"acl"}, writes=True),
    Operation(
        "PUT", OBJECT, "PutObjectLegalHold", {"legal-hold"}, writes=True, canned="ObjectLockMissing"
    ),
    Operation(
        "PUT", OBJECT, "PutObjectRetention", {"retention"}, writes=True, canned="ObjectLockMissing"
    ),
    Operation(
        "PUT", OBJECT, "UpdateObjectEncryption", {"encryption"}, writes=True, canned=NOT_IMPLEMENTED
    ),
    Operation(
        "PUT", OBJECT, "PutObjectAnnotation", {"annotation"}, writes=True, canned=NOT_IMPLEMENTED
    ),
    Operation("PUT", OBJECT, "RenameObject", {"renameObject"}, writes=True, canned=NOT_IMPLEMENTED),
    Operation(
        "PUT",
        OBJECT,
        "AppendObject",
        header="x-amz-write-offset-bytes",
        writes=True,
        canned=NOT_IMPLEMENTED,
    ),
    Operation("PUT", OBJECT, "CopyObject", header=COPY_SOURCE, writes=True),
    Operation("PUT", OBJECT, "PutObject", writes=True),
    Operation("POST", OBJECT, "CreateMultipartUpload", {"uploads"}, writes=True),
    Operation("POST", OBJECT, "CompleteMultipartUpload", {"uploadId"}, writes=True),
    Operation("POST", OBJECT, "RestoreObject", {"restore"}),
    Operation("POST", OBJECT, "SelectObjectContent", {"select"}, canned=NOT_IMPLEMENTED),
    Operation("POST", OBJECT, "ObjectPost", canned=NOT_ALLOWED),
    Operation("DELETE", OBJECT, "AbortMultipartUpload", {"uploadId"}, writes=True),
    Operation("DELETE", OBJECT, "DeleteObjectTagging", {"tagging"}, writes=True),
    Operation(
        "DELETE",
        OBJECT,
        "DeleteObjectAnnotation",
        {"annotation"},
        writes=True,
        canned=NOT_IMPLEMENTED,
    ),
    Operation("DELETE", OBJECT, "DeleteObject", writes=True),
    Operation("OPTIONS", OBJECT, "Preflight", canned="Preflight"),
    # --- buckets: listings
    Operation("GET", BUCKET, "ListObjectVersions", {"versions"}),
    Operation("GET", BUCKET, "ListMultipartUploads", {"uploads"}),
    # --- buckets: configuration, with the responses of a private bucket
    Operation("GET", BUCKET, "GetBucketLocation", {"location"}, canned="LocationConstraint"),
    Operation(
        "GET", BUCKET, "GetBucketVersioning", {"versioning"}, canned="VersioningConfiguration"
    ),
    Operation("GET", BUCKET, "GetBucketAcl", {"acl"}, canned="AccessControlPolicy"),
    Operation("GET", BUCKET, "GetBucketPolicy", {"policy"}, canned="NoSuchBucketPolicy"),
    Operation(
        "GET", BUCKET, "GetBucketPolicyStatus", {"policyStatus"}, canned="NoSuchBucketPolicy"
    ),
    Operation("GET", BUCKET, "GetBucketTagging", {"tagging"}, canned="NoSuchTagSet"),
    Operation("GET", BUCKET, "GetBucketCors", {"cors"}, canned="NoSuchCORSConfiguration"),
    Operation(
        "GET",
        BUCKET,
        "GetBucketEncryption",
        {"encryption"},
        canned="ServerSideEncryptionConfigurationNotFoundError",
    ),
    Operation(
        "GET",
        BUCKET,
        "GetBucketLifecycleConfiguration",
        {"lifecycle"},
        canned="NoSuchLifecycleConfiguration",
    ),
    Operation(
        "GET",
        BUCKET,
        "GetObjectLockConfiguration",
        {"object-lock"},
        canned="ObjectLockConfigurationNotFoundError",
    ),
    Operation(
        "GET",
        BUCKET,
        "GetBucketOwnershipControls",
        {"ownershipControls"},
        canned="OwnershipControls",
    ),
    Operation(
        "GET",
        BUCKET,
        "GetPublicAccessBlock",
        {"publicAccessBlock"},
        canned="PublicAccessBlockConfiguration",
    ),
    Operation(
        "GET",
        BUCKET,
        "GetBucketRequestPayment",
        {"requestPayment"},
        canned="RequestPaymentConfiguration",
    ),
    Operation(
        "GET",
        BUCKET,
        "GetBucketAccelerateConfiguration",
        {"accelerate"},
        canned="AccelerateConfiguration",
    ),
    Operation("GET", BUCKET, "GetBucketLogging", {"logging"}, canned="BucketLoggingStatus"),
    Operation(
        "GET",
        BUCKET,
        "GetBucketNotificationConfiguration",
        {"notification"},
        canned="NotificationConfiguration",
    ),
    Operation(
        "GET",
        BUCKET,
        "GetBucketReplication",
        {"replication"},
        canned="ReplicationConfigurationNotFoundError",
    ),
    Operation("GET", BUCKET, "GetBucketWebsite", {"website"}, canned="NoSuchWebsiteConfiguration"),
    *(
        operation
        for param, noun in (
            ("analytics", "Analytics"),
            ("inventory", "Inventory"),
            ("metrics", "Metrics"),
            ("intelligent-tiering", "IntelligentTiering"),
        )
        for operation in (
            Operation(
                "GET",
                BUCKET,
                f"GetBucket{noun}Configuration",
                {param, "id"},
                canned="NoSuchConfiguration",
            ),
            Operation(
                "GET",
                BUCKET,
                f"ListBucket{noun}Configurations",
                {param},
                canned=f"ListBucket{noun}ConfigurationsResult",
            ),
            Operation(
                "PUT",
                BUCKET,
                f"PutBucket{noun}Configuration",
                {param},
                writes=True,
                canned="AccessDenied",
            ),
            Operation(
                "DELETE",
                BUCKET,
                f"DeleteBucket{noun}Configuration",
                {param},
                writes=True,
                canned="AccessDenied",
            ),
        )
    ),
    Operation("GET", BUCKET, "CreateSession", {"session"}, canned=NOT_IMPLEMENTED),
    Operation(
        "GET",
        BUCKET,
        "GetBucketMetadataTableConfiguration",
        {"metadataTable"},
        canned=NOT_IMPLEMENTED,
    ),
    Operation(
        "GET",
        BUCKET,
        "GetBucketMetadataConfiguration",
        {"metadataConfiguration"},
        canned="MetadataConfigurationNotFound",
    ),
    Operation("GET", BUCKET, "GetBucketAbac", {"abac"}, canned="AbacStatus"),
    Operation("GET", BUCKET, "ListObjectsV2", values={"list-type": "2"}),
    Operation("GET", BUCKET, "ListObjects"),
    Operation("HEAD", BUCKET, "HeadBucket"),
    # --- buckets: changes
    *(
        Operation("PUT", BUCKET, name, {param}, writes=True, canned=response)
        for param, name, response in (
            ("versioning", "PutBucketVersioning", "AccessDenied"),
            ("acl", "PutBucketAcl", "AccessControlListNotSupported"),
            ("policy", "PutBucketPolicy", "AccessDenied"),
            ("tagging", "PutBucketTagging", "AccessDenied"),
            ("cors", "PutBucketCors", "AccessDenied"),
            ("encryption", "PutBucketEncryption", "AccessDenied"),
            ("lifecycle", "PutBucketLifecycleConfiguration", "AccessDenied"),
            ("object-lock", "PutObjectLockConfiguration", "AccessDenied"),
            ("ownershipControls", "PutBucketOwnershipControls", "AccessDenied"),
            ("publicAccessBlock", "PutPublicAccessBlock", "AccessDenied"),
            ("requestPayment", "PutBucketRequestPayment", "AccessDenied"),
            ("accelerate", "PutBucketAccelerateConfiguration", "AccessDenied"),
            ("logging", "PutBucketLogging", "AccessDenied"),
            ("notification", "PutBucketNotificationConfiguration", "AccessDenied"),
            ("replication", "PutBucketReplication", "AccessDenied"),
            ("website", "PutBucketWebsite", "AccessDenied"),
            ("metadataInventoryTable", "UpdateBucketMetadataInventoryTable", NOT_IMPLEMENTED),
            ("metadataJournalTable", "UpdateBucketMetadataJournalTable", NOT_IMPLEMENTED),
            ("abac", "PutBucketAbac", NOT_IMPLEMENTED),
        )
    ),
    Operation("PUT", BUCKET, "CreateBucket", writes=True, canned="CreateBucket"),
    *(
        Operation("DELETE", BUCKET, name, {param}, writes=True, canned=response)
        for param, name, response in (
            ("policy", "DeleteBucketPolicy", "AccessDenied"),
            ("tagging", "DeleteBucketTagging", "AccessDenied"),
            ("cors", "DeleteBucketCors", "AccessDenied"),
            ("encryption", "DeleteBucketEncryption", "AccessDenied"),
            ("lifecycle", "DeleteBucketLifecycle", "AccessDenied"),
            ("ownershipControls", "DeleteBucketOwnershipControls", "AccessDenied"),
            ("publicAccessBlock", "DeletePublicAccessBlock", "AccessDenied"),
            ("replication", "DeleteBucketReplication", "AccessDenied"),
            ("website", "DeleteBucketWebsite", "AccessDenied"),
            ("metadataTable", "DeleteBucketMetadataTableConfiguration", NOT_IMPLEMENTED),
            ("metadataConfiguration", "DeleteBucketMetadataConfiguration", NOT_IMPLEMENTED),
        )
    ),
    Operation("DELETE", BUCKET, "DeleteBucket", writes=True, canned="DeleteBucket"),
    Operation("POST", BUCKET, "DeleteObjects", {"delete"}, writes=True),
    Operation(
        "POST",
        BUCKET,
        "CreateBucketMetadataTable",
        {"metadataTable"},
        writes=True,
        canned=NOT_IMPLEMENTED,
    ),
    Operation(
        "POST",
        BUCKET,
        "CreateBucketMetadata",
        {"metadataConfiguration"},
        writes=True,
        canned=NOT_IMPLEMENTED,
    ),
    Operation("POST", BUCKET, "PostObject", writes=True),
    Operation("OPTIONS", BUCKET, "Preflight", canned="Preflight"),
)

# The operations by method, level and subresource, so that a request is compared with few of them.
_BY_KIND: dict[tuple[str, str, str | None], tuple[Operation, ...]] = {}
for _each in OPERATIONS:
    # At most one: no operation has two subresources.
    _name = next(iter(_each.params & RESOURCE_TYPES[_each.level].keys()), None)
    _kind = (_each.method, _each.level, _name)
    _BY_KIND[_kind] = (*_BY_KIND.get(_kind, ()), _each)
METHODS = ("HEAD", "DELETE", "POST", "GET", "PUT")
"""The methods of S3, in the order of its Allow headers."""


def route(request: Request) -> Operation:
    """Return the operation of a request.

    Raises MethodNotAllowed, InvalidArgument and InvalidRequest if there is none.

    Unknown query parameters are ignored, as S3 does.
    """
    level = request.level
    found = None
    if request.params and request.method != "OPTIONS":
        found = subresource(request)
        if found is not None:
            fault = misplaced(request, found)
            if fault is not None:
                raise fault
            if found in OF_THE_BUCKET:
                level = BUCKET
    operations = _BY_KIND.get((request.method, level, found), ())
    for operation in operations:
        if _matches(operation, request):
            if operation.canned == NOT_ALLOWED:
                break
            _check_headers(request, operation)
            if request.params:
                _check_part(request, operation)
            return operation
    raise _method_not_allowed(request, level, found)


def _matches(operation: Operation, request: Request) -> bool:
    params = request.params
    return (
        operation.params <= params.keys()
        and (operation.header is None or operation.header in request.headers)
        and all(params.get(name) == value for name, value in operation.values.items())
    )


def _method_not_allowed(request: Request, level: str, found: str | None) -> S3Error:
    allowed = [
        method
        for method in METHODS
        if any(
            # With the number of a part, it is another resource.
            each.canned != NOT_ALLOWED and "partNumber" not in each.params
            for each in _BY_KIND.get((method, level, found), ())
        )
    ]
    kind = level.upper() if found is None else RESOURCE_TYPES[level][found]
    return S3Error(
        "MethodNotAllowed",
        Method=request.method,
        ResourceType=kind,
        headers={"Allow": ", ".join(allowed)} if allowed else None,
    )


def _check_headers(request: Request, operation: Operation) -> None:
    """Reject an expected owner that is no account, and headers that the operation does not have."""
    for name in _OWNERS:
        owner = request.headers.get(name)
        if owner and not _ACCOUNT.fullmatch(owner):
            raise S3Error(
                "InvalidBucketOwnerAWSAccountID",
                "The value of the expected bucket owner parameter must be an AWS Account ID... "
                f"[{owner}]",
            )
    if ENCRYPTION in request.headers and (
        request.method in ("GET", "HEAD") or operation.name == "UploadPart"
    ):
        raise invalid_argument(
            ENCRYPTION,
            request.headers[ENCRYPTION],
            f"{ENCRYPTION} header is not supported for this operation.",
        )
    if COPY_SOURCE in request.headers and (request.method, request.level) != ("PUT", OBJECT):
        raise invalid_argument(
            COPY_SOURCE,
            request.headers[COPY_SOURCE],
            "You can only specify a copy source header for copy requests.",
        )


def _check_part(request: Request, operation: Operation) -> None:
    """Reject the number of a part where no part is read or written."""
    if "partNumber" not in request.params:
        return
    is_write = operation.name in ("PutObject", "CopyObject", "AppendObject")
    if is_write or (operation.name == "UploadPart" and not request.params["uploadId"]):
        raise invalid_argument(
            "partNumber",
            "partNumber",
            "This operation does not accept partNumber without uploadId",
        )
    if operation.level == OBJECT and operation.method != "PUT" and "uploadId" in request.params:
        raise S3Error(
            NOT_ALLOWED, Method=request.method, ResourceType="PART", headers={"Allow": "PUT"}
        )
