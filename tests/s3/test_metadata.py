"""What a client says of an object in headers."""

import pytest
from s3.scene import a_request, refused

from worker.s3.metadata import object_metadata


def _described(headers):
    return object_metadata(a_request("PUT", "/out/k", headers))


def test_keeps_headers_metadata_and_tags():
    """What comes back with the object is kept, and nothing else."""
    found = _described(
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


def test_gives_a_type_to_what_has_none():
    """S3's default is binary/octet-stream."""
    assert {"content-type": "binary/octet-stream"} == _described({}).headers


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("aws-chunked", None),
        ("gzip", "gzip"),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, AWS-Chunked", "gzip"),
        ("gzip,aws-chunked,br", "gzip,br"),
        ("", None),
    ],
)
def test_takes_the_framing_off_the_encoding(sent, kept):
    """aws-chunked is how it was sent; other codings are what was sent."""
    assert kept == _described({"content-encoding": sent}).headers.get("content-encoding")


@pytest.mark.parametrize("value", ["ü", "=?UTF-8?Q?=C3=BC?=", "a  b", "€ and more"])
def test_keeps_metadata_byte_for_byte(value):
    """UTF-8 and RFC 2047 come back as they came."""
    assert value.encode() == _described({"x-amz-meta-a": value}).metadata["a"].encode("latin-1")


def test_takes_two_kibibytes_of_metadata():
    """Names and values together may be 2 KiB."""
    assert 2047 == len(_described({"x-amz-meta-a": "v" * 2047}).metadata["a"])


def test_refuses_more_metadata():
    """One byte more is MetadataTooLarge, with both numbers."""
    with refused("MetadataTooLarge") as error:
        _described({"x-amz-meta-a": "v" * 2048})

    assert {"Size": "2049", "MaxSizeAllowed": "2048"} == error().fields


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-server-side-encryption": "aws:kms"}, "NotImplemented"),
        ({"x-amz-server-side-encryption": "rot13"}, "InvalidArgument"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "NotImplemented"),
        ({"x-amz-object-lock-legal-hold": "ON"}, "InvalidRequest"),
        ({"x-amz-storage-class": "CHEAP"}, "InvalidStorageClass"),
        ({"x-amz-tagging": "a=1&a=2"}, "InvalidArgument"),
    ],
)
def test_refuses_what_is_not_honoured(headers, code):
    """A header that would change what an object is must not pass unheeded."""
    with refused(code):
        _described(headers)
