"""The object that a form describes, and the response to its browser."""

import pytest
from s3.form_builders import a_form, a_form_request
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3 import header_text
from worker.s3.post_object import form_metadata, location, object_request, redirect

TAG = "39d459dfbc0faabbb5e179358dfb94c3"


def described(fields=None, headers=None, **more):
    """Return the request for the object of a form, and the form."""
    form = a_form({"key": "k", **(fields or {}), **more})
    return object_request(a_form_request(headers), form), form


def metadata(fields):
    """Return the metadata of the object of a form."""
    return form_metadata(*described(fields))


def test_fields_are_the_headers_of_put_object():
    request, _ = described(
        {
            "key": "a/../b",
            "Content-Type": "text/x",
            "acl": "private",
            "x-amz-checksum-algorithm": "CRC32",
            "X-Amz-Storage-Class": "STANDARD",
            "Content-MD5": "x",
            "X-Amz-Date": "now",
            "x-amz-security-token": "t",
            "policy": "p",
            "success_action_status": "201",
            "other": "o",
        },
        {"x-amz-meta-hidden": "1", "Cache-Control": "no-cache", "If-None-Match": "*"},
    )

    assert ("a/../b", "object", "/out/a/../b") == (request.key, request.level, request.resource)
    assert {
        "content-type": "text/x",
        "x-amz-acl": "private",
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "x-amz-storage-class": "STANDARD",
        "content-md5": "x",
        "if-none-match": "*",
    } == request.headers


@pytest.mark.parametrize(
    ("key", "code", "fields"),
    [
        pytest.param(
            "", "InvalidArgument", {"ArgumentName": "key", "ArgumentValue": ""}, id="empty"
        ),
        pytest.param(
            "ü" * 513, "KeyTooLongError", {"Size": "1026", "MaxSizeAllowed": "1024"}, id="long"
        ),
        pytest.param("../a", "InvalidURI", {"URI": "../a"}, id="climbs"),
        pytest.param("a/../../b", "InvalidURI", {"URI": "a/../../b"}, id="climbs later"),
        pytest.param("a\0b", "InvalidURI", {"URI": "a%00b"}, id="NUL"),
    ],
)
def test_an_invalid_key_is_rejected(key, code, fields):
    with raises_s3_error(code) as error:
        described(key=key)

    assert fields == error().fields


@pytest.mark.parametrize("key", ["/", "//a", "a b", "k" * 1024, "a/./b", "a?b#c%20", "…\r\n\x01"])
def test_any_other_key_is_taken_as_it_is(key):
    assert key == described(key=key)[0].key


def test_a_form_without_a_key_is_rejected():
    """Recorded from S3."""
    with raises_s3_error("InvalidArgument") as error:
        object_request(a_form_request(), a_form(acl="private"))

    assert {"ArgumentName": "key", "ArgumentValue": ""} == error().fields
    assert error().message.startswith("Bucket POST must contain a field named 'key'.  If it is ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-meta-a b", "1"),
        ("x-amz-meta-a:b", "1"),
        ("x-amz-meta-ü", "1"),
        ("x-amz-meta-a\r\nset-cookie", "1"),
        ("Cache-Control", "a\r\nb"),
        ("x-amz-website-redirect-location", "/\n"),
    ],
)
def test_a_field_that_cannot_be_a_header_is_rejected(name, value):
    with raises_s3_error("InvalidArgument"):
        described({name: value})


def test_user_metadata_is_text():
    """Recorded from S3: encoded words are not decoded, and what is not ASCII is encoded once."""
    sent = {
        "q": "=?UTF-8?Q?actually-ascii?=",
        "text": "ÄMÄZÕÑ S3",
        "euro": "€",
        "bytes": "\0\1\2\3\4",
        "TEST-2": "a",
        "lines": "a\r\nb",
        "space": " a\t",
    }

    found = metadata({f"x-amz-meta-{name}": value for name, value in sent.items()}).metadata

    assert {**{name.lower(): value for name, value in sent.items()}, "space": "a"} == found
    assert b"=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=" == header_text.encode(found["text"])
    assert b"=?UTF-8?B?AAECAwQ=?=" == header_text.encode(found["bytes"])


def test_headers_are_latin_1():
    """Recorded from S3: other characters become spaces."""
    found = metadata({"Cache-Control": "non-ascii-%E2%80%94_—_é_", "Expires": "  soon\t"}).headers

    assert ("non-ascii-%E2%80%94_ _é_", "soon") == (found["cache-control"], found["expires"])


def test_the_default_content_type_is_that_of_put_object():
    """Not that of the part of the file."""
    assert {"content-type": "binary/octet-stream"} == metadata({}).headers


TAGS = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"


@pytest.mark.parametrize(
    ("fields", "tags"),
    [
        ({"tagging": TAGS}, {"a": "1"}),
        ({"x-amz-tagging": "b=2"}, {"b": "2"}),
        ({"tagging": TAGS, "x-amz-tagging": "b=2"}, {"a": "1"}),
        ({"tagging": "<InvalidXmlTagging></InvalidXmlTagging>"}, {}),
        ({"tagging": ""}, {}),
    ],
)
def test_tags_are_a_document(fields, tags):
    """A document of another kind has none (recorded from S3)."""
    assert tags == metadata(fields).tags


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"tagging": "not-xml"}, "MalformedXML"),
        ({"tagging": "<!DOCTYPE a><Tagging/>"}, "MalformedXML"),
        ({"x-amz-storage-class": "FakeClass"}, "InvalidStorageClass"),
        ({"acl": "none"}, "InvalidArgument"),
        ({"x-amz-server-side-encryption": "aws:kms"}, "NotImplemented"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "NotImplemented"),
        ({"x-amz-object-lock-legal-hold": "ON"}, "InvalidRequest"),
        ({"x-amz-website-redirect-location": "a"}, "InvalidRedirectLocation"),
        ({"x-amz-meta-a": "ü" * 1025}, "MetadataTooLarge"),
    ],
)
def test_metadata_that_put_object_rejects_is_rejected(fields, code):
    with raises_s3_error(code):
        metadata(fields)


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("/out", "localhost:9000", "http://localhost:9000/out/a%2Fb%20%C3%BC%7B%25"),
        ("/out/", "localhost:9000", "http://localhost:9000/out/a%2Fb%20%C3%BC%7B%25"),
        ("/", "out.localhost:9000", "http://out.localhost:9000/a%2Fb%20%C3%BC%7B%25"),
    ],
)
def test_the_location_is_the_url_of_the_object(target, host, expected):
    request = a_request("POST", target, {"Host": host})

    assert expected == location(object_request(request, a_form(key="a/b ü{%")), scheme="http")


ADDED = f"bucket=out&key=a%2Fb+%C3%BC&etag=%22{TAG}%22"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.test/done", f"http://a.test/done?{ADDED}"),
        ("https://a.test/?x=1&y= 2", f"https://a.test/?x=1&y= 2&{ADDED}"),
        ("http://a.test/ü", f"http://a.test/%C3%BC?{ADDED}"),
        ("/relative", None),
        ("a.test/done", None),
        ("javascript:alert(1)", None),
        ("http://", None),
        ("http://[", None),
        ("http://a.test/\r\nset-cookie: a=b", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("field", ["success_action_redirect", "redirect"])
def test_the_browser_is_redirected(field, url, expected):
    """A URL that S3 cannot interpret is as if it was not there."""
    request, form = described({"key": "a/b ü", field: url})

    assert expected == redirect(request, form, etag=TAG)


def test_the_deprecated_redirect_gives_way():
    request, form = described(
        success_action_redirect="http://new.test/", redirect="http://old.test/"
    )

    assert redirect(request, form, etag=TAG).startswith("http://new.test/")
    assert redirect(*described(), etag=TAG) is None


def test_a_field_and_a_header_have_the_same_condition():
    form = a_form({"key": "k", "if-none-match": "*"})

    object_request(a_form_request({"If-None-Match": "*"}), form)
    with raises_s3_error("InvalidArgument"):
        object_request(a_form_request({"If-None-Match": '"e"'}), form)
