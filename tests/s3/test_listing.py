"""Listings compared with a sorted list, and how much of a bucket they read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3.protocol_builders import a_request, an_object, raises_s3_error

from worker.s3.listing import MAX_SKIPPED, V1, V2, VERSIONS, page, parse_list

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
@settings(max_examples=150)
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


@pytest.mark.parametrize("marker", ["f/a/", "f/a/1", "f/a/1/x"])
@pytest.mark.parametrize(
    ("kind", "name"), [(V1, "marker"), (V2, "start_after"), (VERSIONS, "key_marker")]
)
def test_a_marker_below_a_common_prefix_is_after_all_keys_of_the_prefix(kind, name, marker):
    """The page before had the common prefix."""
    keys = ["f/a/1", "f/a/2", "f/b", "f/c/1"]
    found = page(CountingSource(keys), _query(kind, prefix="f/", delimiter="/", **{name: marker}))

    assert (["f/b"], ("f/c/",)) == ([item.key for item in found.items], found.prefixes)


@pytest.mark.parametrize(
    ("params", "keys"),
    [
        pytest.param({"marker": "f/a/1"}, ["f/a/2", "f/b"], id="no delimiter"),
        pytest.param({"marker": "f/a/1", "delimiter": "-"}, ["f/a/2", "f/b"], id="not a prefix"),
        pytest.param({"marker": "e/a", "prefix": "f/"}, ["f/a/1", "f/a/2", "f/b"], id="before it"),
        pytest.param({"marker": "g/a", "prefix": "f/"}, [], id="after it"),
    ],
)
def test_any_other_marker_is_before_the_greater_keys(params, keys):
    found = page(CountingSource(["f/a/1", "f/a/2", "f/b"]), _query(V1, **params))

    assert keys == [item.key for item in found.items]


def test_a_continuation_token_takes_precedence_over_start_after():
    """Some clients send both."""
    first = page(CountingSource("abcd"), _query(V2, max_keys=2, start_after="a"))

    query = _query(V2, continuation_token=first.token, start_after="a")

    assert ["d"] == [item.key for item in page(CountingSource("abcd"), query).items]
    assert "a" == query.start_after


def test_a_page_has_at_most_1000_keys():
    """max-keys is returned as it was sent."""
    query = _query(V2, max_keys=5000)

    assert (1000, 5000) == (query.limit, query.max_keys)


MARKER = "version-id-marker"


@pytest.mark.parametrize(
    ("kind", "query", "name", "value", "message"),
    [
        (V1, "max-keys=blah", "max-keys", "blah", "Provided max-keys not an integer or within"),
        (V2, "max-keys=-1", "maxKeys", "-1", "Argument maxKeys must be an integer between 0 and"),
        (V1, "max-keys=-01", "maxKeys", "-1", "Argument maxKeys must be"),
        (VERSIONS, "max-keys=x", "max-keys", "x", "Provided max-keys not an integer or within"),
        (VERSIONS, "max-keys=-1", "max-keys", None, "max-keys cannot be negative"),
        (V1, "start-after=", "start-after", None, "startAfter only supported in REST.GET.BUCKET"),
        (V1, "start-after=a&continuation-token=b", "continuation-token", None, "continuation-to"),
        (V2, "marker=", "marker", None, "Marker unsupported with REST.GET.BUCKET in list-type=2"),
        (V2, "continuation-token=", "continuation-token", None, "The continuation token provided"),
        (V2, "continuation-token=x", "continuation-token", None, "The continuation token provided"),
        (V1, "encoding-type=", "encoding-type", "", "Invalid Encoding Method specified in Request"),
        (V2, "encoding-type=x", "encoding-type", "x", "Invalid Encoding Method specified in"),
        (VERSIONS, f"{MARKER}=null", MARKER, "null", "A version-id marker cannot be specified wit"),
        (VERSIONS, f"{MARKER}=", MARKER, "", "A version-id marker cannot be specified without"),
        (VERSIONS, f"key-marker=&{MARKER}=", MARKER, "", "A version-id marker cannot be empty."),
        (VERSIONS, f"key-marker=k&{MARKER}=NULL", MARKER, "NULL", "Invalid version id specified"),
        (
            VERSIONS,
            "key-marker=%00",
            "key-marker",
            "\0",
            "Value must be a sequence of Unicode char",
        ),
        (
            VERSIONS,
            "prefix=a%00",
            "prefix",
            "a\0",
            "Value must be a sequence of Unicode characters",
        ),
        (V1, "marker=%00", "marker", "\0", "Value must be a sequence of Unicode characters and"),
        (V2, "prefix=%00", "prefix", "\0", "Value must be a sequence of Unicode characters and"),
    ],
)
def test_invalid_parameters_are_rejected_as_by_s3(kind, query, name, value, message):
    with raises_s3_error("InvalidArgument") as error:
        parse_list(a_request("GET", f"/out?{query}"), kind)

    expected = {"ArgumentName": name} | ({} if value is None else {"ArgumentValue": value})
    assert expected == error().fields
    assert error().message.startswith(message)


@pytest.mark.parametrize(
    ("kind", "query", "name"),
    [
        (V1, "max-keys=x&start-after=a&encoding-type=x", "max-keys"),
        (V1, "start-after=a&encoding-type=x&max-keys=-1", "start-after"),
        (V2, "continuation-token=x&encoding-type=x&max-keys=-1", "encoding-type"),
        (V2, "continuation-token=x&max-keys=-1", "continuation-token"),
        (VERSIONS, f"max-keys=x&{MARKER}=", "max-keys"),
        (VERSIONS, f"key-marker=k&{MARKER}=x&encoding-type=x&max-keys=-1", MARKER),
        (VERSIONS, "encoding-type=x&max-keys=-1", "encoding-type"),
        (VERSIONS, "key-marker=%00&encoding-type=x", "encoding-type"),
    ],
)
def test_parameters_are_checked_in_the_order_of_s3(kind, query, name):
    with raises_s3_error("InvalidArgument") as error:
        parse_list(a_request("GET", f"/out?{query}"), kind)

    assert name == error().fields["ArgumentName"]


def test_a_version_marker_without_a_key_lists_nothing():
    query = parse_list(a_request("GET", "/out?key-marker=&version-id-marker=null"), VERSIONS)

    assert ((), None) == (page(CountingSource("ab"), query).items, query.start)


@pytest.mark.parametrize(("value", "fetched"), [("true", True), ("TRUE", False), ("1", False)])
def test_the_owner_is_fetched_for_exactly_true(value, fetched):
    assert fetched == _query(V2, fetch_owner=value).fetch_owner


@pytest.mark.parametrize("kind", [V1, V2, VERSIONS])
def test_restore_status_is_the_only_optional_attribute(kind):
    def parse(value):
        return parse_list(
            a_request("GET", "/out", {"x-amz-optional-object-attributes": value}), kind
        )

    assert parse("RestoreStatus").max_keys == 1000
    with raises_s3_error("InvalidArgument") as error:
        parse("RestoreStatus,Size")

    assert "x-amz-optional-object-attributes" == error().fields["ArgumentName"]
