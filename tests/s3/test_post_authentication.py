"""Signatures of forms, with the published example of AWS, and pages that may submit one."""

import base64
import hashlib
import hmac

import pytest
from s3.form_builders import NOW, a_form
from s3.protocol_builders import raises_s3_error

from worker.s3.post_authentication import verify_form
from worker.s3.post_policy import parse_policy
from worker.s3.signing import Credentials

PAIR = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
# "Example: Browser-Based Upload using HTTP POST" of the S3 API reference.
LINES = """\
{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}"""
POLICY = base64.b64encode(LINES.replace("\n", "\r\n").encode()).decode()
V4 = {
    "Policy": POLICY,
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
    "X-Amz-Date": "20151229T000000Z",
    "X-Amz-Signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
}
V2 = {
    "policy": POLICY,
    "AWSAccessKeyId": PAIR.access_key,
    "signature": base64.b64encode(
        hmac.digest(PAIR.secret_key.encode(), POLICY.encode(), hashlib.sha1)
    ).decode(),
}


def verify(fields, **changes):
    """Verify a form with some fields changed; None removes one."""
    changed = {**fields, **changes}
    verify_form(
        a_form({name: value for name, value in changed.items() if value is not None}),
        PAIR,
        now=NOW,
    )


def test_the_example_of_aws_is_valid():
    verify(V4)

    assert 11 == len(parse_policy(POLICY).conditions)


def test_a_signature_of_version_2_is_valid():
    verify(V2)


@pytest.mark.parametrize(
    ("fields", "missing", "named"),
    [
        *((V4, name, name) for name in V4 if name != "Policy"),
        (V2, "AWSAccessKeyId", "AWSAccessKeyId"),
        (V2, "signature", "Signature"),
    ],
)
def test_a_missing_field_is_named(fields, missing, named):
    """Recorded from S3, with its two spaces and the empty value."""
    with raises_s3_error("InvalidArgument") as error:
        verify(fields, **{missing: None})

    message = (
        f"Bucket POST must contain a field named '{named}'.  If it is specified, please check the "
        "order of the fields."
    )
    assert (message, {"ArgumentName": named, "ArgumentValue": ""}) == (
        error().message,
        error().fields,
    )


def test_the_algorithm_is_missed_before_the_credential():
    with raises_s3_error("InvalidArgument") as error:
        verify(V4, **{"X-Amz-Algorithm": None, "X-Amz-Credential": None})

    assert "X-Amz-Algorithm" == error().fields["ArgumentName"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"policy": POLICY}, id="policy alone"),
        pytest.param({**V4, "Policy": None}, id="no policy, version 4"),
        pytest.param({**V2, "policy": None}, id="no policy, version 2"),
        pytest.param({"policy": POLICY, "x-amz-date": "20151229T000000Z"}, id="date alone"),
    ],
)
def test_an_anonymous_form_is_denied(fields):
    with raises_s3_error("AccessDenied"):
        verify(fields)


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        pytest.param(V4, {"Policy": POLICY[:-2]}, id="policy, version 4"),
        pytest.param(V2, {"policy": POLICY[:-2]}, id="policy, version 2"),
        pytest.param(V4, {"X-Amz-Signature": "0" * 64}, id="signature, version 4"),
        pytest.param(V4, {"X-Amz-Signature": ""}, id="empty signature, version 4"),
        pytest.param(V4, {"X-Amz-Signature": "ü"}, id="signature that is not ASCII"),
        pytest.param(V2, {"signature": "0" * 28}, id="signature, version 2"),
        pytest.param(
            V4,
            {"X-Amz-Credential": "AKIAIOSFODNN7EXAMPLE/20151228/us-east-1/s3/aws4_request"},
            id="day",
        ),
        pytest.param(
            V4,
            {"X-Amz-Credential": "AKIAIOSFODNN7EXAMPLE/20151229/eu-west-1/s3/aws4_request"},
            id="region",
        ),
    ],
)
def test_a_wrong_signature_is_rejected_before_the_policy_is_read(fields, changes):
    """The string to sign is the policy as sent (recorded from S3)."""
    with raises_s3_error("SignatureDoesNotMatch") as error:
        verify(fields, **changes)

    sent = {name.lower(): value for name, value in {**fields, **changes}.items()}
    assert {
        "AWSAccessKeyId": PAIR.access_key,
        "StringToSign": sent["policy"],
        "SignatureProvided": sent.get("x-amz-signature", sent.get("signature")),
        "StringToSignBytes": sent["policy"].encode().hex(" "),
    } == error().fields


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA1", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"'),
        (
            "X-Amz-Credential",
            "/20151229/us-east-1/s3/aws4_request",
            "a non-empty Access Key (AKID) must be provided in the credential.",
        ),
        (
            "X-Amz-Credential",
            "AKIA",
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/'
            'aws4_request".',
        ),
        (
            "X-Amz-Credential",
            "AKIA/20151229/us-east-1/ec2/aws4_request",
            'incorrect service "ec2". This endpoint belongs to "s3".',
        ),
        ("X-Amz-Date", "2015-12-29", "X-Amz-Date must be formated via ISO8601 Long format"),
    ],
)
def test_an_invalid_field_is_an_invalid_argument(name, value, message):
    with raises_s3_error("InvalidArgument") as error:
        verify(V4, **{name: value})

    assert (message, {"ArgumentName": name, "ArgumentValue": value}) == (
        error().message,
        error().fields,
    )


def test_another_access_key_is_unknown():
    for fields, changes in (
        (V4, {"X-Amz-Credential": V4["X-Amz-Credential"].replace("AKIA", "AKIB")}),
        (V2, {"AWSAccessKeyId": "foo"}),
    ):
        with raises_s3_error("InvalidAccessKeyId"):
            verify(fields, **changes)


def test_a_signature_is_valid_for_seven_days():
    """As S3 documents, whatever the policy says."""
    day = 24 * 3600
    signed = 1451347200  # 20151229T000000Z

    verify_form(a_form(V4), PAIR, now=signed + 7 * day)
    with raises_s3_error("AccessDenied") as error:
        verify_form(a_form(V4), PAIR, now=signed + 7 * day + 1)

    assert "Invalid according to Policy: Policy expired." == error().message
