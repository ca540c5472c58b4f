"""Subresources: the query parameters that select an operation, and their combinations.

A request with a subresource never falls back to the operation of the bare path: a DELETE of a
subresource that cannot be deleted must not delete the object.
"""

from collections.abc import Mapping

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.request import BUCKET, OBJECT, SERVICE, Request

# By the level of the path: the subresources, and the type that errors name them by.
RESOURCE_TYPES: Mapping[str, Mapping[str, str]] = {
    SERVICE: {},
    BUCKET: {
        "abac": "BUCKET_ABAC",
        "accelerate": "ACCELERATE",
        "acl": "ACL",
        "analytics": "ANALYTICS",
        "cors": "CORS",
        "delete": "MULTI_OBJECT_DELETE",
        "encryption": "ENCRYPTION",
        "intelligent-tiering": "INTELLIGENT_TIERING",
        "inventory": "INVENTORY",
        "lifecycle": "LIFECYCLE",
        "location": "LOCATION",
        "logging": "LOGGING_STATUS",
        "metadataAnnotationTable": "BUCKET_METADATA_ANNOTATION_TABLE_CONFIGURATION",
        "metadataConfiguration": "BUCKET_METADATA_CONFIGURATION",
        "metadataInventoryTable": "BUCKET_METADATA_INVENTORY_TABLE_CONFIGURATION",
        "metadataJournalTable": "BUCKET_METADATA_JOURNAL_TABLE_CONFIGURATION",
        "metadataTable": "BUCKET_METADATA_TABLE_CONFIGURATION",
        "metrics": "METRICS",
        "notification": "NOTIFICATION",
        "object-lock": "OBJECT_LOCK_CONFIGURATION",
        "ownershipControls": "OWNERSHIP_CONTROLS",
        "policy": "BUCKETPOLICY",
        "policyStatus": "POLICY_STATUS",
        "publicAccessBlock": "PUBLIC_ACCESS_BLOCK",
        "replication": "REPLICATION",
        "requestPayment": "REQUEST_PAYMENT",
        "restore": "RESTORE",
        "tagging": "TAGGING",
        "torrent": "TORRENT",
        "uploadId": "UPLOAD",
        "uploads": "UPLOADS",
        "versioning": "VERSIONING",
        "versions": "BUCKETVERSIONS",
        "website": "WEBSITE",
    },
    OBJECT: {
        "acl": "ACL",
        "annotation": "OBJECT_ANNOTATIONS",
        "attributes": "OBJECT_ATTRIBUTES",
        "delete": "MULTI_OBJECT_DELETE",
        "encryption": "OBJECT_ENCRYPTION",
        "legal-hold": "OBJECT_LOCK_LEGALHOLD",
        "restore": "RESTORE",
        "retention": "OBJECT_LOCK_RETENTION",
        "select": "SELECT",
        "tagging": "OBJECT_TAGGING",
        "torrent": "TORRENT",
        "uploadId": "UPLOAD",
        "uploads": "UPLOADS",
    },
}
OF_THE_BUCKET = frozenset(
    (
        "accelerate",
        "cors",
        "inventory",
        "lifecycle",
        "location",
        "logging",
        "notification",
        "policy",
        "replication",
        "requestPayment",
        "versioning",
        "versions",
        "website",
    )
)
"""The subresources that are those of the bucket also in the path of a key, whatever the key."""
_SELECTORS = {
    SERVICE: frozenset[str](),
    BUCKET: frozenset(RESOURCE_TYPES[BUCKET]),
    OBJECT: frozenset(RESOURCE_TYPES[OBJECT]) | OF_THE_BUCKET,
}
_WITHOUT_VERSIONS = OF_THE_BUCKET | {"torrent", "uploadId", "uploads"}
_NO_VERSION = "This operation does not accept a version-id."


def subresource(request: Request) -> str | None:
    """Return the subresource of a request; None if it is for the bucket or object itself.

    Raises InvalidArgument for two of them, and InvalidArgument or InvalidRequest for parameters of
    an object that the path or the subresource does not have.
    """
    params, level = request.params, request.level
    selected = _SELECTORS[level] & params.keys()
    if "partNumber" in params:
        if level == BUCKET and not selected:
            raise S3Error("InvalidRequest", "Object must have a valid key name.")
        # Beside uploadId it is the number of a part; alone it reads a part of an object.
        if selected and not (level == OBJECT and selected == {"uploadId"}):
            selected |= {"partNumber"}
    if len(selected) > 1:
        names = sorted(selected)
        raise invalid_argument(
            "ResourceType",
            names[0],
            f"Conflicting query string parameters: {', '.join(names)}",
        )
    found = next(iter(selected), None)
    if found == "website" and params["website"]:
        raise invalid_argument(
            "website", params["website"], "The website parameter must not have a value"
        )
    _check_version(request, found)
    return found


def _check_version(request: Request, found: str | None) -> None:
    """Reject the versions of objects: only ``null`` exists, and not all operations have them."""
    version = request.params.get("versionId")
    if version is None or request.level == SERVICE:
        return
    if request.level == BUCKET and request.method == "POST" and found is None:
        return  # The fields of an HTML form name the object.
    writes_object = request.method == "PUT" and found is None
    if request.level == BUCKET or found in _WITHOUT_VERSIONS or writes_object:
        raise invalid_argument("versionId", version, _NO_VERSION)
    if not version:
        raise invalid_argument("versionId", version, "Version id cannot be the empty string")
    if version != "null":
        raise invalid_argument("versionId", version, "Invalid version id specified")


def misplaced(request: Request, found: str) -> S3Error | None:
    """Return the error for a subresource that the path does not have; None for any other."""
    if request.level == BUCKET and found == "uploadId" and request.method != "PUT":
        return S3Error("InvalidRequest", "A key must be specified")
    if request.level == BUCKET and found == "restore" and request.method == "POST":
        return S3Error("UserKeyMustBeSpecified")
    if request.level == OBJECT and request.method == "GET":
        message = f"There is no such thing as the ?{found} sub-resource for a key"
        if found == "versions":
            return S3Error("InvalidRequest", message)
        if found == "logging":
            return S3Error("NoLoggingStatusForKey", message)
        if found == "uploads":
            return S3Error(
                "InvalidRequest", "Key is not expected for the GET method ?uploads subresource"
            )
    return None
