"""Headers by name, and their bounds."""

import pytest
from s3.protocol_builders import raises_s3_error

from worker.s3.request_headers import MAX_HEADERS, MAX_VALUE, ONCE, headers_by_name


@pytest.mark.parametrize("name", MAX_VALUE)
def test_a_value_is_bounded_by_its_meaning(name):
    limit = MAX_VALUE[name]

    assert {name: "a" * limit} == headers_by_name([(name.encode(), b" %s\t" % (b"a" * limit))])
    with raises_s3_error("RequestHeaderSectionTooLarge") as error:
        headers_by_name([(name.upper().encode(), b"a" * (limit + 1))])
    assert name in error().message


def test_all_headers_together_are_bounded():
    """As in S3, names and values count, but not the white space between them."""
    headers = [(b"a", b"b" * 99)] * 81 + [(b"c", b"d" * (MAX_HEADERS - 8101))]

    assert {"a", "c"} == headers_by_name(headers).keys()
    with raises_s3_error("RequestHeaderSectionTooLarge"):
        headers_by_name([*headers, (b"e", b"")])


@pytest.mark.parametrize("name", sorted(ONCE))
def test_a_header_with_one_value_is_sent_once(name):
    """Also if the two are equal, or spelled differently."""
    for first, second in ((b"a", b"b"), (b"a", b"a"), (b"a", b"")):
        with raises_s3_error("InvalidRequest"):
            headers_by_name([(name.encode(), first), (name.upper().encode(), second)])


def test_other_headers_of_the_same_name_are_joined():
    assert {"x-amz-meta-a": "1,2"} == headers_by_name(
        [(b"X-Amz-Meta-A", b" 1 "), (b"x-amz-meta-a", b"2")]
    )
