"""Object metadata in request headers."""

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.model import STORED_HEADERS
from worker.s3.metadata import object_metadata


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


@pytest.mark.parametrize("name", sorted(STORED_HEADERS))
def test_system_metadata_is_stored_byte_for_byte(name):
    """S3 does not decode it."""
    value = "/ü =?UTF-8?Q?=C3=BC?="

    assert value.encode() == _metadata({name: value}).headers[name].encode("latin-1")


@pytest.mark.parametrize("name", sorted(STORED_HEADERS))
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


@pytest.mark.parametrize("name", ["x-amz-meta-a", "content-disposition"])
def test_more_metadata_is_metadata_too_large(name):
    """User metadata and system metadata have 2 KiB each."""
    counted = name.removeprefix("x-amz-meta-")
    with raises_s3_error("MetadataTooLarge") as error:
        _metadata({name: "v" * (2049 - len(counted))})

    assert {"Size": "2049", "MaxSizeAllowed": "2048"} == error().fields


def test_the_redirect_location_is_no_part_of_the_system_metadata():
    location = "/" + "a" * 2000
    headers = {"x-amz-website-redirect-location": location, "content-disposition": "d" * 2000}

    assert location == _metadata(headers).headers["x-amz-website-redirect-location"]
