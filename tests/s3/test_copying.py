"""Where a copy comes from, and what goes over."""

import pytest
from s3.scene import a_request, an_object, refused

from worker.s3.copying import CopySource, copied_metadata, copy_source

SOURCE = an_object(
    headers={"content-type": "text/plain"}, metadata={"a": "1"}, tags={"colour": "red"}
)


def _source(value):
    return copy_source(a_request("PUT", "/out/key", {"x-amz-copy-source": value}))


@pytest.mark.parametrize(
    ("value", "key"),
    [
        pytest.param("labresults/a/b", "a/b", id="plain"),
        pytest.param("/labresults/a/b", "a/b", id="a slash in front"),
        pytest.param("labresults%2Fa%2Fb", "a/b", id="escaped slashes"),
        pytest.param("/labresults//a", "/a", id="a key with a slash in front"),
        pytest.param("labresults/a+b%2Bc", "a b+c", id="a plus for a space"),
        pytest.param("labresults/%C3%BC", "ü", id="escaped UTF-8"),
        pytest.param("labresults/ü", "ü", id="raw UTF-8"),
        pytest.param("labresults/100%25", "100%", id="a percent sign"),
        pytest.param("labresults/a?versionId=null", "a", id="the version that all have"),
        pytest.param("labresults/a%3FversionId=x", "a?versionId=x", id="a key that looks so"),
    ],
)
def test_reads_the_source(value, key):
    """A source comes in many spellings, and its version is split off before it is decoded."""
    assert CopySource("labresults", key) == _source(value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "InvalidArgument"),
        ("labresults", "InvalidArgument"),
        ("labresults/", "InvalidArgument"),
        ("/", "InvalidArgument"),
        ("//key", "InvalidArgument"),
        ("labresults/%FF", "InvalidArgument"),
        ("labresults/a%00", "InvalidArgument"),
        ("labresults/a?versionId=abc", "InvalidArgument"),
        ("arn:aws:s3:us-east-1:1:accesspoint/x/object/y", "InvalidArgument"),
        ("labresults/" + "k" * 1025, "KeyTooLongError"),
    ],
)
def test_refuses_a_source(value, code):
    """What names no object of a bucket is refused."""
    with refused(code):
        _source(value)


def _carried(headers=None, *, target="/out/other"):
    sent = {"x-amz-copy-source": "out/key", **(headers or {})}
    request = a_request("PUT", target, sent)
    return copied_metadata(request, copy_source(request), SOURCE)


def test_carries_all_by_default():
    """Without directives a copy has everything of its source, whatever else is said."""
    found, algorithm = _carried(
        {"x-amz-meta-b": "2", "content-type": "a/b", "x-amz-tagging": "x=y"}
    )

    assert SOURCE.headers == found.headers
    assert SOURCE.metadata == found.metadata
    assert SOURCE.tags == found.tags
    assert algorithm is None


def test_replaces_metadata():
    """REPLACE takes headers and metadata from the request, and leaves the tags."""
    found, _ = _carried({"x-amz-metadata-directive": "REPLACE", "x-amz-meta-b": "2"})

    assert {"content-type": "binary/octet-stream"} == found.headers
    assert {"b": "2"} == found.metadata
    assert SOURCE.tags == found.tags


def test_replaces_tags():
    """The tags have a directive of their own."""
    found, _ = _carried({"x-amz-tagging-directive": "replace", "x-amz-tagging": "colour=blue"})

    assert SOURCE.metadata == found.metadata
    assert {"colour": "blue"} == found.tags


def test_names_another_checksum():
    """A copy may be asked to have a checksum that its source has not."""
    assert "SHA256" == _carried({"x-amz-checksum-algorithm": "sha256"})[1]


def test_refuses_a_copy_onto_itself():
    """A copy onto itself that changes nothing is illegal, as in S3."""
    with refused("InvalidRequest"):
        _carried(target="/out/key")


@pytest.mark.parametrize(
    "headers",
    [{"x-amz-metadata-directive": "REPLACE"}, {"x-amz-storage-class": "STANDARD"}],
)
def test_takes_a_copy_onto_itself_that_changes_something(headers):
    """It is how metadata is changed."""
    assert _carried(headers, target="/out/key")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-metadata-directive": "KEEP"}, "InvalidArgument"),
        ({"x-amz-tagging-directive": ""}, "InvalidArgument"),
        ({"x-amz-checksum-algorithm": "MD5"}, "InvalidRequest"),
        ({"x-amz-storage-class": "CHEAP"}, "InvalidStorageClass"),
        ({"x-amz-object-lock-mode": "GOVERNANCE"}, "InvalidRequest"),
        (
            {"x-amz-copy-source-server-side-encryption-customer-algorithm": "AES256"},
            "NotImplemented",
        ),
    ],
)
def test_refuses_what_a_copy_cannot_be(headers, code):
    """Directives are COPY or REPLACE, and what is not there is not promised."""
    with refused(code):
        _carried(headers)
