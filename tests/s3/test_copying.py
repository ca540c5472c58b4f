"""Copies: the source, the directives, and the metadata and checksum of the target."""

import base64
import zlib

import pytest
from s3.protocol_builders import a_request, an_object, raises_s3_error

from worker.model import Checksum, Part
from worker.s3.copying import CopySource, copied_metadata, copy_source, derived_checksum

PART = "/out/key?partNumber=1&uploadId=upload"
SOURCE = an_object(
    headers={"content-type": "text/plain"}, metadata={"a": "Zoë"}, tags={"colour": "red"}
)


def _source(value):
    return copy_source(a_request("PUT", "/out/key", {"x-amz-copy-source": value}))


@pytest.mark.parametrize(
    ("value", "key"),
    [
        pytest.param("labresults/a/b", "a/b", id="plain"),
        pytest.param("/labresults/a/b", "a/b", id="leading slash"),
        pytest.param("labresults%2Fa%2Fb", "a/b", id="encoded slashes"),
        pytest.param("/labresults//a", "/a", id="key with a leading slash"),
        pytest.param("labresults/a+b%2Bc", "a b+c", id="plus as a space"),
        pytest.param("labresults/%C3%BC", "ü", id="encoded UTF-8"),
        pytest.param("labresults/ü", "ü", id="raw UTF-8"),
        pytest.param("labresults/100%25", "100%", id="encoded percent sign"),
        pytest.param("labresults/a?versionId=null", "a", id="null version"),
        pytest.param("labresults/a%3FversionId=x", "a?versionId=x", id="encoded question mark"),
    ],
)
def test_the_copy_source_is_parsed(value, key):
    assert CopySource("labresults", key) == _source(value)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("", "bucket name"),
        ("/", "bucket name"),
        ("//key", "bucket name"),
        ("s3://labresults/a", "bucket name"),
        ("labresults", "object key"),
        ("labresults/", "object key"),
        ("labresults/a%00", "object key"),
        ("labresults/%FF", "encoding"),
        ("labresults/100%", "encoding"),
        ("labresults/%%%%", "encoding"),
    ],
)
def test_an_invalid_copy_source_is_rejected_as_by_s3(value, part):
    with raises_s3_error("InvalidArgument") as error:
        _source(value)

    assert f"Invalid copy source {part}" == error().message
    name = "x-amz-copy-source"
    assert {"ArgumentName": name, "ArgumentValue": name} == error().fields


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("arn:aws:s3:us-east-1:1:accesspoint/x/object/y", "InvalidArgument"),
        ("labresults/" + "k" * 1025, "KeyTooLongError"),
        ("labresults/a/../../b", "InvalidURI"),
        ("labresults/%2E%2E/b", "InvalidURI"),
    ],
)
def test_a_copy_source_that_is_not_supported_is_rejected(value, code):
    with raises_s3_error(code):
        _source(value)


@pytest.mark.parametrize(
    ("target", "version", "code", "message"),
    [
        ("/out/key", "", "InvalidArgument", "Version id cannot be the empty string"),
        ("/out/key", "abc", "InvalidRequest", "Invalid Request"),
        (PART, "", "InvalidArgument", "Version id cannot be the empty string"),
        (PART, "abc", "InvalidArgument", "Invalid version id specified"),
    ],
    ids=["copy, empty", "copy, unknown", "part, empty", "part, unknown"],
)
def test_a_version_of_the_copy_source_is_rejected_as_by_s3(target, version, code, message):
    """Except ``null``. The argument is the header, not versionId."""
    source = {"x-amz-copy-source": f"labresults/a?versionId={version}"}
    with raises_s3_error(code) as error:
        copy_source(a_request("PUT", target, source))

    argument = {"ArgumentName": "x-amz-copy-source", "ArgumentValue": version}
    assert message == error().message
    assert (argument if code == "InvalidArgument" else {}) == error().fields


def _copied(headers=None, *, target="/out/other"):
    sent = {"x-amz-copy-source": "out/key", **(headers or {})}
    request = a_request("PUT", target, sent)
    return copied_metadata(request, copy_source(request), SOURCE)


def test_a_copy_has_the_metadata_and_tags_of_its_source_by_default():
    found, algorithm = _copied({"x-amz-meta-b": "2", "content-type": "a/b", "x-amz-tagging": "x=y"})

    assert SOURCE.headers == found.headers
    assert SOURCE.metadata == found.metadata
    assert SOURCE.tags == found.tags
    assert algorithm is None


@pytest.mark.parametrize("directive", ["COPY", "REPLACE"])
def test_the_redirect_location_is_set_and_never_copied(directive):
    """It is that of one object, as in S3."""
    name = "x-amz-website-redirect-location"
    source = an_object(headers={"content-type": "a/b", name: "/of-the-source"})
    headers = {"x-amz-copy-source": "out/key", "x-amz-metadata-directive": directive}

    def copied(**more):
        request = a_request("PUT", "/out/other", {**headers, **more})
        return copied_metadata(request, copy_source(request), source)[0].headers

    assert name not in copied()
    assert "/own" == copied(**{name: "/own"})[name]


def test_replace_takes_metadata_from_the_request():
    """Tags are copied."""
    found, _ = _copied({"x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2"})

    assert {"content-type": "binary/octet-stream"} == found.headers
    assert {"b": "2"} == found.metadata
    assert SOURCE.tags == found.tags


def test_the_tagging_directive_replaces_tags():
    found, _ = _copied({"x-amz-tagging-directive": "replace", "x-amz-tagging": "colour=blue"})

    assert SOURCE.metadata == found.metadata
    assert {"colour": "blue"} == found.tags


def test_a_copy_may_request_another_checksum_algorithm():
    assert "SHA256" == _copied({"x-amz-checksum-algorithm": "sha256"})[1]


def _crc32(data):
    return Checksum("CRC32", base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode())


FULL_CRC = _crc32(b"abcde")
COMPOSITE_CRC = Checksum("CRC32", "AAAAAA==-2", "COMPOSITE")
CRC_PARTS = (Part(1, 3, checksum=_crc32(b"abc")), Part(4, 2, checksum=_crc32(b"de")))
COMPOSITE_SHA = Checksum("SHA1", "A" * 27 + "=-2", "COMPOSITE")
SHA_PARTS = tuple(Part(n, 3, checksum=Checksum("SHA1", "A" * 27 + "=")) for n in (1, 2))


@pytest.mark.parametrize(
    ("stored", "parts", "asked", "expected"),
    [
        pytest.param(FULL_CRC, (), None, FULL_CRC, id="full object"),
        pytest.param(FULL_CRC, (), "CRC32", FULL_CRC, id="full object, asked"),
        pytest.param(COMPOSITE_CRC, CRC_PARTS, None, FULL_CRC, id="composite CRC"),
        pytest.param(COMPOSITE_CRC, CRC_PARTS, "CRC32", FULL_CRC, id="composite CRC, asked"),
        pytest.param(COMPOSITE_SHA, SHA_PARTS, None, COMPOSITE_SHA, id="composite SHA"),
        pytest.param(COMPOSITE_SHA, SHA_PARTS, "SHA1", None, id="composite SHA, asked"),
        pytest.param(FULL_CRC, (), "CRC32C", None, id="another algorithm"),
        pytest.param(None, (), None, None, id="no checksum"),
    ],
)
def test_the_checksum_of_a_copy_is_derived_where_no_payload_has_to_be_read(
    stored, parts, asked, expected
):
    """None is what has to be computed."""
    assert expected == derived_checksum(an_object(checksum=stored, parts=parts), asked)


def test_a_copy_onto_itself_without_a_change_is_rejected():
    with raises_s3_error("InvalidRequest"):
        _copied(target="/out/key")


@pytest.mark.parametrize(
    "headers",
    [{"x-amz-metadata-directive": "REPLACE"}, {"x-amz-storage-class": "STANDARD"}],
)
def test_a_copy_onto_itself_may_change_metadata(headers):
    assert _copied(headers, target="/out/key")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-metadata-directive": "KEEP"}, "InvalidArgument"),
        ({"x-amz-tagging-directive": ""}, "InvalidArgument"),
        ({"x-amz-checksum-algorithm": "MD4"}, "InvalidRequest"),
        ({"x-amz-storage-class": "CHEAP"}, "InvalidStorageClass"),
        ({"x-amz-object-lock-legal-hold": "OFF"}, "InvalidRequest"),
        (
            {"x-amz-copy-source-server-side-encryption-customer-algorithm": "AES256"},
            "InvalidRequest",
        ),
    ],
)
def test_invalid_directives_and_unsupported_headers_are_rejected(headers, code):
    with raises_s3_error(code):
        _copied(headers)
