"""Routing of requests to operations, canned responses, and the reference of operations."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.canned_responses import DOCUMENTS, REJECTIONS, respond
from worker.s3.error_codes import CATALOGUE, S3Error
from worker.s3.request import BUCKET, OBJECT
from worker.s3.routing import NOT_ALLOWED, OPERATIONS, route
from worker.s3.subresources import OF_THE_BUCKET, RESOURCE_TYPES

REFERENCE = Path(__file__).parents[2] / "docs" / "s3-operations.md"


@pytest.mark.parametrize(
    ("method", "target", "headers", "operation"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("GET", "/?x-id=ListBuckets", {}, "ListBuckets"),
        ("GET", "/out", {}, "ListObjects"),
        ("GET", "/out/?list-type=2", {}, "ListObjectsV2"),
        ("GET", "/out?prefix=a&delimiter=/", {}, "ListObjects"),
        ("GET", "/out?Version=2006", {}, "ListObjects"),
        ("GET", "/out?versions", {}, "ListObjectVersions"),
        ("GET", "/out?uploads", {}, "ListMultipartUploads"),
        ("GET", "/out?location", {}, "GetBucketLocation"),
        ("GET", "/out?analytics&id=1", {}, "GetBucketAnalyticsConfiguration"),
        ("GET", "/out?session", {}, "CreateSession"),
        ("HEAD", "/out", {}, "HeadBucket"),
        ("PUT", "/out", {}, "CreateBucket"),
        ("PUT", "/out?cors", {}, "PutBucketCors"),
        ("DELETE", "/out", {}, "DeleteBucket"),
        ("POST", "/out?delete", {}, "DeleteObjects"),
        ("POST", "/out", {}, "PostObject"),
        ("GET", "/out/k?x-id=GetObject", {}, "GetObject"),
        ("GET", "/out/k?versionId=null", {}, "GetObject"),
        ("GET", "/out/k?partNumber=1", {}, "GetObject"),
        ("GET", "/out/k?uploadId=1", {}, "ListParts"),
        ("GET", "/out/k?attributes", {}, "GetObjectAttributes"),
        ("GET", "/out/k?tagging", {}, "GetObjectTagging"),
        ("HEAD", "/out/k", {}, "HeadObject"),
        ("PUT", "/out/k", {}, "PutObject"),
        ("PUT", "/out/k", {"x-amz-copy-source": "/out/a"}, "CopyObject"),
        ("PUT", "/out/k?partNumber=1&uploadId=1", {}, "UploadPart"),
        ("PUT", "/out/k?partNumber=1&uploadId=1", {"x-amz-copy-source": "a/b"}, "UploadPartCopy"),
        ("PUT", "/out/k", {"x-amz-write-offset-bytes": "3"}, "AppendObject"),
        ("PUT", "/out/k?acl", {}, "PutObjectAcl"),
        ("POST", "/out/k?uploads", {}, "CreateMultipartUpload"),
        ("POST", "/out/k?uploadId=1", {}, "CompleteMultipartUpload"),
        ("POST", "/out/k?select&select-type=2", {}, "SelectObjectContent"),
        ("DELETE", "/out/k", {}, "DeleteObject"),
        ("DELETE", "/out/k?uploadId=1", {}, "AbortMultipartUpload"),
        ("DELETE", "/out/k?tagging", {}, "DeleteObjectTagging"),
        ("OPTIONS", "/out/k", {}, "Preflight"),
    ],
)
def test_method_target_and_headers_determine_the_operation(method, target, headers, operation):
    """Unknown query parameters are ignored."""
    assert operation == route(a_request(method, target, headers)).name


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        pytest.param("PATCH", "/out/k", "MethodNotAllowed", id="unknown method"),
        pytest.param("DELETE", "/", "MethodNotAllowed", id="DELETE of the service"),
        pytest.param("GET", "/out/k?versionId=abc", "InvalidArgument", id="version"),
        pytest.param("GET", "/out/k?versionId=", "InvalidArgument", id="empty version"),
        pytest.param(
            "PUT", "/out/k?partNumber=1", "InvalidArgument", id="partNumber without uploadId"
        ),
        pytest.param(
            "PUT", "/out/k?uploadId=1", "MethodNotAllowed", id="uploadId without partNumber"
        ),
        pytest.param("GET", "/out?versionId=null", "InvalidArgument", id="version of a bucket"),
        pytest.param(
            "POST", "/out/k?uploads&versionId=null", "InvalidArgument", id="version of an upload"
        ),
        pytest.param("PUT", "/out/k?versionId=null", "InvalidArgument", id="version of a write"),
        pytest.param("GET", "/out?partNumber=1", "InvalidRequest", id="part of a bucket"),
        pytest.param("DELETE", "/out?uploadId=1", "InvalidRequest", id="upload without a key"),
        pytest.param("POST", "/out?restore", "UserKeyMustBeSpecified", id="restore without a key"),
        pytest.param("GET", "/out?website=1", "InvalidArgument", id="website with a value"),
        pytest.param("GET", "/out/k?versions", "InvalidRequest", id="versions of a key"),
        pytest.param("GET", "/out/k?logging", "NoLoggingStatusForKey", id="logging of a key"),
        pytest.param("GET", "/out/k?uploads", "InvalidRequest", id="uploads of a key"),
    ],
)
def test_a_request_without_an_operation_is_rejected(method, target, code):
    with raises_s3_error(code):
        route(a_request(method, target))


@pytest.mark.parametrize(
    ("method", "target", "kind", "allowed"),
    [
        ("HEAD", "/", "SERVICE", "GET"),
        ("PUT", "/out/k?uploadId=1", "UPLOAD", "DELETE, POST, GET"),
        ("POST", "/", "SERVICE", "GET"),
        ("PATCH", "/out", "BUCKET", "HEAD, DELETE, POST, GET, PUT"),
        ("PATCH", "/out/k", "OBJECT", "HEAD, DELETE, GET, PUT"),
        ("POST", "/out/k", "OBJECT", "HEAD, DELETE, GET, PUT"),
        # Measured on S3 for HEAD, which no subresource has.
        ("HEAD", "/out?location", "LOCATION", "GET"),
        ("HEAD", "/out?versions", "BUCKETVERSIONS", "GET"),
        ("HEAD", "/out/k?location", "LOCATION", "GET"),
        ("HEAD", "/out?versioning", "VERSIONING", "GET, PUT"),
        ("HEAD", "/out?tagging", "TAGGING", "DELETE, GET, PUT"),
        ("HEAD", "/out/k?acl", "ACL", "GET, PUT"),
        ("HEAD", "/out/k?tagging", "OBJECT_TAGGING", "DELETE, GET, PUT"),
        ("HEAD", "/out/k?uploadId=1", "UPLOAD", "DELETE, POST, GET"),
        ("GET", "/out/k?uploadId=1&partNumber=1", "PART", "PUT"),
        ("GET", "/out?delete", "MULTI_OBJECT_DELETE", "POST"),
        ("GET", "/out/k?select", "SELECT", "POST"),
        ("GET", "/out/k?torrent", "TORRENT", None),
        # Without this, they would write and delete the object itself.
        ("PUT", "/out/k?select", "SELECT", "POST"),
        ("PUT", "/out/k?uploads", "UPLOADS", "POST"),
        ("PUT", "/out/k?attributes", "OBJECT_ATTRIBUTES", "GET"),
        ("DELETE", "/out/k?acl", "ACL", "GET, PUT"),
        ("DELETE", "/out/k?retention", "OBJECT_LOCK_RETENTION", "GET, PUT"),
        ("DELETE", "/out/k?versioning", "VERSIONING", "GET, PUT"),
    ],
)
def test_a_method_that_the_resource_does_not_have_is_not_allowed(method, target, kind, allowed):
    with raises_s3_error("MethodNotAllowed") as error:
        route(a_request(method, target))

    assert {"Method": method, "ResourceType": kind} == error().fields
    assert allowed == error().headers.get("Allow")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
@pytest.mark.parametrize("level", [BUCKET, OBJECT])
def test_no_subresource_falls_back_to_the_bucket_or_object_itself(method, level):
    """A request for a part of it must not replace or delete all of it."""
    bare = {each.name for each in OPERATIONS if (each.method, each.level) == (method, level)} & {
        each.name for each in OPERATIONS if not each.params
    }
    target = "/out" if level == BUCKET else "/out/k"
    for name in {**RESOURCE_TYPES[level], **dict.fromkeys(OF_THE_BUCKET)}:
        with suppress(S3Error):
            assert route(a_request(method, f"{target}?{name}")).name not in bare


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("/out?versioning&acl", "acl, versioning"),
        ("/out?uploads&versioning=1", "uploads, versioning"),
        ("/out/k?tagging&acl", "acl, tagging"),
        ("/out/k?location&versioning", "location, versioning"),
        ("/out/k?partNumber=1&tagging", "partNumber, tagging"),
        ("/out?acl&partNumber=1", "acl, partNumber"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_two_subresources_are_in_conflict(method, target, names):
    with raises_s3_error("InvalidArgument") as error:
        route(a_request(method, target))

    assert f"Conflicting query string parameters: {names}" == error().message
    expected = {"ArgumentName": "ResourceType", "ArgumentValue": names.partition(",")[0]}
    assert expected == error().fields


@pytest.mark.parametrize(
    ("method", "operation"),
    [("GET", "GetBucketPolicy"), ("PUT", "PutBucketPolicy"), ("DELETE", "DeleteBucketPolicy")],
)
def test_some_subresources_of_a_key_are_those_of_its_bucket(method, operation):
    assert operation == route(a_request(method, "/out/k?policy")).name


@pytest.mark.parametrize(
    ("target", "copy"),
    [
        ("/out/k?partNumber=1", False),
        ("/out/k?partNumber=1", True),
        ("/out/k?partNumber=1&uploadId=", False),
    ],
    ids=["put", "copy", "empty upload"],
)
def test_a_part_number_without_an_upload_is_rejected(target, copy):
    """The value of the argument is its name, as in S3."""
    headers = {"x-amz-copy-source": "/out/source"} if copy else {}
    with raises_s3_error("InvalidArgument") as error:
        route(a_request("PUT", target, headers))

    assert {"ArgumentName": "partNumber", "ArgumentValue": "partNumber"} == error().fields


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/out/k"), ("POST", "/out/k?uploads"), ("PUT", "/out")]
)
def test_only_a_copy_has_a_copy_source(method, target):
    with raises_s3_error("InvalidArgument") as error:
        route(a_request(method, target, {"x-amz-copy-source": "/out/source"}))

    assert {"ArgumentName": "x-amz-copy-source", "ArgumentValue": "/out/source"} == error().fields


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/out/k"),
        ("HEAD", "/out/k"),
        ("GET", "/out"),
        ("PUT", "/out/k?partNumber=1&uploadId=1"),
    ],
)
def test_reads_and_parts_do_not_accept_an_encryption(method, target):
    """That of a part is the encryption of its upload."""
    name = "x-amz-server-side-encryption"
    with raises_s3_error("InvalidArgument") as error:
        route(a_request(method, target, {name: "AES256"}))

    assert {"ArgumentName": name, "ArgumentValue": "AES256"} == error().fields


@pytest.mark.parametrize("owner", ["0000", "0000000000020", "abcd", "aa000000000$"])
def test_the_expected_owner_of_a_bucket_is_an_account(owner):
    with raises_s3_error("InvalidBucketOwnerAWSAccountID") as error:
        route(a_request("GET", "/out/k", {"x-amz-expected-bucket-owner": owner}))

    assert error().message.endswith(f"must be an AWS Account ID... [{owner}]")


def test_any_account_may_be_the_expected_owner_of_a_bucket():
    request = a_request("GET", "/out/k", {"x-amz-expected-bucket-owner": "123456789012"})

    assert "GetObject" == route(request).name


def test_every_canned_response_is_defined():
    """It is a document, a rejection, or an error code."""
    canned = {each.canned for each in OPERATIONS} - {None, "CreateBucket", "Preflight"}

    assert set() == canned - DOCUMENTS.keys() - REJECTIONS.keys() - CATALOGUE.keys()


def test_no_operation_hides_another():
    """Each operation of the table is the first match of a request with all that it requires."""
    for operation in OPERATIONS:
        target = {"service": "/", "bucket": "/out", "object": "/out/k"}[operation.level]
        values = (f"{name}={value}" for name, value in operation.values.items())
        headers = {operation.header: "1"} if operation.header else {}

        params = ("uploadId=1" if name == "uploadId" else name for name in operation.params)
        query = "&".join([*params, *values])
        request = a_request(operation.method, f"{target}?{query}", headers)

        if operation.canned == NOT_ALLOWED:
            with raises_s3_error(NOT_ALLOWED):
                route(request)
        else:
            assert route(request) == operation


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("location", b"<LocationConstraint"),
        ("versioning", b"<VersioningConfiguration"),
        ("acl", b"FULL_CONTROL"),
        ("requestPayment", b"BucketOwner"),
        ("ownershipControls", b"BucketOwnerEnforced"),
        ("inventory", b"ListInventoryConfigurationsResult"),
    ],
)
def test_the_configuration_is_that_of_a_new_private_bucket(target, expected):
    request = a_request("GET", f"/out?{target}")

    assert expected in respond(route(request), request, exists=True)


@pytest.mark.parametrize(
    ("method", "target", "exists", "code"),
    [
        ("GET", "/out?policy", True, "NoSuchBucketPolicy"),
        ("GET", "/out?cors", True, "NoSuchCORSConfiguration"),
        ("GET", "/out?tagging", True, "NoSuchTagSet"),
        ("GET", "/out?website", True, "NoSuchWebsiteConfiguration"),
        ("GET", "/out?lifecycle", True, "NoSuchLifecycleConfiguration"),
        ("GET", "/out?object-lock", True, "ObjectLockConfigurationNotFoundError"),
        ("GET", "/nowhere?policy", False, "NoSuchBucket"),
        ("PUT", "/out", True, "BucketAlreadyOwnedByYou"),
        ("PUT", "/new", False, "AccessDenied"),
        ("DELETE", "/out", True, "AccessDenied"),
        ("DELETE", "/nowhere", False, "NoSuchBucket"),
        ("PUT", "/out?versioning", True, "AccessDenied"),
        ("PUT", "/out?acl", True, "AccessControlListNotSupported"),
        ("PUT", "/out/k?legal-hold", True, "InvalidRequest"),
        ("POST", "/out/k?select", True, "NotImplemented"),
        ("GET", "/nowhere?session", False, "NotImplemented"),
        ("GET", "/out/k?retention", True, "InvalidRequest"),
        ("GET", "/out/k?legal-hold", True, "InvalidRequest"),
        ("GET", "/out?metadataConfiguration", True, "MetadataConfigurationNotFound"),
        ("GET", "/out?metrics&continuation-token=x", True, "MalformedContinuationToken"),
        ("OPTIONS", "/out/k", True, "BadRequest"),
    ],
)
def test_a_missing_or_unchangeable_configuration_has_the_error_code_of_s3(
    method, target, exists, code
):
    request = a_request(method, target)

    with raises_s3_error(code):
        respond(route(request), request, exists=exists)


def test_the_reference_has_one_row_for_each_operation():
    """The page is docs/s3-operations.md."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", REFERENCE.read_text(), flags=re.MULTILINE)

    expected = {each.name: _support(each.canned) for each in OPERATIONS}
    assert expected == dict(rows)
    assert len(expected) == len(rows)


def _support(canned):
    if canned is None:
        return "yes"
    is_default = canned in DOCUMENTS or canned.startswith("NoSuch") or canned.endswith("NotFound")
    return "fixed" if is_default or canned.endswith("NotFoundError") else "rejected"
