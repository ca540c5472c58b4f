"""Conditional requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.protocol_builders import raises_s3_error

from worker.s3.conditions import (
    NONE,
    Conditions,
    Verdict,
    check_copy,
    check_read,
    check_write,
    copy_conditions,
    delete_conditions,
    etags,
    parse_date,
    read_conditions,
    write_conditions,
)

ETAG = "d41d8cd98f00b204e9800998ecf8427e"
MODIFIED = 1_700_000_000_500
AT = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE = "Tue, 14 Nov 2023 22:13:19 GMT"
NOW = 1_700_000_100.0
TOMORROW = "Wed, 15 Nov 2023 22:13:20 GMT"
OTHER = '"0123"'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(f'"{ETAG}"', (ETAG,), id="quoted"),
        pytest.param(ETAG, (ETAG,), id="unquoted"),
        pytest.param(f'"a", {ETAG} ,W/"b"', ("a", ETAG, "b"), id="list"),
        pytest.param("*", ("*",), id="any"),
        pytest.param('"a,b"', ("a,b",), id="comma inside quotes"),
        pytest.param("", (), id="empty"),
    ],
)
def test_entity_tags_are_parsed(value, expected):
    """In lists or alone, quoted or not."""
    assert expected == etags(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(AT, 1_700_000_000, id="IMF-fixdate"),
        pytest.param("Tuesday, 14-Nov-23 22:13:20 GMT", 1_700_000_000, id="RFC 850"),
        pytest.param("Tue Nov 14 22:13:20 2023", 1_700_000_000, id="asctime"),
        pytest.param("Tue, 14 Nov 2023 23:13:20 +0100", 1_700_000_000, id="other time zone"),
        pytest.param("2023-11-14T22:13:20Z", 1_700_000_000, id="ISO 8601"),
        pytest.param("32 Jan 2023 00:00:00 GMT", None, id="32 January"),
        pytest.param("yesterday", None, id="not a date"),
        pytest.param("", None, id="empty"),
    ],
)
def test_http_and_iso_8601_dates_are_parsed(value, expected):
    """Everything else is None."""
    assert expected == parse_date(value)


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_none(value):
    assert parse_date(value) is None or isinstance(parse_date(value), int)


def _read(**headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return check_read(read_conditions(named, now=NOW), etag=ETAG, modified=MODIFIED)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"if_match": ETAG}, id="If-Match"),
        pytest.param({"if_match": "*"}, id="If-Match *"),
        pytest.param({"if_none_match": OTHER}, id="If-None-Match of another ETag"),
        pytest.param({"if_modified_since": BEFORE}, id="modified after If-Modified-Since"),
        pytest.param(
            {"if_unmodified_since": AT}, id="modified in the second of If-Unmodified-Since"
        ),
        pytest.param({"if_modified_since": "never"}, id="not a date"),
        pytest.param({"if_modified_since": TOMORROW}, id="If-Modified-Since in the future"),
        pytest.param(
            {"if_match": ETAG, "if_unmodified_since": BEFORE},
            id="If-Match over If-Unmodified-Since",
        ),
        pytest.param(
            {"if_none_match": OTHER, "if_modified_since": AT},
            id="If-None-Match over If-Modified-Since",
        ),
    ],
)
def test_a_read_whose_conditions_hold_proceeds(headers):
    """A condition of lower precedence is not evaluated."""
    assert Verdict.PROCEED is _read(**headers)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"if_none_match": f'"{ETAG}"'}, id="If-None-Match"),
        pytest.param({"if_none_match": "*"}, id="If-None-Match *"),
        pytest.param({"if_modified_since": AT}, id="If-Modified-Since"),
        pytest.param(
            {"if_none_match": ETAG, "if_modified_since": BEFORE},
            id="If-None-Match with an earlier date",
        ),
        pytest.param({"if_match": ETAG, "if_none_match": ETAG}, id="If-Match and If-None-Match"),
    ],
)
def test_an_unmodified_object_is_not_modified(headers):
    assert Verdict.NOT_MODIFIED is _read(**headers)


@pytest.mark.parametrize(
    ("headers", "condition"),
    [
        ({"if_match": OTHER}, "If-Match"),
        ({"if_match": ""}, "If-Match"),
        ({"if_unmodified_since": BEFORE}, "If-Unmodified-Since"),
        ({"if_match": OTHER, "if_none_match": ETAG}, "If-Match"),
    ],
)
def test_a_read_whose_condition_fails_names_the_condition(headers, condition):
    with raises_s3_error("PreconditionFailed") as error:
        _read(**headers)

    assert {"Condition": condition} == error().fields


@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [
        ("If-Match", ETAG, True),
        ("If-Match", OTHER, False),
        ("If-None-Match", ETAG, False),
        ("If-None-Match", OTHER, True),
        ("If-Modified-Since", AT, False),
        ("If-Modified-Since", BEFORE, True),
        ("If-Modified-Since", TOMORROW, True),
        ("If-Unmodified-Since", AT, True),
        ("If-Unmodified-Since", BEFORE, False),
    ],
)
def test_a_copy_evaluates_the_conditions_on_its_source(name, value, holds):
    header = f"x-amz-copy-source-{name}"
    conditions = copy_conditions({header.lower(): value}, now=NOW)
    if holds:
        check_copy(conditions, etag=ETAG, modified=MODIFIED)
        return

    with raises_s3_error("PreconditionFailed") as error:
        check_copy(conditions, etag=ETAG, modified=MODIFIED)
    assert {"Condition": header} == error().fields


@pytest.mark.parametrize(
    ("headers", "current_etag"),
    [
        ({}, None),
        ({}, ETAG),
        ({"if-none-match": "*"}, None),
        ({"if-match": f'"{ETAG}"'}, ETAG),
    ],
)
def test_a_write_whose_conditions_hold_proceeds(headers, current_etag):
    check_write(write_conditions(headers), current_etag, key="k")


@pytest.mark.parametrize(
    ("headers", "current_etag", "code"),
    [
        pytest.param(
            {"if-none-match": "*"},
            ETAG,
            "PreconditionFailed",
            id="If-None-Match of an existing object",
        ),
        pytest.param(
            {"if-match": ETAG}, "0123", "PreconditionFailed", id="If-Match of another ETag"
        ),
        pytest.param({"if-match": ETAG}, None, "NoSuchKey", id="If-Match of a missing object"),
        pytest.param({"if-match": "*"}, None, "NotImplemented", id="If-Match *"),
        pytest.param(
            {"if-none-match": ETAG}, None, "NotImplemented", id="If-None-Match with an ETag"
        ),
        pytest.param(
            {"if-none-match": "*", "if-match": ETAG},
            None,
            "NotImplemented",
            id="If-None-Match and If-Match",
        ),
    ],
)
def test_a_write_whose_condition_fails_is_rejected(headers, current_etag, code):
    with raises_s3_error(code):
        check_write(write_conditions(headers), current_etag, key="k")


def _delete(headers, *, present=True):
    check_write(delete_conditions(headers), ETAG if present else None, key="k")


@pytest.mark.parametrize(
    ("headers", "present"),
    [
        ({}, True),
        ({}, False),
        ({"if-match": ETAG}, True),
        ({"if-match": "*"}, True),
    ],
)
def test_a_delete_whose_conditions_hold_proceeds(headers, present):
    """Without conditions, of a missing object too."""
    _delete(headers, present=present)


@pytest.mark.parametrize(
    ("headers", "present", "code"),
    [
        ({"if-match": OTHER}, True, "PreconditionFailed"),
        ({"if-match": ETAG}, False, "NoSuchKey"),
        ({"x-amz-if-match-size": "5"}, True, "NotImplemented"),
        ({"x-amz-if-match-last-modified-time": AT}, True, "NotImplemented"),
    ],
)
def test_a_delete_whose_condition_fails_is_rejected(headers, present, code):
    with raises_s3_error(code):
        _delete(headers, present=present)


def test_requests_without_conditions_share_one_value():
    """Most requests have none."""
    assert read_conditions({}, now=NOW) is NONE
    assert Conditions() == NONE


def test_the_conditions_of_directory_buckets_are_named_in_the_order_of_s3():
    headers = {"x-amz-if-match-size": "1", "x-amz-if-match-last-modified-time": "x"}
    with raises_s3_error("NotImplemented") as error:
        delete_conditions(headers)

    assert {"Header": "x-amz-if-match-last-modified-time"} == error().fields
