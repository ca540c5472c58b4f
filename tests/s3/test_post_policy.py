"""The policy of a form upload: the document, its conditions, and what it covers.

Messages are those of S3, recorded by LocalStack in 2026 or quoted by users.
"""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.form_builders import FUTURE, NOW, a_form, a_policy, encoded
from s3.protocol_builders import raises_s3_error

from worker.s3.error_codes import S3Error
from worker.s3.post_policy import Sizes, check_policy, check_size, parse_policy

KEY = {"key": "a"}
REDIRECT = "http://localhost.test/random"


def check(*conditions, fields=KEY, signed_v4=True, now=NOW):
    """Check a form against conditions; return the sizes that are permitted."""
    return check_policy(
        parse_policy(a_policy(*conditions)),
        a_form(fields),
        bucket="out",
        signed_v4=signed_v4,
        now=now,
    )


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        pytest.param([{"key": "a"}], KEY, id="simple"),
        pytest.param([["eq", "$key", "a"]], KEY, id="eq"),
        pytest.param([["starts-with", "$key", "us"]], {"key": "user/a"}, id="starts-with"),
        pytest.param([["starts-with", "$key", ""]], KEY, id="any value"),
        pytest.param([["StArTs-WiTh", "$KeY", "a"]], {"kEy": "a"}, id="case"),
        pytest.param([{"key": "a"}, {"bucket": "out"}], {**KEY, "bucket": "out"}, id="bucket"),
        pytest.param([{"bucket": "out"}, ["starts-with", "$key", ""]], KEY, id="no bucket field"),
        pytest.param([{"key": "a"}, ["starts-with", "$key", ""]], KEY, id="two for one field"),
        pytest.param([KEY], {**KEY, "x-ignore-a": "x", "X-Ignore-B": "y"}, id="x-ignore-"),
        pytest.param([KEY], {**KEY, "policy": "x", "x-amz-signature": "y"}, id="signature"),
        pytest.param(
            [KEY, ["starts-with", "$Content-Type", "image/"]],
            {**KEY, "content-type": "image/jpg,image/png, image/gif"},
            id="list of content types",
        ),
        pytest.param(
            [KEY, ["starts-with", "$x-amz-meta-a", "image/"]],
            {**KEY, "x-amz-meta-a": "image/jpg,text/plain"},
            id="commas of other fields",
        ),
    ],
)
def test_a_form_that_meets_its_policy_is_accepted(conditions, fields):
    assert Sizes() == check(*conditions, fields=fields)


@pytest.mark.parametrize(
    ("condition", "shown", "fields"),
    [
        pytest.param({"key": "b"}, '["eq", "$key", "b"]', KEY, id="simple"),
        pytest.param(["eq", "$key", "A"], '["eq", "$key", "A"]', KEY, id="case of a value"),
        pytest.param(["eq", "$key", "a"], '["eq", "$key", "a"]', {"key": "ab"}, id="longer value"),
        pytest.param(["eq", "key", "a"], '["eq", "key", "a"]', KEY, id="without $"),
        pytest.param(["starts-with", "$key", "b"], '["starts-with", "$key", "b"]', KEY, id="start"),
        pytest.param(["eq", "$key", 5], '["eq", "$key", 5]', KEY, id="number"),
        pytest.param(["eq", ["$key"], "a"], '["eq", ["$key"], "a"]', KEY, id="name is a list"),
        pytest.param(
            ["starts-with", "$Content-Type", ""],
            '["starts-with", "$Content-Type", ""]',
            KEY,
            id="field is absent",
        ),
        pytest.param(
            ["starts-with", "$Content-Type", "image/"],
            '["starts-with", "$Content-Type", "image/"]',
            {**KEY, "content-type": "image/jpg,text/plain"},
            id="one of a list",
        ),
        pytest.param({"bucket": "b"}, '["eq", "$bucket", "b"]', KEY, id="bucket of the request"),
        pytest.param(
            {"bucket": "b"},
            '["eq", "$bucket", "b"]',
            {**KEY, "bucket": "b"},
            id="bucket of a field",
        ),
        pytest.param(
            ["content-length-range", "test", "10"],
            '["content-length-range", "test", "10"]',
            KEY,
            id="size",
        ),
        pytest.param(
            ["eq", "$success_action_redirect", REDIRECT],
            f'["eq", "$success_action_redirect", "{REDIRECT}"]',
            {**KEY, "success_action_redirect": "http://wrong.location/test"},
            id="redirect",
        ),
        pytest.param(
            ["eq", "$Content-Disposition", 'filename="ü"'],
            '["eq", "$Content-Disposition", "filename=\\"ü\\""]',
            KEY,
            id="quotes",
        ),
    ],
)
def test_a_failed_condition_is_shown(condition, shown, fields):
    """Recorded from S3: as the policy has it, a simple one as ``eq``."""
    with raises_s3_error("AccessDenied") as error:
        check(condition, ["starts-with", "$key", ""], fields=fields)

    assert f"Invalid according to Policy: Policy Condition failed: {shown}" == error().message


@pytest.mark.parametrize(
    ("extra", "signed_v4"),
    [
        ("StorageClass", True),
        ("bucket", True),
        ("Content-Type", True),
        ("x-amz-checksum-crc32", True),
        ("AWSAccessKeyId", True),
        ("x-amz-signature", False),
    ],
)
def test_a_field_without_a_condition_is_named_as_sent(extra, signed_v4):
    with raises_s3_error("AccessDenied") as error:
        check(KEY, fields={**KEY, extra: "out", "another": "x"}, signed_v4=signed_v4)

    assert f"Invalid according to Policy: Extra input fields: {extra}" == error().message


def test_the_fields_of_signature_version_2_need_no_condition():
    fields = {**KEY, "AWSAccessKeyId": "a", "signature": "s", "policy": "p"}

    assert Sizes() == check(KEY, fields=fields, signed_v4=False)


@pytest.mark.parametrize(
    ("expiration", "expired"),
    [
        (FUTURE, False),
        ("2015-12-29T12:00:01Z", False),
        ("2015-12-29T12:00:00.001Z", False),
        ("2015-12-29T11:59:59.999Z", True),
        ("1970-01-01T00:00:00Z", True),
    ],
)
def test_a_policy_expires(expiration, expired):
    policy = parse_policy(a_policy(KEY, expiration=expiration))
    form = a_form(KEY)

    if not expired:
        check_policy(policy, form, bucket="out", signed_v4=True, now=NOW)
        return
    with raises_s3_error("AccessDenied") as error:
        check_policy(policy, form, bucket="out", signed_v4=True, now=NOW)
    assert "Invalid according to Policy: Policy expired." == error().message


SIMPLE = "Invalid Simple-Condition: "
ONE = f"{SIMPLE}Simple-Conditions must have exactly one property specified."
STRING = f"{SIMPLE}value must be a string."


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        pytest.param("", "Invalid JSON.", id="empty"),
        pytest.param("{", "Invalid JSON.", id="not JSON"),
        pytest.param([], "Invalid JSON.", id="no object"),
        pytest.param("[" * 15_000, "Invalid JSON.", id="nesting"),
        pytest.param('{"expiration": NaN, "conditions": []}', "Invalid JSON.", id="NaN"),
        pytest.param("1" * 5000, "Invalid JSON.", id="a long number"),
        pytest.param({"conditions": []}, "Policy missing expiration.", id="no expiration"),
        pytest.param({"expiration": FUTURE}, "Policy missing conditions.", id="no conditions"),
        pytest.param(
            {"Statement": [], "expiration": FUTURE, "conditions": []},
            "Unexpected: 'statement'",
            id="unknown member",
        ),
        pytest.param(
            {"EXPIRATION": FUTURE, "conditions": []}, "Unexpected: 'expiration'", id="case"
        ),
        pytest.param(
            {"expiration": FUTURE, "conditions": {}},
            "Invalid 'conditions' value: must be a List.",
            id="conditions",
        ),
        *(
            pytest.param(
                {"expiration": value, "conditions": []},
                f"Invalid 'expiration' value: '{value}'",
                id=f"expiration {value}",
            )
            for value in (
                "2011-09-13T07:52:58+02:00",
                "2011-09-13T07:52:58",
                "2015-10-17 03:15:59 UTC",
                "2015-10-17",
                "2015-02-30T00:00:00Z",
                "2015-02-10T25:00:00Z",
                "",
                5,
            )
        ),
        *(
            pytest.param({"expiration": FUTURE, "conditions": [condition]}, reason, id=name)
            for name, condition, reason in (
                ("no property", {}, ONE),
                ("two properties", {"bucket": "out", "key": "a"}, ONE),
                ("number", {"Content-Length": 6199034}, STRING),
                ("list", {"key": ["a"]}, STRING),
                ("null", {"success_action_redirect": None}, "Invalid JSON."),
                ("fraction", ["content-length-range", 0, 512.0], "Invalid JSON."),
                (
                    "negative size",
                    ["content-length-range", -1, 0],
                    "Token - must be enclosed in quotes.",
                ),
                (
                    "size without an end",
                    ["content-length-range", 0],
                    "Invalid content-length-range: wrong number of arguments.",
                ),
                ("eq of one", ["eq", "$key"], "Invalid eq: wrong number of arguments."),
                ("empty list", [], "Invalid Condition: missing operation identifier."),
                ("no operation", [1, 2, 3], "Invalid Condition: missing operation identifier."),
                (
                    "unknown operation",
                    ["ends-with", "$key", "a"],
                    "Invalid Condition: unknown operation 'ends-with'.",
                ),
                ("text", "key", "Invalid condition test: must be a List or Object."),
            )
        ),
    ],
)
def test_an_invalid_document_is_rejected(document, reason):
    with raises_s3_error("InvalidPolicyDocument") as error:
        parse_policy(encoded(document))

    assert (400, f"Invalid Policy: {reason}") == (error().status, error().message)


@pytest.mark.parametrize("sent", ["no base64!", "e30", "/+8=", "ü"])
def test_a_policy_that_is_no_base64_or_no_utf_8_is_rejected(sent):
    with raises_s3_error("InvalidPolicyDocument"):
        parse_policy(sent)


def test_a_name_occurs_once():
    """Otherwise two readers could understand one policy in two ways."""
    with raises_s3_error("InvalidPolicyDocument"):
        parse_policy(
            encoded(f'{{"expiration": "{FUTURE}", "conditions": [{{"key":"a","key":"b"}}]}}')
        )


def test_base64_may_be_divided_into_lines():
    policy = a_policy(KEY)

    assert parse_policy(policy) == parse_policy(f"{policy[:20]}\r\n{policy[20:]}\n")


def test_the_escapes_of_the_policy_language_are_accepted():
    r"""``\$`` and ``\v`` are documented, and no JSON; ``\\$`` is a backslash and a dollar."""
    text = f'{{"expiration": "{FUTURE}", "conditions": [{{"key": "%s"}}]}}'

    for written, meant in ((r"\$a\v\t\"", '$a\v\t"'), (r"\\$foo", r"\$foo")):
        [condition] = parse_policy(encoded(text % written)).conditions
        assert ("$key", meant) == condition.operands


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], Sizes()),
        ([(5, 10)], Sizes(5, 10)),
        ([("5", "10")], Sizes(5, 10)),
        ([(5, 10), (0, 8)], Sizes(5, 8)),
    ],
)
def test_sizes_are_those_that_all_ranges_permit(ranges, expected):
    conditions = [["content-length-range", low, high] for low, high in ranges]

    assert expected == check(KEY, *conditions)


@pytest.mark.parametrize(
    ("size", "code", "fields"),
    [
        (12, "EntityTooLarge", {"ProposedSize": "12", "MaxSizeAllowed": "10"}),
        (1, "EntityTooSmall", {"ProposedSize": "1", "MinSizeAllowed": "5"}),
    ],
)
def test_a_size_outside_the_range_is_rejected(size, code, fields):
    """Recorded from S3."""
    with raises_s3_error(code) as error:
        check_size(Sizes(5, 10), size)

    assert (400, fields) == (error().status, error().fields)


@pytest.mark.parametrize("size", [5, 10])
def test_the_bounds_of_a_range_are_inclusive(size):
    check_size(Sizes(5, 10), size)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["eq", "starts-with", "content-length-range", "$key", "$a", FUTURE]),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(st.sampled_from(["key", "a", "expiration", "conditions"]), children),
)  # fmt: skip


@given(st.lists(VALUES, max_size=4) | VALUES, VALUES | st.just(FUTURE))
def test_any_policy_is_checked_or_an_s3_error(conditions, expiration):
    """No other error; and none is accepted that does not name the key."""
    with suppress(S3Error):
        policy = parse_policy(encoded({"expiration": expiration, "conditions": conditions}))
        check_policy(policy, a_form(KEY), bucket="out", signed_v4=True, now=NOW)
        assert any(each.operator != "content-length-range" for each in policy.conditions)
