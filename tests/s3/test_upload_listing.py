"""Pages of uploads and of parts."""

import pytest
from s3.protocol_builders import a_part, a_request, an_upload, raises_s3_error

from worker.s3.upload_listing import parse_parts, parse_uploads, parts_page, uploads_page

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


@pytest.mark.parametrize("markers", [{}, {"upload_id_marker": "2"}])
def test_a_key_marker_below_a_common_prefix_is_after_all_keys_of_the_prefix(markers):
    assert ([("b", "3")], []) == _uploads(delimiter="/", key_marker="a/1", **markers)[:2]


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
