"""Listings against a sorted list, and how little of a bucket they read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3.scene import a_part, a_request, an_object, an_upload, refused

from worker.s3.listing import (
    MAX_SKIPPED,
    V1,
    V2,
    VERSIONS,
    after,
    page,
    parse_list,
    parse_parts,
    parse_uploads,
    parts_page,
    past,
    uploads_page,
)

ALPHABET = st.sampled_from("ab/é\ud7ff\U0010ffff")
KEYS = st.lists(st.text(ALPHABET, min_size=1, max_size=6), max_size=25, unique=True)


class Counted:
    """A source over a sorted list that counts what was read of it."""

    def __init__(self, keys):
        self.keys = sorted(keys, key=str.encode)
        self.read = 0
        self.asked = 0

    def __call__(self, start):
        self.asked += 1
        for key in self.keys:
            if key.encode() >= start.encode():
                self.read += 1
                yield an_object(key=key)


def _query(kind, **params):
    query = "&".join(
        f"{name.replace('_', '-')}={_escaped(value)}" for name, value in params.items()
    )
    return parse_list(a_request("GET", f"/out?{query}"), kind)


def _escaped(value):
    return "".join(f"%{byte:02X}" for byte in str(value).encode())


def _model(keys, prefix, delimiter):
    """Return (keys, common prefixes) of the whole listing, as anybody would write it."""
    found, folded = [], []
    for key in sorted(keys, key=str.encode):
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            found.append(key)
        elif key[: at + len(delimiter)] not in folded:
            folded.append(key[: at + len(delimiter)])
    return found, folded


def _follow(kind, found):
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
def test_pages_make_the_whole_listing(kind, keys, prefix, delimiter, limit):
    """Whatever the pages, one behind the other they are the listing, each thing once."""
    items, prefixes, sizes = [], [], []
    following = {}
    while True:
        query = _query(kind, prefix=prefix, delimiter=delimiter, max_keys=limit, **following)
        found = page(Counted(keys), query)
        items += [item.key for item in found.items]
        prefixes += found.prefixes
        sizes.append(len(found.items) + len(found.prefixes))
        if found.next is None:
            break
        following = _follow(kind, found)

    assert _model(keys, prefix, delimiter) == (items, prefixes)
    assert all(size == limit for size in sizes[:-1])


@given(key=st.text(ALPHABET, max_size=4), others=KEYS)
def test_the_next_string(key, others):
    """What comes after a key is after it and before all else; past a prefix is past all of it."""
    for other in others:
        assert (other.encode() > key.encode()) == (other.encode() >= after(key).encode())
        limit = past(key)
        beyond = limit is not None and other.encode() >= limit.encode()
        assert beyond == (other.encode() > key.encode() and not other.startswith(key))


def test_seeks_past_a_folder():
    """Of a million keys below a common prefix a handful is read."""
    keys = [f"{folder}/{number:05}" for folder in "abc" for number in range(1000)]
    source = Counted(keys)

    found = page(source, _query(V2, delimiter="/"))

    assert ("a/", "b/", "c/") == found.prefixes
    assert found.next is None
    assert source.read <= 3 * (MAX_SKIPPED + 2)


def test_reads_no_more_than_a_page():
    """A page reads its keys and one more, to know whether there is a next."""
    source = Counted([f"{number:05}" for number in range(5000)])

    found = page(source, _query(V2, max_keys=10))

    assert 10 == len(found.items)
    assert 11 == source.read


def test_a_page_of_nothing_is_the_end():
    """max-keys=0 is an empty list that is not truncated."""
    found = page(Counted(["a"]), _query(V2, max_keys=0))

    assert ((), (), None) == (found.items, found.prefixes, found.next)


def test_a_marker_that_is_a_folder_stands_for_all_in_it():
    """NextMarker may be a common prefix, which does not come back on the next page."""
    found = page(Counted(["a/1", "a/2", "b"]), _query(V1, delimiter="/", marker="a/"))

    assert (["b"], ()) == ([item.key for item in found.items], found.prefixes)


def test_a_token_goes_before_start_after():
    """Some clients send start-after with every page."""
    first = page(Counted("abcd"), _query(V2, max_keys=2, start_after="a"))

    query = _query(V2, continuation_token=first.token, start_after="a")

    assert ["d"] == [item.key for item in page(Counted("abcd"), query).items]
    assert "a" == query.start_after


def test_an_empty_token_is_none():
    """V2 takes an empty token for the start, and echoes it."""
    assert ("", "") == (
        _query(V2, continuation_token="").start,
        _query(V2, continuation_token="").token,
    )


def test_caps_the_page():
    """No page is longer than 1,000, whatever was asked for."""
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
def test_refuses(kind, params):
    """What cannot be listed is InvalidArgument."""
    with refused("InvalidArgument"):
        _query(kind, **params)


UPLOADS = [an_upload(*pair) for pair in (("a/1", "2"), ("a/1", "5"), ("a/2", "1"), ("b", "3"))]


def _uploads(**params):
    query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in params.items())
    found = uploads_page(UPLOADS, parse_uploads(a_request("GET", f"/out?uploads&{query}")))
    return [(each.key, each.id) for each in found.uploads], list(found.prefixes), found


def test_lists_uploads_in_pages():
    """Uploads of one key are told apart by their ids, also between two pages."""
    first, _, found = _uploads(max_uploads=1)
    second, _, _ = _uploads(key_marker=found.next_key, upload_id_marker=found.next_id)

    assert [("a/1", "2")] == first
    assert [("a/1", "5"), ("a/2", "1"), ("b", "3")] == second
    assert found.truncated


def test_a_key_marker_alone_skips_the_key():
    """Without an upload id, what comes after the key is wanted."""
    assert [("a/2", "1"), ("b", "3")] == _uploads(key_marker="a/1")[0]


def test_folds_uploads():
    """Uploads are folded under a delimiter as keys are."""
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
def test_lists_parts_in_pages(query, numbers, truncated):
    """Parts come by number, after the marker."""
    found = parts_page(PARTS, parse_parts(a_request("GET", f"/out/k?uploadId=1&{query}")))

    assert (numbers, truncated) == ([part.number for part in found.parts], found.truncated)


def test_refuses_a_part_number_marker_that_is_none():
    """A marker is a number."""
    with refused("InvalidArgument"):
        parse_parts(a_request("GET", "/out/k?uploadId=1&part-number-marker=x"))
