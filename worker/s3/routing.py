"""Which S3 operation a request is: a table of rules, the most specific first."""

from collections.abc import Mapping

import attrs

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import BUCKET, OBJECT, SERVICE, Request

NO_BODY = "none"
DOCUMENT = "document"
PAYLOAD = "payload"

MAX_DOCUMENT = 8 * 1024 * 1024
"""Bytes of the largest XML body that is read: 10,000 parts with their checksums need 4 MiB."""

NOT_IMPLEMENTED = "NotImplemented"


@attrs.frozen
class Operation:
    """An operation of S3, and how it is answered here.

    ``answer`` is None where the gateway does the work; else it names the row of
    ``answers.ANSWERS`` that every such request gets, or the error code that refuses it.
    """

    name: str
    level: str
    body: str = NO_BODY
    """``none``, ``document`` (XML, at most MAX_DOCUMENT) or ``payload`` (bytes of an object)."""
    writes: bool = False
    """Whether it would change the bucket: an input bucket refuses it with AccessDenied."""
    answer: str | None = None


@attrs.frozen
class Rule:
    """A method, a level and what else must be there, for one operation."""

    method: str
    operation: Operation
    params: frozenset[str] = frozenset()
    values: Mapping[str, str] = attrs.field(factory=dict)
    header: str | None = None


def _rule(
    method: str,
    level: str,
    *params: str,
    to: str,
    body: str = NO_BODY,
    writes: bool = False,
    answer: str | None = None,
    header: str | None = None,
    values: Mapping[str, str] | None = None,
) -> Rule:
    operation = Operation(to, level, body=body, writes=writes, answer=answer)
    return Rule(method, operation, frozenset(params), values or {}, header)


def _read(level: str, param: str, to: str, answer: str) -> Rule:
    return _rule("GET", level, param, to=to, answer=answer)


def _change(method: str, level: str, param: str, to: str, answer: str = "AccessDenied") -> Rule:
    return _rule(method, level, param, to=to, writes=True, answer=answer)


RULES: tuple[Rule, ...] = (  # the most specific first; the first match wins
    # --- the service
    _rule("GET", SERVICE, to="ListBuckets"),
    _rule("POST", SERVICE, to="ServicePost", answer=NOT_IMPLEMENTED),
    _rule("OPTIONS", SERVICE, to="Preflight", answer="Preflight"),
    # --- objects: subresources first
    _rule("GET", OBJECT, "uploadId", to="ListParts"),
    _rule("GET", OBJECT, "tagging", to="GetObjectTagging"),
    _rule("GET", OBJECT, "attributes", to="GetObjectAttributes"),
    _read(OBJECT, "acl", "GetObjectAcl", "AccessControlPolicy"),
    _read(OBJECT, "legal-hold", "GetObjectLegalHold", "NoSuchObjectLockConfiguration"),
    _read(OBJECT, "retention", "GetObjectRetention", "NoSuchObjectLockConfiguration"),
    _read(OBJECT, "torrent", "GetObjectTorrent", NOT_IMPLEMENTED),
    _read(OBJECT, "annotation", "GetObjectAnnotation", NOT_IMPLEMENTED),
    _rule("GET", OBJECT, to="GetObject"),
    _rule("HEAD", OBJECT, to="HeadObject"),
    _rule(
        "PUT",
        OBJECT,
        "partNumber",
        "uploadId",
        header="x-amz-copy-source",
        to="UploadPartCopy",
        writes=True,
    ),
    _rule("PUT", OBJECT, "partNumber", "uploadId", to="UploadPart", body=PAYLOAD, writes=True),
    _rule("PUT", OBJECT, "tagging", to="PutObjectTagging", body=DOCUMENT, writes=True),
    _rule("PUT", OBJECT, "acl", to="PutObjectAcl", body=DOCUMENT, writes=True),
    _change("PUT", OBJECT, "legal-hold", "PutObjectLegalHold", "ObjectLockMissing"),
    _change("PUT", OBJECT, "retention", "PutObjectRetention", "ObjectLockMissing"),
    _change("PUT", OBJECT, "encryption", "UpdateObjectEncryption", NOT_IMPLEMENTED),
    _change("PUT", OBJECT, "annotation", "PutObjectAnnotation", NOT_IMPLEMENTED),
    _change("PUT", OBJECT, "renameObject", "RenameObject", NOT_IMPLEMENTED),
    _rule(
        "PUT",
        OBJECT,
        header="x-amz-write-offset-bytes",
        to="AppendObject",
        writes=True,
        answer=NOT_IMPLEMENTED,
    ),
    _rule("PUT", OBJECT, header="x-amz-copy-source", to="CopyObject", writes=True),
    _rule("PUT", OBJECT, to="PutObject", body=PAYLOAD, writes=True),
    _rule("POST", OBJECT, "uploads", to="CreateMultipartUpload", writes=True),
    _rule("POST", OBJECT, "uploadId", to="CompleteMultipartUpload", body=DOCUMENT, writes=True),
    _rule("POST", OBJECT, "restore", to="RestoreObject", answer=NOT_IMPLEMENTED),
    _rule("POST", OBJECT, "select", to="SelectObjectContent", answer=NOT_IMPLEMENTED),
    _rule("POST", OBJECT, to="ObjectPost", answer="MethodNotAllowed"),
    _rule("DELETE", OBJECT, "uploadId", to="AbortMultipartUpload", writes=True),
    _rule("DELETE", OBJECT, "tagging", to="DeleteObjectTagging", writes=True),
    _change("DELETE", OBJECT, "annotation", "DeleteObjectAnnotation", NOT_IMPLEMENTED),
    _rule("DELETE", OBJECT, to="DeleteObject", writes=True),
    _rule("OPTIONS", OBJECT, to="Preflight", answer="Preflight"),
    # --- buckets: what is listed
    _rule("GET", BUCKET, "versions", to="ListObjectVersions"),
    _rule("GET", BUCKET, "uploads", to="ListMultipartUploads"),
    # --- buckets: what a plain private bucket answers
    _read(BUCKET, "location", "GetBucketLocation", "LocationConstraint"),
    _read(BUCKET, "versioning", "GetBucketVersioning", "VersioningConfiguration"),
    _read(BUCKET, "acl", "GetBucketAcl", "AccessControlPolicy"),
    _read(BUCKET, "policy", "GetBucketPolicy", "NoSuchBucketPolicy"),
    _read(BUCKET, "policyStatus", "GetBucketPolicyStatus", "NoSuchBucketPolicy"),
    _read(BUCKET, "tagging", "GetBucketTagging", "NoSuchTagSet"),
    _read(BUCKET, "cors", "GetBucketCors", "NoSuchCORSConfiguration"),
    _read(
        BUCKET,
        "encryption",
        "GetBucketEncryption",
        "ServerSideEncryptionConfigurationNotFoundError",
    ),
    _read(BUCKET, "lifecycle", "GetBucketLifecycleConfiguration", "NoSuchLifecycleConfiguration"),
    _read(
        BUCKET,
        "object-lock",
        "GetObjectLockConfiguration",
        "ObjectLockConfigurationNotFoundError",
    ),
    _read(BUCKET, "ownershipControls", "GetBucketOwnershipControls", "OwnershipControls"),
    _read(BUCKET, "publicAccessBlock", "GetPublicAccessBlock", "PublicAccessBlockConfiguration"),
    _read(BUCKET, "requestPayment", "GetBucketRequestPayment", "RequestPaymentConfiguration"),
    _read(BUCKET, "accelerate", "GetBucketAccelerateConfiguration", "AccelerateConfiguration"),
    _read(BUCKET, "logging", "GetBucketLogging", "BucketLoggingStatus"),
    _read(
        BUCKET,
        "notification",
        "GetBucketNotificationConfiguration",
        "NotificationConfiguration",
    ),
    _read(BUCKET, "replication", "GetBucketReplication", "ReplicationConfigurationNotFoundError"),
    _read(BUCKET, "website", "GetBucketWebsite", "NoSuchWebsiteConfiguration"),
    *(
        rule
        for param, noun in (
            ("analytics", "Analytics"),
            ("inventory", "Inventory"),
            ("metrics", "Metrics"),
            ("intelligent-tiering", "IntelligentTiering"),
        )
        for rule in (
            _rule(
                "GET",
                BUCKET,
                param,
                "id",
                to=f"GetBucket{noun}Configuration",
                answer="NoSuchConfiguration",
            ),
            _read(
                BUCKET,
                param,
                f"ListBucket{noun}Configurations",
                f"ListBucket{noun}ConfigurationsResult",
            ),
            _change("PUT", BUCKET, param, f"PutBucket{noun}Configuration"),
            _change("DELETE", BUCKET, param, f"DeleteBucket{noun}Configuration"),
        )
    ),
    _read(BUCKET, "session", "CreateSession", NOT_IMPLEMENTED),
    _read(BUCKET, "metadataTable", "GetBucketMetadataTableConfiguration", NOT_IMPLEMENTED),
    _read(BUCKET, "metadataConfiguration", "GetBucketMetadataConfiguration", NOT_IMPLEMENTED),
    _read(BUCKET, "abac", "GetBucketAbac", NOT_IMPLEMENTED),
    _rule("GET", BUCKET, values={"list-type": "2"}, to="ListObjectsV2"),
    _rule("GET", BUCKET, to="ListObjects"),
    _rule("HEAD", BUCKET, to="HeadBucket"),
    # --- buckets: what changes them
    *(
        _change("PUT", BUCKET, param, to, answer)
        for param, to, answer in (
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
    _rule("PUT", BUCKET, to="CreateBucket", writes=True, answer="CreateBucket"),
    *(
        _change("DELETE", BUCKET, param, to, answer)
        for param, to, answer in (
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
    _rule("DELETE", BUCKET, to="DeleteBucket", writes=True, answer="DeleteBucket"),
    _rule("POST", BUCKET, "delete", to="DeleteObjects", body=DOCUMENT, writes=True),
    _change("POST", BUCKET, "metadataTable", "CreateBucketMetadataTable", NOT_IMPLEMENTED),
    _change("POST", BUCKET, "metadataConfiguration", "CreateBucketMetadata", NOT_IMPLEMENTED),
    _rule("POST", BUCKET, to="PostObject", writes=True, answer=NOT_IMPLEMENTED),
    _rule("OPTIONS", BUCKET, to="Preflight", answer="Preflight"),
)

# The same rules by method and level, so that a request meets only those that can fit.
_BY_KIND: dict[tuple[str, str], tuple[Rule, ...]] = {}
for _each in RULES:
    _kind = (_each.method, _each.operation.level)
    _BY_KIND[_kind] = (*_BY_KIND.get(_kind, ()), _each)
_WITHOUT_QUERY = {
    kind: tuple(rule for rule in rules if not rule.params and not rule.values)
    for kind, rules in _BY_KIND.items()
}


def route(request: Request) -> Operation:
    """Return the operation that the request asks for; a method that none has is refused.

    Parameters that S3 does not know are ignored, as S3 does.
    """
    kind = (request.method, request.level)
    params = request.params
    rules = (_BY_KIND if params else _WITHOUT_QUERY).get(kind)
    if rules is None:
        raise _method_not_allowed(request)
    headers = request.headers
    operation = next(
        rule.operation
        for rule in rules
        if rule.params <= params.keys()
        and (rule.header is None or rule.header in headers)
        and all(params.get(name) == value for name, value in rule.values.items())
    )
    if params and request.key is not None:
        _check_subresources(request, operation)
    return operation


def _check_subresources(request: Request, operation: Operation) -> None:
    version = request.params.get("versionId", "null")
    if version != "null":
        message = "Version id cannot be the empty string" if not version else None
        raise invalid_argument("versionId", version, message or "Invalid version id specified")
    if operation.name == "PutObject" and "partNumber" in request.params:
        raise invalid_argument(
            "partNumber",
            request.params["partNumber"],
            "This operation does not accept partNumber without uploadId",
        )
    if operation.name in ("PutObject", "CopyObject") and "uploadId" in request.params:
        raise invalid_argument(
            "uploadId",
            request.params["uploadId"],
            "This operation does not accept uploadId without partNumber",
        )


def _method_not_allowed(request: Request) -> S3Error:
    allowed = sorted({method for method, level in _BY_KIND if level == request.level})
    return S3Error(
        "MethodNotAllowed",
        Method=request.method,
        ResourceType=request.level.upper(),
        headers={"Allow": ", ".join(allowed)},
    )
