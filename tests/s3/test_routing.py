"""Routing of requests to operations, canned responses, and the reference of operations."""

import re
from pathlib import Path

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.canned_responses import DOCUMENTS, REJECTIONS, respond
from worker.s3.error_codes import CATALOGUE
from worker.s3.routing import OPERATIONS, route

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
        pytest.param("DELETE", "/out?uploadId=1", "InvalidRequest", id="uploadId of a bucket"),
        pytest.param("GET", "/out/k?uploads", "InvalidRequest", id="uploads of a key"),
        pytest.param("GET", "/out/k?versions", "InvalidRequest", id="versions of a key"),
    ],
)
def test_a_request_without_an_operation_is_rejected(method, target, code):
    with raises_s3_error(code):
        route(a_request(method, target))


@pytest.mark.parametrize(
    ("method", "target", "resource", "allowed"),
    [
        ("PATCH", "/out/k", "OBJECT", "DELETE, GET, HEAD, PUT"),
        ("POST", "/out/k", "OBJECT", "DELETE, GET, HEAD, PUT"),
        ("PUT", "/out/k?uploadId=1", "UPLOAD", "DELETE, GET, POST"),
        ("PATCH", "/out", "BUCKET", "DELETE, GET, HEAD, POST, PUT"),
        ("POST", "/", "SERVICE", "GET"),
        ("PUT", "/", "SERVICE", "GET"),
    ],
)
def test_method_not_allowed_names_the_resource_and_its_methods(method, target, resource, allowed):
    """Those without a subresource."""
    request = a_request(method, target)
    with raises_s3_error("MethodNotAllowed") as error:
        respond(route(request), request, exists=True)

    assert {"Method": method, "ResourceType": resource} == error().fields
    assert allowed == error().headers["Allow"]


@pytest.mark.parametrize("copy", [False, True], ids=["put", "copy"])
def test_a_part_number_without_an_upload_is_rejected(copy):
    """The value of the argument is its name, as in S3."""
    headers = {"x-amz-copy-source": "/out/source"} if copy else {}
    with raises_s3_error("InvalidArgument") as error:
        route(a_request("PUT", "/out/k?partNumber=1", headers))

    assert {"ArgumentName": "partNumber", "ArgumentValue": "partNumber"} == error().fields


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/out/k"), ("POST", "/out/k?uploads"), ("PUT", "/out")]
)
def test_only_a_copy_has_a_copy_source(method, target):
    with raises_s3_error("InvalidArgument") as error:
        route(a_request(method, target, {"x-amz-copy-source": "/out/source"}))

    assert {"ArgumentName": "x-amz-copy-source", "ArgumentValue": "/out/source"} == error().fields


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
    canned = {each.canned for each in OPERATIONS} - {None, "CreateBucket"}

    assert set() == canned - DOCUMENTS.keys() - REJECTIONS.keys() - CATALOGUE.keys()


def test_no_operation_hides_another():
    """Each operation of the table is the first match of a request with all that it requires."""
    for operation in OPERATIONS:
        target = {"service": "/", "bucket": "/out", "object": "/out/k"}[operation.level]
        values = (f"{name}={value}" for name, value in operation.values.items())
        headers = {operation.header: "1"} if operation.header else {}

        query = "&".join([*operation.params, *values])
        request = a_request(operation.method, f"{target}?{query}", headers)

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
        ("GET", "/out/k?torrent", True, "NotImplemented"),
        ("POST", "/out/k?restore", True, "NotImplemented"),
        ("GET", "/nowhere?session", False, "NotImplemented"),
        ("POST", "/out/k", True, "MethodNotAllowed"),
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
    is_default = canned in DOCUMENTS or canned.startswith("NoSuch")
    return "fixed" if is_default or canned.endswith("NotFoundError") else "rejected"
