"""Listings compared with a sorted list, and how much of a bucket they read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3.protocol_builders import a_part, a_request, an_object, an_upload, raises_s3_error

from worker.s3.listing import (
    MAX_SKIPPED,
    V1,
    V2,
    VERSIONS,
    after,
    buckets_page,
    page,
    parse_buckets,
    parse_list,
    parse_parts,
    parse_uploads,
    parts_page,
    past,
    uploads_page,
)

ALPHABET = st.sampled_from("ab/é\ud7ff\U0010ffff")
KEYS = st.lists(st.text(ALPHABET, min_size=1, max_size=6), max_size=25, unique=True)


class CountingSource:
    """A source over a sorted list that counts the entries read from it."""

    def __init__(self, keys):
        self.keys = sorted(keys, key=str.encode)
        self.read = 0

    def __call__(self, start):
        for key in self.keys:
            if key.encode() >= start.encode():
                self.read += 1
                yield an_object(key=key)


def _query(kind, **params):
    query = "&".join(
        f"{name.replace('_', '-')}={_encoded(value)}" for name, value in params.items()
    )
    return parse_list(a_request("GET", f"/out?{query}"), kind)


def _encoded(value):
    return "".join(f"%{byte:02X}" for byte in str(value).encode())


def _expected(keys, prefix, delimiter):
    """Return the keys and common prefixes of a whole listing."""
    found, common_prefixes = [], []
    for key in sorted(keys, key=str.encode):
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            found.append(key)
        elif key[: at + len(delimiter)] not in common_prefixes:
            common_prefixes.append(key[: at + len(delimiter)])
    return found, common_prefixes


def _next_page(kind, found):
    if kind == V2:
        return {"continuation_token": found.token}
    return {"marker" if kind == V1 else "key_marker": found.last}


@pytest.mark.parametrize("kind", [V1, V2, VERSIONS])
@settings(max_examples=150, deadline=None)
@given(
    keys=KEYS,
    prefix=st.text(ALPHABET, max_size=3),
    delimiter=st.one_of(st.just(""), st.text(ALPHABET, min_size=1, max_size=2)),
    limit=st.integers(1, 5),
)
def test_pages_of_any_size_add_up_to_the_whole_listing(kind, keys, prefix, delimiter, limit):
    items, prefixes, sizes = [], [], []
    following = {}
    while True:
        query = _query(kind, prefix=prefix, delimiter=delimiter, max_keys=limit, **following)
        found = page(CountingSource(keys), query)
        items += [item.key for item in found.items]
        prefixes += found.prefixes
        sizes.append(len(found.items) + len(found.prefixes))
        if found.next is None:
            break
        following = _next_page(kind, found)

    assert _expected(keys, prefix, delimiter) == (items, prefixes)
    assert all(size == limit for size in sizes[:-1])


@given(key=st.text(ALPHABET, max_size=4), others=KEYS)
def test_after_and_past_are_the_smallest_greater_strings(key, others):
    for other in others:
        assert (other.encode() > key.encode()) == (other.encode() >= after(key).encode())
        limit = past(key)
        beyond = limit is not None and other.encode() >= limit.encode()
        assert beyond == (other.encode() > key.encode() and not other.startswith(key))


def test_a_listing_seeks_past_the_keys_below_a_common_prefix():
    keys = [f"{folder}/{number:05}" for folder in "abc" for number in range(1000)]
    source = CountingSource(keys)

    found = page(source, _query(V2, delimiter="/"))

    assert ("a/", "b/", "c/") == found.prefixes
    assert found.next is None
    assert source.read <= 3 * (MAX_SKIPPED + 2)


def test_a_page_reads_at_most_one_key_more():
    source = CountingSource([f"{number:05}" for number in range(5000)])

    found = page(source, _query(V2, max_keys=10))

    assert 10 == len(found.items)
    assert 11 == source.read


def test_max_keys_0_is_an_empty_page_that_is_not_truncated():
    found = page(CountingSource(["a"]), _query(V2, max_keys=0))

    assert ((), (), None) == (found.items, found.prefixes, found.next)


def test_a_marker_that_is_a_common_prefix_is_after_all_keys_below_it():
    found = page(CountingSource(["a/1", "a/2", "b"]), _query(V1, delimiter="/", marker="a/"))

    assert (["b"], ()) == ([item.key for item in found.items], found.prefixes)


def test_a_continuation_token_takes_precedence_over_start_after():
    """Some clients send both."""
    first = page(CountingSource("abcd"), _query(V2, max_keys=2, start_after="a"))

    query = _query(V2, continuation_token=first.token, start_after="a")

    assert ["d"] == [item.key for item in page(CountingSource("abcd"), query).items]
    assert "a" == query.start_after


@pytest.mark.parametrize("token", ["", "nonsense"])
def test_an_incorrect_continuation_token_is_named_without_its_value(token):
    """As S3 does; an empty one is incorrect, too."""
    with raises_s3_error("InvalidArgument") as error:
        _query(V2, continuation_token=token)

    assert {"ArgumentName": "continuation-token"} == error().fields


@pytest.mark.parametrize("kind", [V1, V2, VERSIONS])
def test_an_empty_encoding_type_is_invalid(kind):
    with raises_s3_error("InvalidArgument") as error:
        _query(kind, encoding_type="")

    assert {"ArgumentName": "encoding-type", "ArgumentValue": ""} == error().fields


BUCKETS = [("out", 0), ("a", 0), ("b", 0)]


def _buckets(query=""):
    parsed = parse_buckets(a_request("GET", f"/?{query}"))
    found = buckets_page(BUCKETS, parsed)
    return [name for name, _ in found.buckets], found.token


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param("", ["a", "b", "out"], id="all"),
        pytest.param("prefix=o", ["out"], id="prefix"),
        pytest.param("bucket-region=us-east-1", ["a", "b", "out"], id="their region"),
        pytest.param("bucket-region=eu-west-1", [], id="another region"),
        pytest.param("max-buckets=3", ["a", "b", "out"], id="page that holds all"),
        pytest.param("continuation-token=&prefix=a", ["a"], id="empty token"),
    ],
)
def test_buckets_are_filtered_by_prefix_and_region(query, names):
    assert (names, None) == _buckets(query)


def test_buckets_are_listed_in_pages():
    first, token = _buckets("max-buckets=2")

    assert (["a", "b"], (["out"], None)) == (first, _buckets(f"continuation-token={token}"))


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (
            "max-buckets=0",
            {"ArgumentName": "max-buckets", "ArgumentValue": "0"},
        ),
        (
            "max-buckets=10001",
            {"ArgumentName": "max-buckets", "ArgumentValue": "10001"},
        ),
        ("bucket-region=nowhere", {"ArgumentName": "bucket-region"}),
        ("continuation-token=x", {"ArgumentName": "continuation-token"}),
    ],
)
def test_invalid_parameters_of_list_buckets_are_rejected(query, fields):
    with raises_s3_error("InvalidArgument") as error:
        _buckets(query)

    assert fields == error().fields


def test_a_page_has_at_most_1000_keys():
    assert 1000 == _query(V2, max_keys=5000).limit


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (V2, {"max_keys": "blah"}),
        (V2, {"max_keys": "-1"}),
        (V2, {"max_keys": "99999999999"}),
        (V2, {"continuation_token": "nonsense"}),
        (V2, {"continuation_token": "1€"}),
        (V2, {"continuation_token": "1_w"}),
        (V1, {"encoding_type": "base64"}),
        (VERSIONS, {"version_id_marker": "x"}),
    ],
)
def test_invalid_parameters_are_rejected(kind, params):
    with raises_s3_error("InvalidArgument"):
        _query(kind, **params)


UPLOADS = [an_upload(*pair) for pair in (("a/1", "2"), ("a/1", "5"), ("a/2", "1"), ("b", "3"))]


def _uploads(**params):
    query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in params.items())
    found = uploads_page(UPLOADS, parse_uploads(a_request("GET", f"/out?uploads&{query}")))
    return [(each.key, each.id) for each in found.uploads], list(found.prefixes), found


def test_uploads_of_one_key_are_paged_by_id():
    first, _, found = _uploads(max_uploads=1)
    second, _, _ = _uploads(key_marker=found.next_key, upload_id_marker=found.next_id)

    assert [("a/1", "2")] == first
    assert [("a/1", "5"), ("a/2", "1"), ("b", "3")] == second
    assert found.truncated


def test_a_key_marker_without_an_id_skips_all_uploads_of_the_key():
    assert [("a/2", "1"), ("b", "3")] == _uploads(key_marker="a/1")[0]


def test_uploads_below_a_delimiter_are_common_prefixes():
    assert ([("b", "3")], ["a/"]) == _uploads(delimiter="/")[:2]
    assert ([("a/1", "2"), ("a/1", "5"), ("a/2", "1")], []) == _uploads(delimiter="/", prefix="a/")[
        :2
    ]
    assert ([("b", "3")], []) == _uploads(delimiter="/", key_marker="a/")[:2]


PARTS = [a_part(number, 10) for number in (1, 3, 7)]


@pytest.mark.parametrize(
    ("query", "numbers", "truncated"),
    [
        ("", [1, 3, 7], False),
        ("max-parts=2", [1, 3], True),
        ("max-parts=3", [1, 3, 7], False),
        ("max-parts=0", [], False),
        ("part-number-marker=1", [3, 7], False),
        ("part-number-marker=2&max-parts=1", [3], True),
        ("part-number-marker=9", [], False),
    ],
)
def test_parts_are_paged_by_number(query, numbers, truncated):
    found = parts_page(PARTS, parse_parts(a_request("GET", f"/out/k?uploadId=1&{query}")))

    assert (numbers, truncated) == ([part.number for part in found.parts], found.truncated)


def test_an_invalid_part_number_marker_is_rejected():
    with raises_s3_error("InvalidArgument"):
        parse_parts(a_request("GET", "/out/k?uploadId=1&part-number-marker=x"))
