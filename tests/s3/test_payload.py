"""The headers that describe a body."""

import pytest
from s3.protocol_builders import a_request, raises_s3_error

from worker.s3.payload import FRAMINGS, parse_payload

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
            "BadRequest",
            id="negative decoded length",
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


def test_only_object_payload_may_be_framed():
    with raises_s3_error("InvalidRequest"):
        _payload({**TRAILER_MODE, **DECODED}, streaming_allowed=False)
