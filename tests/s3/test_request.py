"""Request targets, hosts, queries and headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.error_codes import S3Error
from worker.s3.request import parse


@pytest.mark.parametrize(
    ("target", "bucket", "key"),
    [
        pytest.param("/", None, None, id="service"),
        pytest.param("/out", "out", None, id="bucket"),
        pytest.param("/out/", "out", None, id="bucket with a trailing slash"),
        pytest.param("/out/a/b", "out", "a/b", id="key"),
        pytest.param("/out//a", "out", "/a", id="leading slash in the key"),
        pytest.param("/out/a//b/", "out", "a//b/", id="double and trailing slashes"),
        pytest.param("/out/./a/../b", "out", "./a/../b", id="dot segments"),
        pytest.param("/out/b/%2e%2e/a", "out", "b/../a", id="encoded dot segments"),
        pytest.param("/out/a%2Fb", "out", "a/b", id="encoded slash"),
        pytest.param("/out/100%25", "out", "100%", id="encoded percent sign"),
        pytest.param("/out/%2525", "out", "%25", id="double encoding"),
        pytest.param("/out/a+b", "out", "a+b", id="plus"),
        pytest.param("/out/a%20b", "out", "a b", id="space"),
        pytest.param("/out/%C3%BC", "out", "ü", id="encoded UTF-8"),
        pytest.param("/out/ü", "out", "ü", id="raw UTF-8"),
        pytest.param("/out/a%01b", "out", "a\x01b", id="control character"),
        pytest.param("/out?list-type=2", "out", None, id="query"),
        pytest.param("http://host:1/out/k", "out", "k", id="absolute form"),
        pytest.param("HTTPS://host", None, None, id="absolute form without a path"),
        pytest.param("/unknown/k", "unknown", "k", id="unknown bucket"),
    ],
)
def test_a_path_is_decoded_once_and_not_normalized(target, bucket, key):
    request = a_request("GET", target)

    assert (bucket, key) == (request.bucket, request.key)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        pytest.param("/out/%FF", "InvalidURI", id="not UTF-8"),
        pytest.param("/out/%ED%A0%80", "InvalidURI", id="surrogate"),
        pytest.param("/out/%zz", "InvalidURI", id="percent sign without hex digits"),
        pytest.param("/out/a%2", "InvalidURI", id="percent sign with one digit"),
        pytest.param("/out/a%00b", "InvalidURI", id="NUL"),
        pytest.param("//out/a", "InvalidBucketName", id="empty bucket"),
        pytest.param("ftp://host/out", "InvalidURI", id="other scheme"),
        pytest.param("out/key", "InvalidURI", id="relative path"),
        pytest.param("/out?prefix=%FF", "InvalidURI", id="query not UTF-8"),
        pytest.param("/out?" + "&".join(["a=1"] * 300), "InvalidURI", id="300 parameters"),
        pytest.param("/out/" + "k" * 1025, "KeyTooLongError", id="key of 1,025 bytes"),
        pytest.param(
            "/out/" + "%C3%BC" * 513, "KeyTooLongError", id="key of 1,026 bytes in 513 characters"
        ),
    ],
)
def test_an_invalid_target_has_its_error_code(target, code):
    with raises_s3_error(code):
        a_request("GET", target)


@pytest.mark.parametrize("resource", ["/", "/out", "/out/a b"])
def test_the_resource_is_the_decoded_path(resource):
    assert resource == a_request("GET", resource.replace(" ", "%20")).resource


def test_a_key_may_have_1024_bytes_of_utf_8():
    assert "ü" * 512 == a_request("GET", "/out/" + "%C3%BC" * 512).key


@pytest.mark.parametrize(
    ("host", "bucket", "key"),
    [
        pytest.param("out.localhost:9000", "out", "labresults/k", id="bucket in the host"),
        pytest.param("OUT.localhost", "out", "labresults/k", id="upper case"),
        pytest.param("other.localhost", "labresults", "k", id="unknown bucket"),
        pytest.param("localhost:9000", "labresults", "k", id="host without a dot"),
        pytest.param("127.0.0.1:9000", "labresults", "k", id="IPv4 address"),
        pytest.param("[::1]:9000", "labresults", "k", id="IPv6 address"),
        pytest.param("out", "labresults", "k", id="bucket without a domain"),
        pytest.param("", "labresults", "k", id="no host"),
    ],
)
def test_a_host_is_virtual_hosted_style_only_for_existing_buckets(host, bucket, key):
    request = a_request("GET", "/labresults/k", {"host": host})

    assert (bucket, key) == (request.bucket, request.key)


def test_a_key_may_start_with_slashes_in_virtual_hosted_style():
    assert "/a" == a_request("GET", "//a", {"host": "out.localhost"}).key


def test_an_ip_address_does_not_name_a_bucket():
    """Even if one is called 127."""
    request = a_request("GET", "/127/k", {"host": "127.0.0.1:1"}, buckets=("127",))

    assert ("127", "k") == (request.bucket, request.key)


def test_query_parameters_are_decoded():
    """A plus is a space, and a name without equals sign has an empty value."""
    request = a_request("GET", "/out?prefix=a+b%2Bc&acl&prefix=a%20b%2bc&=x")

    assert (("prefix", "a b+c"), ("acl", ""), ("prefix", "a b+c"), ("", "x")) == request.query
    assert {"prefix": "a b+c", "acl": "", "": "x"} == request.params


@pytest.mark.parametrize(
    "query",
    ["prefix=a&prefix=b", "prefix=a&acl&prefix=", "acl&acl=1", "a=1&%61=2", "x=1&x=1&x=2"],
)
def test_a_query_parameter_has_one_value(query):
    """SigV4 signs the values in their alphabetical order."""
    with raises_s3_error("InvalidArgument"):
        a_request("GET", f"/out?{query}")


def test_the_asterisk_form_is_that_of_options():
    """RFC 9112, 3.2.4: it is no other name of the list of buckets."""
    assert a_request("options", "*").level == "service"
    with raises_s3_error("InvalidURI"):
        a_request("GET", "*")


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("out.localhost", "out"),
        ("OUT.localhost:1", "out"),
        ("a.b.localhost", "a.b"),
        ("a.b.c.localhost", "a.b"),
        ("a.localhost", None),
        ("out", None),
        ("out.", "out"),
        (".out.localhost", None),
        ("localhost.out", None),
    ],
)
def test_a_host_may_start_with_a_bucket(host, bucket):
    request = a_request("GET", "/k", {"host": host}, buckets=("a.b", "a.b.c", "out"))

    assert (bucket is not None) == request.virtual
    assert bucket == (request.bucket if request.virtual else None)


def test_repeated_headers_are_joined():
    """Names are case-insensitive."""
    headers = [(b"Host", b"h"), (b"X-Amz-Meta-A", b" 1 "), (b"x-amz-meta-a", b"2")]

    request = parse("put", b"/out/k", b"", headers, buckets=["out"])

    assert "1,2" == request.headers["x-amz-meta-a"]
    assert "PUT" == request.method


@pytest.mark.parametrize(
    ("signature", "more"),
    [
        ("X-Amz-Signature=1", frozenset({"x-amz-content-sha256"})),
        ("AWSAccessKeyId=a&Signature=1", frozenset({"content-type", "content-md5"})),
    ],
    ids=["SigV4", "SigV2"],
)
def test_headers_may_be_query_parameters_of_a_presigned_url(signature, more):
    """Those of S3 and conditions; not the signature, checksums, and other headers."""
    request = a_request(
        "PUT",
        f"/out/k?{signature}&x-amz-meta-a=ü&X-Amz-Tagging=a%3Db&x-amz-copy-source=%2Fb%2Fk"
        "&If-None-Match=*&if-match=e&If-Modified-Since=d&if-unmodified-since=d&X-Amz-Date=d"
        "&X-Amz-Content-Sha256=e&content-type=t"
        "&content-md5=m&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"
        "&range=bytes%3D0-1",
    )

    names = {"x-amz-meta-a", "x-amz-tagging", "x-amz-copy-source"}
    conditions = {"if-none-match", "if-match", "if-modified-since", "if-unmodified-since"}
    assert names | conditions | more == request.hoisted
    assert "ü" == request.headers["x-amz-meta-a"].encode("latin-1").decode()
    assert "range" not in request.headers


@pytest.mark.parametrize("name", ["mode", "algorithm", "type"])
@pytest.mark.parametrize(
    "signature", ["X-Amz-Signature=1", "AWSAccessKeyId=a&Signature=1"], ids=["SigV4", "SigV2"]
)
def test_settings_of_checksums_may_be_query_parameters_of_a_presigned_url(signature, name):
    """Unlike the checksums themselves, SDKs know them when they presign."""
    request = a_request("POST", f"/out/k?{signature}&uploads&x-amz-checksum-{name}=v")

    assert "v" == request.headers[f"x-amz-checksum-{name}"]


def test_query_parameters_of_a_request_that_is_not_presigned_are_no_headers():
    assert frozenset() == a_request("PUT", "/out/k?If-None-Match=*&x-amz-meta-a=1").hoisted


V4, V2 = "X-Amz-Signature=1", "AWSAccessKeyId=a&Signature=1"
CONTRADICTIONS = {
    "digest of the body": (V4, "X-Amz-Content-Sha256=e", {"x-amz-content-sha256": "f"}),
    "an empty digest": (V4, "X-Amz-Content-Sha256=e", {"x-amz-content-sha256": ""}),
    "date": (V4, "X-Amz-Date=20130524T000000Z", {"x-amz-date": "20130525T000000Z"}),
    "session token": (V4, "X-Amz-Security-Token=a", {"x-amz-security-token": "b"}),
    "metadata": (V4, "x-amz-meta-a=1", {"x-amz-meta-a": "2"}),
    "metadata in SigV2": (V2, "x-amz-meta-a=1", {"x-amz-meta-a": "2"}),
    "copy source": (V4, "x-amz-copy-source=/b/k", {"x-amz-copy-source": "/b/l"}),
    "length of the content": (
        V4,
        "x-amz-decoded-content-length=1",
        {"x-amz-decoded-content-length": "2"},
    ),
    "creation only": (V4, "If-None-Match=*", {"if-none-match": '"e"'}),
    "ETag": (V4, "If-Match=e", {"if-match": "f"}),
    "time": (V4, "If-Unmodified-Since=d", {"if-unmodified-since": "e"}),
    "creation only in SigV2": (V2, "If-None-Match=*", {"if-none-match": ""}),
    "type in SigV2": (V2, "content-type=a", {"content-type": "b"}),
    "MD5 in SigV2": (V2, "content-md5=a", {"content-md5": "b"}),
    "two spellings": (V4, "X-Amz-Meta-A=1&x-amz-meta-a=2", {}),
    "two spellings of the digest": (V4, "X-Amz-Content-Sha256=e&x-amz-content-sha256=f", {}),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_header_does_not_replace_the_query_of_a_presigned_url(name):
    """Which one counts would depend on the reader."""
    signature, query, headers = CONTRADICTIONS[name]

    with raises_s3_error("InvalidArgument"):
        a_request("PUT", f"/out/k?{signature}&{query}", headers)


def test_a_header_may_repeat_the_query_of_a_presigned_url():
    request = a_request("PUT", "/out/k?X-Amz-Signature=1&x-amz-meta-a=1", {"x-amz-meta-a": "1"})

    assert "1" == request.headers["x-amz-meta-a"]
    assert frozenset() == request.hoisted  # So the header itself must be signed.


@given(
    path=st.binary(max_size=60),
    query=st.binary(max_size=60),
    headers=st.lists(st.tuples(st.binary(max_size=10), st.binary(max_size=20)), max_size=4),
)
def test_parsing_raises_only_s3_errors(path, query, headers):
    """For any bytes."""
    for raw in (path, b"/out/" + path):
        try:
            request = parse("GET", raw, query, headers, buckets=["out"])
        except S3Error:
            continue

        assert request.level in ("service", "bucket", "object")


@given(
    key=st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1, max_size=200)
)
def test_every_percent_encoded_key_is_decoded(key):
    """A prefix keeps those with ``..`` within the bucket."""
    key = "a/" * key.count("..") + key
    every_byte = "".join(f"%{byte:02X}" for byte in key.encode())

    assert key == a_request("GET", f"/out/{every_byte}").key


def test_only_spaces_and_tabs_around_a_value_are_removed():
    """Characters of UTF-8 may end in 85 or A0."""
    request = parse("GET", b"/out", b"", [(b"x-amz-meta-a", "\t voilà ".encode())], buckets=[])

    assert "voilà" == request.headers["x-amz-meta-a"].encode("latin-1").decode()


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param("x-amz-acl=1%0D%0AX-Evil:%202", id="line break in a value"),
        pytest.param("x-amz-acl=%00", id="NUL in a value"),
        pytest.param("If-Match=%0D%0A", id="line break in a condition"),
        pytest.param("x-amz-meta-a%0D%0Ab=1", id="line break in a name"),
        pytest.param("x-amz-meta-a%20b=1", id="space in a name"),
        pytest.param("x-amz-meta-%E2%82%AC=1", id="name not in Latin-1"),
        pytest.param("x-amz-meta-%C3%BC=1", id="name not in ASCII"),
    ],
)
def test_a_query_parameter_that_cannot_be_a_header_is_rejected(pair):
    with raises_s3_error("InvalidArgument"):
        a_request("PUT", f"/out/k?X-Amz-Signature=1&{pair}")
