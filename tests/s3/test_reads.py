"""GetObject and HeadObject: conditions, ranges, parts and response headers."""

import pytest
from s3.protocol_builders import a_request, an_object, raises_s3_error

from worker.model import Checksum, Part
from worker.s3.reads import http_date, read

OBJECT = an_object(
    headers={"content-type": "text/plain", "cache-control": "no-cache"},
    metadata={"owner": "ü"},
    tags={"a": "1"},
    checksum=Checksum("CRC32", "AAAAAA=="),
)
MULTIPART = an_object(
    size=25,
    checksum=Checksum("CRC32", "BBBBBB==-3", "COMPOSITE"),
    parts=(
        Part(1, 10, checksum=Checksum("CRC32", "AAAAAA==")),
        Part(3, 10, checksum=Checksum("CRC32", "AQAAAA==")),
        Part(7, 5, checksum=Checksum("CRC32", "AgAAAA==")),
    ),
)


def _read(entry, headers=None, query=""):
    found = read(a_request("GET", f"/out/key?{query}", headers), entry, now=0.0)
    return found, dict(found.headers)


def test_the_response_has_the_stored_headers_metadata_etag_and_date():
    found, headers = _read(OBJECT)

    assert (200, 0, 10) == (found.status, found.start, found.stop)
    assert {
        b"etag": b'"d41d8cd98f00b204e9800998ecf8427e"',
        b"last-modified": b"Tue, 14 Nov 2023 22:13:20 GMT",
        b"accept-ranges": b"bytes",
        b"content-type": b"text/plain",
        b"cache-control": b"no-cache",
        b"x-amz-meta-owner": b"=?UTF-8?B?w7w=?=",
        b"x-amz-tagging-count": b"1",
        b"content-length": b"10",
    } == headers


def test_the_default_content_type_is_binary_octet_stream():
    assert b"binary/octet-stream" == _read(an_object(headers={}))[1][b"content-type"]


def test_a_range_is_206_with_content_range():
    found, headers = _read(OBJECT, {"range": "bytes=2-4"})

    assert (206, 2, 5) == (found.status, found.start, found.stop)
    assert b"bytes 2-4/10" == headers[b"content-range"]
    assert b"3" == headers[b"content-length"]


def test_304_has_the_etag_and_the_date():
    found, headers = _read(OBJECT, {"if-none-match": "*", "range": "bytes=0-1"})

    assert (304, 0, 0) == (found.status, found.start, found.stop)
    assert {b"etag", b"last-modified", b"cache-control"} == headers.keys()


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        pytest.param('"d41d8cd98f00b204e9800998ecf8427e"', 206, id="same ETag"),
        pytest.param('"another"', 200, id="other ETag"),
        pytest.param("Tue, 14 Nov 2023 22:13:20 GMT", 206, id="same date"),
        pytest.param("Tue, 14 Nov 2023 22:13:19 GMT", 200, id="other date"),
    ],
)
def test_if_range_of_another_object_returns_the_whole_object(condition, status):
    """A date is compared with that of the response, whatever the milliseconds of the change."""
    entry = an_object(modified=1_700_000_000_534)

    assert status == _read(entry, {"range": "bytes=0-1", "if-range": condition})[0].status


SIGNED = {"authorization": "AWS4-HMAC-SHA256 …"}


def test_query_parameters_override_stored_headers():
    query = "response-content-type=a/b&response-content-disposition=f%C3%BC&response-expires=x"

    headers = _read(OBJECT, SIGNED, query)[1]

    assert b"a/b" == headers[b"content-type"]
    assert "fü".encode("latin-1") == headers[b"content-disposition"]
    assert b"x" == headers[b"expires"]
    assert b"no-cache" == headers[b"cache-control"]


def test_white_space_around_an_override_is_removed():
    """It cannot be part of a header value (RFC 9110, 5.5)."""
    headers = _read(OBJECT, SIGNED, "response-content-type=%09a/b%20")[1]

    assert b"a/b" == headers[b"content-type"]


def test_an_override_without_a_signature_is_rejected():
    """As by S3: a URL that the server has not signed must not choose the type of the content."""
    query = "response-content-type=text/html"
    with raises_s3_error("InvalidRequest"):
        _read(OBJECT, query=query)

    assert 200 == _read(OBJECT, query=query + "&X-Amz-Signature=x")[0].status


def test_an_unknown_override_is_rejected():
    with raises_s3_error("InvalidArgument") as error:
        _read(OBJECT, SIGNED, "response-x=y")

    assert {"ArgumentName": "response-x", "ArgumentValue": "y"} == error().fields
    assert error().message.startswith("response-x is not in the set of overridable response head")


def test_an_override_that_is_not_latin_1_is_rejected():
    """As by S3."""
    with raises_s3_error("InvalidArgument") as error:
        _read(OBJECT, query="response-cache-control=%E2%82%AC")

    assert "Header value cannot be represented using ISO-8859-1." == error().message
    assert ("response-cache-control", "€") == tuple(error().fields.values())


@pytest.mark.parametrize("sent", ["%0D%0A", "%0D", "%0A", "%00", "%1F", "%7F"])
def test_an_override_with_a_control_character_is_rejected(sent):
    """A line break would add a header."""
    with raises_s3_error("InvalidArgument"):
        _read(OBJECT, SIGNED, f"response-content-type=a{sent}x-evil:1")


def test_the_checksum_is_returned_with_checksum_mode():
    headers = _read(OBJECT, {"x-amz-checksum-mode": "ENABLED"})[1]

    assert b"AAAAAA==" == headers[b"x-amz-checksum-crc32"]
    assert b"FULL_OBJECT" == headers[b"x-amz-checksum-type"]


@pytest.mark.parametrize("mode", ["", "DISABLED", "1"])
def test_an_unknown_checksum_mode_is_rejected(mode):
    with raises_s3_error("InvalidRequest") as error:
        _read(OBJECT, {"x-amz-checksum-mode": mode})

    assert "Value for x-amz-checksum-mode header is invalid." == error().message


def test_the_key_of_a_customer_is_rejected():
    """No object is encrypted with one."""
    with raises_s3_error("InvalidRequest") as error:
        _read(OBJECT, {"x-amz-server-side-encryption-customer-algorithm": "AES256"})

    assert "The encryption parameters are not applicable to this object." == error().message


@pytest.mark.parametrize(("sizes", "expected"), [((10, 5), None), ((15,), b"AAAAAA==")])
def test_a_part_has_the_checksum_of_a_full_object_only_if_it_is_all_of_it(sizes, expected):
    parts = tuple(
        Part(number, size, checksum=Checksum("CRC32", "AQAAAA=="))
        for number, size in enumerate(sizes, start=1)
    )
    entry = an_object(size=15, checksum=Checksum("CRC32", "AAAAAA=="), parts=parts)

    headers = _read(entry, {"x-amz-checksum-mode": "ENABLED"}, "partNumber=1")[1]

    assert expected == headers.get(b"x-amz-checksum-crc32")


def test_a_range_has_no_checksum():
    """SDKs would compare it with the range."""
    headers = _read(OBJECT, {"x-amz-checksum-mode": "ENABLED", "range": "bytes=0-1"})[1]

    assert b"x-amz-checksum-crc32" not in headers


def test_a_part_has_its_checksum_and_the_number_of_parts():
    found, headers = _read(MULTIPART, {"x-amz-checksum-mode": "enabled"}, "partNumber=2")

    assert (206, 10, 20) == (found.status, found.start, found.stop)
    assert b"bytes 10-19/25" == headers[b"content-range"]
    assert b"3" == headers[b"x-amz-mp-parts-count"]
    assert b"AQAAAA==" == headers[b"x-amz-checksum-crc32"]
    assert b"COMPOSITE" == headers[b"x-amz-checksum-type"]


def test_part_1_of_an_object_without_parts_is_the_object():
    found, headers = _read(OBJECT, query="partNumber=1")

    assert (206, 0, 10) == (found.status, found.start, found.stop)
    assert b"x-amz-mp-parts-count" not in headers


def test_part_1_of_an_empty_object_is_200():
    """It has no range."""
    found, headers = _read(an_object(size=0), query="partNumber=1")

    assert (200, 0, 0) == (found.status, found.start, found.stop)
    assert b"0" == headers[b"content-length"]


def test_an_object_of_one_empty_part_has_one_part():
    """Some clients upload empty files like this."""
    found, headers = _read(an_object(size=0, parts=(Part(1, 0),)), query="partNumber=1")

    assert (200, b"1") == (found.status, headers[b"x-amz-mp-parts-count"])


@pytest.mark.parametrize(
    ("entry", "headers", "query", "code"),
    [
        pytest.param(MULTIPART, {}, "partNumber=4", "InvalidPartNumber", id="missing part"),
        pytest.param(
            OBJECT, {}, "partNumber=2", "InvalidPartNumber", id="part 2 without multipart upload"
        ),
        pytest.param(MULTIPART, {}, "partNumber=0", "InvalidArgument", id="part 0"),
        pytest.param(MULTIPART, {}, "partNumber=x", "InvalidArgument", id="part not a number"),
        pytest.param(MULTIPART, {}, "partNumber=10001", "InvalidArgument", id="part 10,001"),
        pytest.param(
            MULTIPART, {"range": "bytes=0-1"}, "partNumber=1", "InvalidRequest", id="range and part"
        ),
        pytest.param(OBJECT, {"range": "bytes=10-"}, "", "InvalidRange", id="range beyond the end"),
        pytest.param(OBJECT, {"if-match": '"x"'}, "", "PreconditionFailed", id="failed If-Match"),
    ],
)
def test_an_unsatisfiable_read_is_rejected(entry, headers, query, code):
    with raises_s3_error(code):
        _read(entry, headers, query)


def test_dates_are_http_dates_in_any_locale():
    assert b"Thu, 01 Jan 1970 00:00:00 GMT" == http_date(0)
