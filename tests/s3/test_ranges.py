"""Ranges of GetObject and UploadPartCopy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.protocol_builders import raises_s3_error

from worker.s3.copying import copy_source_range
from worker.s3.error_codes import S3Error
from worker.s3.reads import Span, select_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("bytes=0-0", Span(0, 1), id="first byte"),
        pytest.param("bytes=2-5", Span(2, 6), id="middle"),
        pytest.param("bytes=5-", Span(5, 10), id="open end"),
        pytest.param("bytes=5-100", Span(5, 10), id="end beyond the object"),
        pytest.param("bytes=-3", Span(7, 10), id="suffix"),
        pytest.param("bytes=-100", Span(0, 10), id="suffix longer than the object"),
        pytest.param("Bytes = 1 - 2", Span(1, 3), id="spaces and upper case"),
        pytest.param("bytes=0-1,4-5", None, id="several ranges"),
        pytest.param("bytes=5-2", None, id="last before first"),
        pytest.param("bytes=-", None, id="no positions"),
        pytest.param("bytes=a-b", None, id="letters"),
        pytest.param("lines=0-1", None, id="other unit"),
        pytest.param("bytes=" + "9" * 30 + "-", None, id="too many digits"),
    ],
)
def test_a_range_is_parsed_or_ignored_as_in_s3(header, expected):
    assert expected == select_range(header, 10)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        ("bytes=-0", 10),
        ("bytes=0-0", 0),
        ("bytes=0-", 0),
        ("bytes=-5", 0),
    ],
)
def test_a_range_beyond_the_end_is_invalid_range_with_the_size(header, size):
    with raises_s3_error("InvalidRange") as error:
        select_range(header, size)

    assert {"RangeRequested": header, "ActualObjectSize": str(size)} == error().fields
    assert {"Content-Range": f"bytes */{size}"} == error().headers


@given(st.text(max_size=20), st.integers(1, 100))
def test_a_span_is_within_the_object(text, size):
    """For any header."""
    for header in (text, f"bytes={text}"):
        try:
            span = select_range(header, size)
        except S3Error:
            continue

        assert span is None or 0 <= span.start < span.stop <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, Span(0, 10)), ("bytes=0-9", Span(0, 10)), ("bytes=3-3", Span(3, 4))],
)
def test_the_range_of_a_copy_defaults_to_the_whole_source(header, expected):
    assert expected == copy_source_range(header, 10)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("bytes=0-10", "InvalidArgument"),
        ("bytes=10-11", "InvalidRequest"),
        ("bytes=0-", "InvalidArgument"),
        ("bytes=-5", "InvalidArgument"),
        ("bytes=5-2", "InvalidArgument"),
        ("bytes=0-1,3-4", "InvalidArgument"),
        ("0-1", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
def test_a_copy_range_must_be_within_the_source(header, code):
    with raises_s3_error(code):
        copy_source_range(header, 10)
