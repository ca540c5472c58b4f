"""Which operation a request is, and that the reference tells all of them."""

import re
from pathlib import Path

import pytest
from s3.scene import a_request, refused

from worker.s3.canned_responses import DOCUMENTS, REFUSALS, answer
from worker.s3.error_codes import CATALOGUE
from worker.s3.routing import RULES, route

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
def test_routes(method, target, headers, operation):
    """Method, address, query and headers say which operation it is; unknown parameters do not."""
    assert operation == route(a_request(method, target, headers)).name


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        pytest.param("PATCH", "/out/k", "MethodNotAllowed", id="a method S3 does not have"),
        pytest.param("DELETE", "/", "MethodNotAllowed", id="deleting the service"),
        pytest.param("GET", "/out/k?versionId=abc", "InvalidArgument", id="a version"),
        pytest.param("GET", "/out/k?versionId=", "InvalidArgument", id="an empty version"),
        pytest.param("PUT", "/out/k?partNumber=1", "InvalidArgument", id="a part of no upload"),
        pytest.param("PUT", "/out/k?uploadId=1", "InvalidArgument", id="an upload without a part"),
    ],
)
def test_refuses_what_is_no_operation(method, target, code):
    """A request that S3 has no operation for gets the error that S3 gives."""
    with refused(code):
        route(a_request(method, target))


def test_names_the_methods_that_are_allowed():
    """MethodNotAllowed says in Allow what would be."""
    with refused("MethodNotAllowed") as error:
        route(a_request("PATCH", "/out/k"))

    assert "DELETE, GET, HEAD, OPTIONS, POST, PUT" == error().headers["Allow"]


def test_every_fixed_answer_is_known():
    """Each answer in the table is a document, a refusal, or a code of the catalogue."""
    answers = {rule.operation.answer for rule in RULES} - {None, "CreateBucket"}

    assert set() == answers - DOCUMENTS.keys() - REFUSALS.keys() - CATALOGUE.keys()


def test_no_rule_hides_another():
    """Every rule of the table can be met by some request."""
    for rule in RULES:
        target = {"service": "/", "bucket": "/out", "object": "/out/k"}[rule.operation.level]
        query = [*rule.params, *(f"{name}={value}" for name, value in rule.values.items())]
        headers = {rule.header: "1"} if rule.header else {}

        request = a_request(rule.method, f"{target}?{'&'.join(query)}", headers)

        assert route(request) == rule.operation


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
def test_answers_as_a_plain_private_bucket(target, expected):
    """Questions that only ask get the document of a bucket nobody ever configured."""
    request = a_request("GET", f"/out?{target}")

    assert expected in answer(route(request), request, exists=True)


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
def test_refuses_with_the_code_clients_expect(method, target, exists, code):
    """What is not there, or cannot be changed, has the code of S3 for just that."""
    request = a_request(method, target)

    with refused(code):
        answer(route(request), request, exists=exists)


def test_the_reference_tells_every_operation():
    """docs/s3-operations.md has one row for each operation of the table, and no other."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", REFERENCE.read_text(), flags=re.MULTILINE)

    expected = {rule.operation.name: _support(rule.operation.answer) for rule in RULES}
    assert expected == dict(rows)
    assert len(expected) == len(rows)


def _support(answer_name):
    if answer_name is None:
        return "yes"
    return (
        "fixed"
        if answer_name in DOCUMENTS
        or answer_name.startswith("NoSuch")
        or answer_name.endswith("NotFoundError")
        else "refused"
    )
