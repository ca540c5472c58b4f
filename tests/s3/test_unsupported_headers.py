"""Headers of features that the gateway does not have."""

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.error_codes import S3Error
from worker.s3.unsupported_headers import check_part_supported, check_retention, check_supported


def check(headers):
    check_supported(a_request("PUT", "/out/k", headers))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-server-side-encryption": "aws:kms"}, "NotImplemented"),
        ({"x-amz-server-side-encryption": "rot13"}, "InvalidArgument"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "NotImplemented"),
        ({"x-amz-server-side-encryption-customer-key-MD5": "a"}, "NotImplemented"),
        ({"x-amz-server-side-encryption-context": "a"}, "NotImplemented"),
        ({"x-amz-object-lock-legal-hold": "ON"}, "InvalidRequest"),
        ({"x-amz-storage-class": "CHEAP"}, "InvalidStorageClass"),
        ({"x-amz-storage-class": "OUTPOSTS"}, "InvalidStorageClass"),
        ({"x-amz-acl": "everybody"}, "InvalidArgument"),
        ({"x-amz-grant-read": "id=x"}, "InvalidArgument"),
    ],
)
def test_headers_of_unsupported_features_are_rejected(headers, code):
    with raises_s3_error(code):
        check(headers)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-context", "a"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "a"),
        ("x-amz-server-side-encryption-customer-key", "a"),
    ],
)
def test_an_error_names_the_header_that_is_not_implemented(header, value):
    with raises_s3_error("NotImplemented") as error:
        check({header: value})

    assert {"Header": header} == error().fields


@pytest.mark.parametrize("acl", ["", "private", "public-read", "bucket-owner-full-control"])
def test_canned_acls_are_accepted(acl):
    check({"x-amz-acl": acl})


@pytest.mark.parametrize("value", ["true", "false"])
def test_bypassing_object_lock_is_rejected_whatever_the_value(value):
    name = "x-amz-bypass-governance-retention"
    with raises_s3_error("InvalidArgument") as error:
        check_retention(a_request("DELETE", "/out/k", {name: value}))

    assert {"ArgumentName": name} == error().fields


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param(
            {"mode": "GOVERNANCE"},
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            id="mode alone",
        ),
        pytest.param(
            {"retain-until-date": "2030-01-01T00:00:00Z"},
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            id="date alone",
        ),
        pytest.param(
            {"mode": "abc", "retain-until-date": "2030-01-01T00:00:00Z"},
            "Unknown wormMode directive.",
            id="unknown mode",
        ),
        pytest.param(
            {"mode": "GOVERNANCE", "retain-until-date": "abc"},
            "The retain until date must be provided in ISO 8601 format",
            id="not a date",
        ),
        pytest.param(
            {"legal-hold": "maybe"},
            "Legal Hold must be either of 'ON' or 'OFF'",
            id="unknown hold",
        ),
        pytest.param(
            {"legal-hold": "ON"},
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with "
            "Object Lock parameters",
            id="no digest",
        ),
    ],
)
def test_headers_of_object_lock_are_validated(headers, message):
    sent = {f"x-amz-object-lock-{name}": value for name, value in headers.items()}
    with pytest.raises(S3Error) as error:
        check_supported(a_request("PUT", "/out/k", sent))

    assert message == error.value.message


@pytest.mark.parametrize("name", ["mode", "legal-hold", "event-hold"])
def test_no_bucket_has_object_lock(name):
    lock = {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2030-01-01T00:00:00Z",
    }
    headers = lock if name == "mode" else {f"x-amz-object-lock-{name}": "ON"}
    with raises_s3_error("InvalidRequest") as error:
        check_supported(a_request("PUT", "/out/k", {**headers, "content-md5": "any"}))

    assert "Bucket is missing ObjectLockConfiguration" == error().message


@pytest.mark.parametrize("prefix", ["x-amz", "x-amz-copy-source"])
def test_a_part_has_no_key_of_its_customer(prefix):
    """No upload was created with one."""
    name = f"{prefix}-server-side-encryption-customer-algorithm"
    with raises_s3_error("InvalidRequest"):
        check_part_supported(a_request("PUT", "/out/k", {name: "AES256"}))
