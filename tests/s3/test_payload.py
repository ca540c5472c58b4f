"""The headers that describe a body."""

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.payload import (
    FRAMINGS,
    check_payload_mode,
    parse_payload,
    reject_body,
    require_length,
)

TRAILER_MODE = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
DECODED = {"x-amz-decoded-content-length": "5"}


def _payload(headers, *, target="/out/k", streaming_allowed=True):
    return parse_payload(a_request("PUT", target, headers), streaming_allowed=streaming_allowed)


def test_a_plain_body_has_the_length_of_content_length():
    found = _payload({"content-length": "5"})

    assert (5, False, None) == (found.length, found.framed, found.sha256)


def test_a_body_may_have_no_length():
    """It is chunked by HTTP."""
    assert _payload({"transfer-encoding": "chunked"}).length is None


def test_the_payload_hash_may_be_a_query_parameter():
    """Some SDKs put it into presigned URLs."""
    found = _payload({}, target="/out/k?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD")

    assert not found.framed


@pytest.mark.parametrize("mode", FRAMINGS)
def test_x_amz_content_sha256_selects_the_framing(mode):
    """Content-Encoding does not."""
    found = _payload({**DECODED, "x-amz-content-sha256": mode, "content-length": "100"})

    assert (True, 5) == (found.framed, found.length)
    assert mode.startswith("STREAMING-AWS4") == found.signed
    assert mode.endswith("TRAILER") == found.trailer


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"content-length": "-1"}, "BadRequest", id="negative length"),
        pytest.param({"content-length": ""}, "BadRequest", id="empty length"),
        pytest.param({"content-length": "1e3"}, "BadRequest", id="length not a number"),
        pytest.param({"content-length": "5, 6"}, "BadRequest", id="different lengths"),
        pytest.param({"content-length": str(6 * 2**40)}, "EntityTooLarge", id="6 TiB"),
        pytest.param({"x-amz-content-sha256": "abc"}, "InvalidArgument", id="not a digest"),
        pytest.param({"x-amz-content-sha256": "g" * 64}, "InvalidArgument", id="not hex"),
        pytest.param(
            {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD"},
            "InvalidArgument",
            id="unknown mode",
        ),
        pytest.param(TRAILER_MODE, "MissingContentLength", id="missing decoded length"),
        pytest.param(
            {**TRAILER_MODE, "x-amz-decoded-content-length": str(6 * 2**40)},
            "EntityTooLarge",
            id="decoded length of 6 TiB",
        ),
        pytest.param(
            {**TRAILER_MODE, "x-amz-decoded-content-length": "-5"},
            "MissingContentLength",
            id="negative decoded length",
        ),
        pytest.param(
            {**TRAILER_MODE, "x-amz-decoded-content-length": "12x"},
            "MissingContentLength",
            id="decoded length not a number",
        ),
        pytest.param(
            {**TRAILER_MODE, **DECODED, "x-amz-trailer": "x-amz-meta-a"},
            "InvalidRequest",
            id="trailer other than a checksum",
        ),
        pytest.param(
            {
                **TRAILER_MODE,
                **DECODED,
                "x-amz-trailer": "x-amz-checksum-crc32,x-amz-checksum-sha1",
            },
            "InvalidRequest",
            id="two trailers",
        ),
    ],
)
def test_invalid_or_contradictory_headers_are_rejected(headers, code):
    with raises_s3_error(code):
        _payload(headers)


def test_repeated_equal_lengths_are_one_length():
    """Proxies repeat headers."""
    assert 5 == _payload({"content-length": "5, 5"}).length


@pytest.mark.parametrize("mode", [{}, {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}])
@pytest.mark.parametrize(
    ("headers", "framed"),
    [
        ({"content-encoding": "aws-chunked", **DECODED}, True),
        ({"content-encoding": "gzip, AWS-Chunked", **DECODED}, True),
        ({"content-encoding": "aws-chunked"}, False),
        ({"content-encoding": "gzip", **DECODED}, False),
        (DECODED, False),
    ],
)
def test_a_body_is_framed_if_encoding_and_decoded_length_say_so(mode, headers, framed):
    """As versions of the AWS SDK for Java send them; the trailers are verified."""
    found = _payload({**mode, **headers, "x-amz-trailer": "x-amz-checksum-crc32"})

    assert framed == found.framed
    if framed:
        assert (5, ("x-amz-checksum-crc32",)) == (found.length, found.announced)


def test_only_object_payload_may_be_framed():
    with raises_s3_error("InvalidRequest"):
        _payload({**TRAILER_MODE, **DECODED}, streaming_allowed=False)


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, None, id="no hash"),
        pytest.param({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, None, id="unsigned"),
        pytest.param({"x-amz-content-sha256": EMPTY}, None, id="of nothing"),
        pytest.param(
            {"x-amz-content-sha256": "ab" * 32}, "XAmzContentSHA256Mismatch", id="of something"
        ),
        pytest.param(
            {"x-amz-content-sha256": "ab" * 32, "content-length": "0"},
            "XAmzContentSHA256Mismatch",
            id="of something, length 0",
        ),
        pytest.param(
            {"x-amz-content-sha256": "ab" * 32, "content-length": "5"}, None, id="with a body"
        ),
        pytest.param(
            {"x-amz-content-sha256": "ab" * 32, "transfer-encoding": "chunked"},
            None,
            id="with a chunked body",
        ),
        pytest.param({"x-amz-content-sha256": "abc"}, "InvalidArgument", id="not a hash"),
        pytest.param(TRAILER_MODE, "InvalidRequest", id="framed"),
    ],
)
def test_the_hash_of_a_request_without_a_body_is_that_of_nothing(headers, code):
    """Also of a GET. A hash with a body is compared when the body is read."""
    request = a_request("GET", "/out/k", headers)
    if code is None:
        check_payload_mode(request, streaming_allowed=False)
        return
    with raises_s3_error(code):
        check_payload_mode(request, streaming_allowed=False)


@pytest.mark.parametrize("header", [{"content-length": "0"}, {"transfer-encoding": "chunked"}])
def test_an_upload_declares_its_length_or_is_chunked(header):
    require_length(a_request("PUT", "/out/k", header))
    with raises_s3_error("MissingContentLength"):
        require_length(a_request("PUT", "/out/k"))


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        ({"content-length": "0"}, True),
        ({"content-length": "1"}, False),
        ({"transfer-encoding": "chunked"}, False),
    ],
)
def test_a_request_without_content_has_no_body(headers, accepted):
    request = a_request("PUT", "/out/k", headers)
    if accepted:
        reject_body(request)
        return
    with raises_s3_error("InvalidRequest"):
        reject_body(request)
