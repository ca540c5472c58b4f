"""Object metadata in request headers."""

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.error_codes import S3Error
from worker.s3.metadata import STORED_HEADERS, object_metadata
from worker.s3.unsupported_headers import check_part_supported, check_retention


def _metadata(headers):
    return object_metadata(a_request("PUT", "/out/k", headers))


def test_stored_headers_metadata_and_tags_are_parsed():
    """Other headers are not stored."""
    found = _metadata(
        {
            "content-type": "text/csv",
            "Cache-Control": "no-store",
            "x-amz-meta-Owner": "me",
            "x-amz-tagging": "a=1&b=",
            "x-amz-acl": "public-read",
            "x-amz-storage-class": "GLACIER",
            "x-amz-server-side-encryption": "AES256",
            "user-agent": "x",
        }
    )

    assert {"content-type": "text/csv", "cache-control": "no-store"} == found.headers
    assert {"owner": "me"} == found.metadata
    assert {"a": "1", "b": ""} == found.tags


def test_the_default_content_type_is_binary_octet_stream():
    assert {"content-type": "binary/octet-stream"} == _metadata({}).headers


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("aws-chunked", None),
        ("gzip", "gzip"),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, AWS-Chunked", "gzip"),
        ("gzip,aws-chunked,br", "gzip,br"),
        ("", None),
    ],
)
def test_aws_chunked_is_not_stored_as_a_content_encoding(sent, stored):
    assert stored == _metadata({"content-encoding": sent}).headers.get("content-encoding")


@pytest.mark.parametrize(
    ("value", "text"),
    [("ü", "ü"), ("=?UTF-8?Q?=C3=BC?=", "ü"), ("a  b", "a  b"), ("€ and more", "€ and more")],
)
def test_user_metadata_is_stored_as_text(value, text):
    """UTF-8 and RFC 2047 are decoded."""
    assert text == _metadata({"x-amz-meta-a": value}).metadata["a"]


@pytest.mark.parametrize("name", STORED_HEADERS)
def test_system_metadata_is_stored_byte_for_byte(name):
    """S3 does not decode it."""
    value = "/ü =?UTF-8?Q?=C3=BC?="

    assert value.encode() == _metadata({name: value}).headers[name].encode("latin-1")


@pytest.mark.parametrize("name", STORED_HEADERS)
def test_system_metadata_with_control_characters_is_rejected(name):
    """No header can carry them, so no response could return the object."""
    with raises_s3_error("InvalidArgument") as error:
        _metadata({name: "/a\x01b"})

    assert name == error().fields["ArgumentName"]


def test_user_metadata_is_measured_in_utf_8():
    """However it is encoded in the request."""
    word = "=?UTF-8?Q?" + "=C3=BC" * 1023 + "?="
    assert 1023 == len(_metadata({"x-amz-meta-a": word}).metadata["a"])

    with raises_s3_error("MetadataTooLarge"):
        _metadata({"x-amz-meta-a": "ü" * 1024})
    with raises_s3_error("MetadataTooLarge"):
        _metadata({"x-amz-meta-a": "=?UTF-8?B?" + "A" * 8_000 + "?="})


def test_a_redirect_location_is_a_path_or_a_url():
    with raises_s3_error("InvalidRedirectLocation"):
        _metadata({"x-amz-website-redirect-location": "elsewhere"})


def test_metadata_may_have_2_kib():
    """Names and values together."""
    assert 2047 == len(_metadata({"x-amz-meta-a": "v" * 2047}).metadata["a"])


def test_more_metadata_is_metadata_too_large():
    with raises_s3_error("MetadataTooLarge") as error:
        _metadata({"x-amz-meta-a": "v" * 2048})

    assert {"Size": "2049", "MaxSizeAllowed": "2048"} == error().fields


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
        ({"x-amz-tagging": "a=1&a=2"}, "InvalidArgument"),
    ],
)
def test_headers_of_unsupported_features_are_rejected(headers, code):
    with raises_s3_error(code):
        _metadata(headers)


@pytest.mark.parametrize("acl", ["", "private", "public-read", "bucket-owner-full-control"])
def test_canned_acls_are_accepted(acl):
    assert {} == _metadata({"x-amz-acl": acl}).metadata


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
        object_metadata(a_request("PUT", "/out/k", sent))

    assert message == error.value.message


@pytest.mark.parametrize("name", ["mode", "legal-hold", "event-hold"])
def test_no_bucket_has_object_lock(name):
    lock = {
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": "2030-01-01T00:00:00Z",
    }
    headers = lock if name == "mode" else {f"x-amz-object-lock-{name}": "ON"}
    with raises_s3_error("InvalidRequest") as error:
        object_metadata(a_request("PUT", "/out/k", {**headers, "content-md5": "any"}))

    assert "Bucket is missing ObjectLockConfiguration" == error().message


@pytest.mark.parametrize("prefix", ["x-amz", "x-amz-copy-source"])
def test_a_part_has_no_key_of_its_customer(prefix):
    """No upload was created with one."""
    name = f"{prefix}-server-side-encryption-customer-algorithm"
    with raises_s3_error("InvalidRequest"):
        check_part_supported(a_request("PUT", "/out/k", {name: "AES256"}))
