"""Access control lists in headers and documents: the errors of S3 for what is none."""

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.acl import check_acl
from worker.s3.grants import check_grants

ACCOUNT = "0123456789abcdef" * 4
EVERYONE = "http://acs.amazonaws.com/groups/global/AllUsers"
NO_GROUP = "http://acs.amazonaws.com/groups/s3/FakeGroup"
OWNER = "<Owner><ID>worker</ID></Owner>"


def _grantee(kind, child):
    return (
        '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="{kind}">{child}</Grantee>'
    )


def _policy(grantee, *, owner=OWNER, permission="FULL_CONTROL"):
    return (
        f"<AccessControlPolicy>{owner}<AccessControlList><Grant>{grantee}"
        f"<Permission>{permission}</Permission></Grant></AccessControlList></AccessControlPolicy>"
    ).encode()


ITSELF = _grantee("CanonicalUser", "<ID>worker</ID>")
GROUP = _grantee("Group", f"<URI>{EVERYONE}</URI>")


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"id={ACCOUNT}",
        f'id="{ACCOUNT}", uri="{EVERYONE}"',
        f"ID={ACCOUNT} , URI = {EVERYONE}",
        "emailAddress=a@example.com",
        "id=worker",
    ],
)
def test_a_valid_grant_is_accepted(value):
    check_grants({"x-amz-grant-read": value})


@pytest.mark.parametrize(
    ("headers", "fields", "message"),
    [
        pytest.param(
            {"x-amz-acl": "fake-acl"},
            {"ArgumentName": "x-amz-acl", "ArgumentValue": "fake-acl"},
            "",
            id="canned",
        ),
        pytest.param(
            {"x-amz-grant-write": f'uri="{NO_GROUP}"'},
            {"ArgumentName": "uri", "ArgumentValue": NO_GROUP},
            "Invalid group uri",
            id="group",
        ),
        pytest.param(
            {"x-amz-grant-write": 'fakekey="1234"'},
            {"ArgumentName": "x-amz-grant-write", "ArgumentValue": 'fakekey="1234"'},
            "Argument format not recognized",
            id="kind",
        ),
        pytest.param(
            {"x-amz-grant-read": f"id={ACCOUNT},"},
            {"ArgumentName": "x-amz-grant-read", "ArgumentValue": f"id={ACCOUNT},"},
            "Argument format not recognized",
            id="empty grantee",
        ),
        pytest.param(
            {"x-amz-grant-write": f'id={ACCOUNT}, id="wrong-id"'},
            {"ArgumentName": "id", "ArgumentValue": "wrong-id"},
            "Invalid id",
            id="account",
        ),
    ],
)
def test_an_invalid_acl_in_headers_is_named(headers, fields, message):
    with raises_s3_error("InvalidArgument") as error:
        check_grants(headers)

    assert (fields, message) == (error().fields, error().message)


def test_a_canned_acl_beside_grants_is_rejected():
    with raises_s3_error("InvalidRequest"):
        check_grants({"x-amz-acl": "private", "x-amz-grant-read": f"id={ACCOUNT}"})


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, b"<AccessControlPolicy>", "MalformedACLError"),
        ({}, b"<Tagging/>", "MalformedACLError"),
        ({}, b"<AccessControlPolicy/>", "MalformedACLError"),
        ({}, f"<AccessControlPolicy>{OWNER}</AccessControlPolicy>".encode(), "MalformedACLError"),
        ({}, _policy(GROUP, owner=""), "MalformedACLError"),
        ({}, _policy(ITSELF, permission="OWN"), "MalformedACLError"),
        ({}, _policy(""), "MalformedACLError"),
        ({}, _policy(_grantee("BadType", "<ID>worker</ID>")), "MalformedACLError"),
        ({}, _policy("<Grantee><ID>worker</ID></Grantee>"), "MalformedACLError"),
        ({}, _policy(GROUP), "AccessControlListNotSupported"),
        ({}, _policy(ITSELF, permission="READ"), "AccessControlListNotSupported"),
        ({"x-amz-acl": "private"}, _policy(ITSELF), "UnexpectedContent"),
        ({"x-amz-grant-read": f"id={ACCOUNT}"}, _policy(ITSELF), "UnexpectedContent"),
        ({"x-amz-grant-read": f"id={ACCOUNT}"}, b"", "AccessControlListNotSupported"),
        ({}, b"", "MissingSecurityHeader"),
    ],
)
def test_an_acl_that_is_not_one_valid_document_or_header_is_rejected(headers, body, code):
    with raises_s3_error(code):
        check_acl(a_request("PUT", "/out/k?acl", headers), body)


@pytest.mark.parametrize(
    ("body", "name", "value", "message"),
    [
        (
            _policy(GROUP, owner="<Owner><ID>wrong-id</ID></Owner>"),
            "CanonicalUser/ID",
            "wrong-id",
            "Invalid id",
        ),
        (
            _policy(_grantee("CanonicalUser", "<ID>wrong-id</ID>")),
            "CanonicalUser/ID",
            "wrong-id",
            "Invalid id",
        ),
        (
            _policy(_grantee("Group", f"<URI>{NO_GROUP}</URI>")),
            "Group/URI",
            NO_GROUP,
            "Invalid group uri",
        ),
    ],
)
def test_an_invalid_grantee_in_a_document_is_named(body, name, value, message):
    with raises_s3_error("InvalidArgument") as error:
        check_acl(a_request("PUT", "/out/k?acl"), body)

    assert {"ArgumentName": name, "ArgumentValue": value} == error().fields
    assert message == error().message


def test_the_acl_of_every_object_is_accepted():
    check_acl(a_request("PUT", "/out/k?acl"), _policy(ITSELF))
