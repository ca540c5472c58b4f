"""Tags in headers, and the limits of tags."""

import pytest
from s3.protocol_builders import raises_s3_error

from worker.s3.tags import check_tags, parse_tagging_header


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a", {"a": ""}),
        ("a%20b=c+d", {"a b": "c d"}),
        ("k=%C3%BC", {"k": "ü"}),
        ("a=b%3Dc", {"a": "b=c"}),
        ("&", {}),
        ("a&&b&", {"a": "", "b": ""}),
        ("a=&", {"a": ""}),
        ("a@=1@", {"a@": "1@"}),
    ],
)
def test_a_tagging_header_is_parsed_like_a_query(value, tags):
    assert tags == parse_tagging_header(value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("a=1&a=2", "InvalidArgument"),
        ("a=%FF", "InvalidArgument"),
        ("=", "InvalidArgument"),
        ("=1", "InvalidArgument"),
        ("a%", "InvalidArgument"),
        ("a=%2", "InvalidArgument"),
        ("key1=val1,key2=val2", "InvalidArgument"),
        ("a?=1", "InvalidTag"),
        ("a=1(", "InvalidTag"),
        ("a=%00", "InvalidTag"),
        ("&".join(f"k{n}=v" for n in range(200)), "InvalidArgument"),
    ],
)
def test_an_invalid_tagging_header_is_rejected(value, code):
    with raises_s3_error(code):
        parse_tagging_header(value)


def test_ten_tags_of_the_longest_keys_and_values_are_valid():
    tags = {f"{number}" * 128: "v" * 256 for number in range(10)}

    assert tags == check_tags(tags.items())


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        pytest.param([(str(number), "") for number in range(11)], "BadRequest", id="eleven tags"),
        pytest.param([("a", "1"), ("a", "2")], "InvalidTag", id="duplicate key"),
        pytest.param([("", "1")], "InvalidTag", id="empty key"),
        pytest.param([("a" * 129, "1")], "InvalidTag", id="key of 129 characters"),
        pytest.param([("a", "v" * 257)], "InvalidTag", id="value of 257 characters"),
        pytest.param([("a!", "1")], "InvalidTag", id="invalid character in the key"),
        pytest.param([("a", "<")], "InvalidTag", id="invalid character in the value"),
        pytest.param([("a\n", "1")], "InvalidTag", id="line break in the key"),
        pytest.param([("a", "\x1c")], "InvalidTag", id="control character that is white space"),
    ],
)
def test_tags_beyond_a_limit_are_rejected(pairs, code):
    with raises_s3_error(code):
        check_tags(pairs)
