"""Pages of uploads and of parts."""

import pytest
from s3.protocol_builders import a_part, a_request, an_upload, raises_s3_error

from worker.s3.multipart import upload_id
from worker.s3.upload_listing import parse_parts, parse_uploads, parts_page, uploads_page

ONE, TWO, THREE, FIVE = (upload_id(now, bytes(18)) for now in (1, 2, 3, 5))
UPLOADS = [an_upload(*pair) for pair in (("a/1", TWO), ("a/1", FIVE), ("a/2", ONE), ("b", THREE))]


def _uploads(**params):
    query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in params.items())
    found = uploads_page(UPLOADS, parse_uploads(a_request("GET", f"/out?uploads&{query}")))
    return [(each.key, each.id) for each in found.uploads], list(found.prefixes), found


def test_uploads_of_one_key_are_paged_by_id():
    first, _, found = _uploads(max_uploads=1)
    second, _, _ = _uploads(key_marker=found.next_key, upload_id_marker=found.next_id)

    assert [("a/1", TWO)] == first
    assert [("a/1", FIVE), ("a/2", ONE), ("b", THREE)] == second
    assert found.truncated


def test_a_key_marker_without_an_id_skips_all_uploads_of_the_key():
    assert [("a/2", ONE), ("b", THREE)] == _uploads(key_marker="a/1")[0]


def test_uploads_below_a_delimiter_are_common_prefixes():
    below = [("a/1", TWO), ("a/1", FIVE), ("a/2", ONE)]

    assert ([("b", THREE)], ["a/"]) == _uploads(delimiter="/")[:2]
    assert (below, []) == _uploads(delimiter="/", prefix="a/")[:2]
    assert ([("b", THREE)], []) == _uploads(delimiter="/", key_marker="a/")[:2]


@pytest.mark.parametrize("markers", [{}, {"upload_id_marker": TWO}])
def test_a_key_marker_below_a_common_prefix_is_after_all_keys_of_the_prefix(markers):
    assert ([("b", THREE)], []) == _uploads(delimiter="/", key_marker="a/1", **markers)[:2]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({}, ("b", THREE), id="all uploads"),
        pytest.param({"key_marker": "a/2"}, ("b", THREE), id="the last one"),
        pytest.param({"key_marker": "b"}, ("", ""), id="no upload"),
        pytest.param({"delimiter": "/"}, ("b", THREE), id="an upload and a prefix"),
        pytest.param({"prefix": "a", "delimiter": "/"}, ("", ""), id="only a prefix"),
        pytest.param({"max_uploads": 2}, ("a/1", FIVE), id="the first page"),
        pytest.param({"max_uploads": 0}, ("", ""), id="an empty page"),
    ],
)
def test_the_next_markers_are_the_last_upload_of_every_page(params, expected):
    """Also of the last page, as recorded from S3."""
    found = _uploads(**params)[2]

    assert expected == (found.next_key, found.next_id)


@pytest.mark.parametrize(
    ("marker", "valid"),
    [
        pytest.param(TWO, True, id="an upload of the key"),
        pytest.param(THREE, False, id="an upload of another key"),
        pytest.param(upload_id(4, b"x" * 18), True, id="an upload that was aborted"),
        pytest.param("nonsense", False, id="not an upload id"),
    ],
)
def test_the_id_marker_is_an_upload_of_the_key_marker(marker, valid):
    if valid:
        assert _uploads(key_marker="a/1", upload_id_marker=marker)[0]
        return
    with raises_s3_error("InvalidArgument") as error:
        _uploads(key_marker="a/1", upload_id_marker=marker)

    assert "Invalid uploadId marker" == error().message
    assert {"ArgumentName": "upload-id-marker", "ArgumentValue": marker} == error().fields


def test_an_id_marker_without_a_key_marker_is_ignored():
    assert 4 == len(_uploads(upload_id_marker="nonsense")[0])


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


@pytest.mark.parametrize("name", ["part-number-marker", "max-parts"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", "Provided {} not an integer or within integer range"),
        ("-2", "Argument {} must be an integer between 0 and 2147483647"),
    ],
)
def test_an_invalid_number_of_a_part_is_rejected(name, value, message):
    with raises_s3_error("InvalidArgument") as error:
        parse_parts(a_request("GET", f"/out/k?uploadId=1&{name}={value}"))

    assert message.format(name) == error().message
    assert {"ArgumentName": name, "ArgumentValue": value} == error().fields


def test_a_negative_maximum_of_uploads_is_reported_before_an_invalid_marker():
    """The order of S3."""
    query = "max-uploads=-1&key-marker=k&upload-id-marker=none"
    with raises_s3_error("InvalidArgument") as error:
        parse_uploads(a_request("GET", f"/out?uploads&{query}"))

    assert {"ArgumentName": "max-uploads", "ArgumentValue": "-1"} == error().fields
