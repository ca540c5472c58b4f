"""Signature verification: published vectors, botocore as a second signer, and rejections."""

import datetime
from urllib.parse import urlsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st
from s3.protocol_builders import a_request, raises_s3_error, vectors

from worker.s3 import signing
from worker.s3.authentication import verify
from worker.s3.error_codes import S3Error
from worker.s3.request import parse
from worker.s3.signing import Credentials

V4, V2 = vectors("sigv4_requests"), vectors("sigv2_requests")
PAIR = Credentials(V4["access_key"], V4["secret_key"])
BOTO = BotoCredentials(V4["access_key"], V4["secret_key"])
HOST = "localhost:9000"


def _parsed(vector, *, buckets):
    return parse(
        vector["method"],
        vector["path"].encode(),
        vector["query"].encode(),
        [(name.encode(), value.encode()) for name, value in vector["headers"].items()],
        buckets=buckets,
    )


@pytest.mark.parametrize("vector", V4["requests"], ids=lambda vector: vector["name"])
def test_published_sigv4_examples_verify(vector):
    """From the S3 documentation."""
    request = _parsed(vector, buckets=["examplebucket"])

    assert V4["access_key"] == verify(request, PAIR, now=V4["now"]).access_key


@pytest.mark.parametrize("vector", V2["requests"], ids=lambda vector: vector["name"])
def test_published_sigv2_examples_verify(vector):
    """From the older S3 documentation."""
    request = _parsed(vector, buckets=["johnsmith"])

    assert V2["access_key"] == verify(request, PAIR, now=vector["now"]).access_key


def test_the_canonical_request_is_that_of_the_documentation():
    vector = V4["requests"][0]
    with raises_s3_error("SignatureDoesNotMatch") as error:
        verify(
            _parsed(vector, buckets=["examplebucket"]),
            Credentials(V4["access_key"], "another"),
            now=V4["now"],
        )

    assert vector["canonical"] == error().fields["CanonicalRequest"]


def _now():
    # botocore signs with the system clock.
    return datetime.datetime.now(datetime.UTC).timestamp()


def _signed_by_botocore(signer, method, url, headers=None, data=b""):
    """Return the parsed request that botocore sends."""
    sent = AWSRequest(method=method, url=url, headers=headers or {}, data=data)
    signer.add_auth(sent)
    prepared = sent.prepare()
    parts = urlsplit(prepared.url)
    wire = {"Host": parts.netloc, **dict(prepared.headers.items())}
    raw = [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in wire.items()
    ]
    return parse(
        method, parts.path.encode(), parts.query.encode(), raw, buckets=["out", "labresults"]
    )


KEYS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]),
    min_size=1,
    max_size=20,
)
PARAMS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="#&=+%"), min_size=1, max_size=8),
    KEYS,
    max_size=3,
)


@pytest.mark.parametrize("signer", [S3SigV4Auth, S3SigV4QueryAuth], ids=["header", "presigned"])
@settings(max_examples=50, deadline=None)
@given(key=KEYS, params=PARAMS)
def test_sigv4_of_botocore_verifies(signer, key, params):
    """For any key and query."""
    from botocore.utils import percent_encode, percent_encode_sequence

    url = f"http://{HOST}/out/{percent_encode(key, safe='/~')}"
    if params:
        url += f"?{percent_encode_sequence(params)}"

    request = _signed_by_botocore(signer(BOTO, "s3", "eu-central-1"), "GET", url)

    assert PAIR.access_key == verify(request, PAIR, now=_now()).access_key


@pytest.mark.parametrize("signer", [HmacV1Auth, HmacV1QueryAuth], ids=["header", "presigned"])
@pytest.mark.parametrize(
    "target",
    ["/out/a%20b", "/out?acl", "/out?uploads&prefix=a", "/out/k?partNumber=1&uploadId=x"],
)
def test_sigv2_of_botocore_verifies(signer, target):
    """In a header and in a presigned URL."""
    request = _signed_by_botocore(signer(BOTO), "GET", f"http://{HOST}{target}")

    assert PAIR.access_key == verify(request, PAIR, now=_now()).access_key


AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential={access}/{date}/US/{service}/{end}, "
    "SignedHeaders={headers}, Signature={signature}"
)
NOW = 1369353600


def _signed_headers(
    *,
    access=PAIR.access_key,
    date="20130524",
    service="s3",
    end="aws4_request",
    headers="host;x-amz-content-sha256;x-amz-date",
    signature="0" * 64,
    **more,
):
    text = AUTHORIZATION.format(
        access=access, date=date, service=service, end=end, headers=headers, signature=signature
    )
    return {
        "authorization": text,
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": signing.EMPTY_SHA256,
        **more,
    }


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "AccessDenied", id="unsigned"),
        pytest.param(_signed_headers(), "SignatureDoesNotMatch", id="wrong signature"),
        pytest.param(
            _signed_headers(signature="é"), "SignatureDoesNotMatch", id="signature not in hex"
        ),
        pytest.param(_signed_headers(access="ANOTHER"), "InvalidAccessKeyId", id="another key"),
        pytest.param(
            _signed_headers(date="today"),
            "AuthorizationHeaderMalformed",
            id="invalid date in the credential",
        ),
        pytest.param(
            _signed_headers(date="20130525"), "AuthorizationHeaderMalformed", id="another date"
        ),
        pytest.param(
            _signed_headers(service="ec2"), "AuthorizationHeaderMalformed", id="another service"
        ),
        pytest.param(
            _signed_headers(end="aws5"), "AuthorizationHeaderMalformed", id="another terminator"
        ),
        pytest.param(_signed_headers(access=""), "AuthorizationHeaderMalformed", id="no key"),
        pytest.param(
            _signed_headers(signature=""), "AuthorizationHeaderMalformed", id="no signature"
        ),
        pytest.param(_signed_headers(headers="x-amz-date"), "AccessDenied", id="host not signed"),
        pytest.param(
            _signed_headers(**{"x-amz-acl": "private"}), "AccessDenied", id="unsigned header"
        ),
        pytest.param(
            _signed_headers(**{"x-amz-date": "soon"}), "AccessDenied", id="invalid x-amz-date"
        ),
        pytest.param(
            _signed_headers(**{"x-amz-date": "20139924T000000Z"}), "AccessDenied", id="month 99"
        ),
        pytest.param(
            _signed_headers(**{"x-amz-date": "20130524T001501Z"}),
            "RequestTimeTooSkewed",
            id="too early",
        ),
        pytest.param(
            _signed_headers(date="20130523", **{"x-amz-date": "20130523T234459Z"}),
            "RequestTimeTooSkewed",
            id="too late",
        ),
        pytest.param(
            {"authorization": "AWS4-HMAC-SHA256 x"},
            "AuthorizationHeaderMalformed",
            id="no components",
        ),
        pytest.param(
            {"authorization": "AWS4-ECDSA-P256-SHA256 x"}, "InvalidRequest", id="another algorithm"
        ),
        pytest.param({"authorization": "Basic abc"}, "InvalidRequest", id="Basic"),
        pytest.param({"authorization": "AWS"}, "InvalidArgument", id="AWS without a key"),
        pytest.param({"authorization": "AWS key"}, "InvalidArgument", id="V2 without a signature"),
        pytest.param({"authorization": "AWS k:s"}, "AccessDenied", id="V2 without a date"),
        pytest.param(
            {"authorization": "AWS k:s", "date": "Fri, 24 May 2013 00:00:00 GMT"},
            "InvalidAccessKeyId",
            id="V2 of another key",
        ),
        pytest.param(
            {
                "authorization": f"AWS {PAIR.access_key}:s",
                "date": "Fri, 24 May 2013 00:00:00 GMT",
            },
            "SignatureDoesNotMatch",
            id="V2 wrong signature",
        ),
        pytest.param(
            {"authorization": "AWS k:s", "date": "Fri, 24 May 2013 01:00:00 GMT"},
            "RequestTimeTooSkewed",
            id="V2 too early",
        ),
    ],
)
def test_a_wrong_authorization_header_has_the_error_code_of_aws(headers, code):
    with raises_s3_error(code):
        verify(a_request("GET", "/out/k", headers), PAIR, now=NOW)


def _url(**changes):
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{PAIR.access_key}/20130524/eu/s3/aws4_request",
        "X-Amz-Date": "20130524T000000Z",
        "X-Amz-Expires": "86400",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "0" * 64,
        **{f"X-Amz-{name}": value for name, value in changes.items()},
    }
    return "/out/k?" + "&".join(f"{name}={value}" for name, value in parameters.items())


@pytest.mark.parametrize(
    ("target", "now", "code"),
    [
        pytest.param(_url(), NOW, "SignatureDoesNotMatch", id="wrong signature"),
        pytest.param(_url(), NOW + 86401, "AccessDenied", id="expired"),
        pytest.param(_url(), NOW - 901, "AccessDenied", id="not valid yet"),
        pytest.param(
            _url(Expires="604801"),
            NOW,
            "AuthorizationQueryParametersError",
            id="Expires of more than a week",
        ),
        pytest.param(
            _url(Expires="-1"), NOW, "AuthorizationQueryParametersError", id="negative Expires"
        ),
        pytest.param(
            _url(Expires="x"), NOW, "AuthorizationQueryParametersError", id="Expires not a number"
        ),
        pytest.param(
            _url(Expires=""), NOW, "AuthorizationQueryParametersError", id="empty Expires"
        ),
        pytest.param(
            _url(Algorithm="X"), NOW, "AuthorizationQueryParametersError", id="another algorithm"
        ),
        pytest.param(
            _url(Date="20130524"),
            NOW,
            "AuthorizationQueryParametersError",
            id="date without a time",
        ),
        pytest.param(
            _url(Date="20130525T000000Z"),
            NOW,
            "AuthorizationQueryParametersError",
            id="date other than the credential's",
        ),
        pytest.param(
            _url(Credential="x"),
            NOW,
            "AuthorizationQueryParametersError",
            id="malformed credential",
        ),
        pytest.param(
            _url(Credential="A/20130524/eu/ec2/aws4_request"),
            NOW,
            "AuthorizationQueryParametersError",
            id="another service",
        ),
        pytest.param(
            _url(Credential="A/20130524/eu/s3/aws4_request"),
            NOW,
            "InvalidAccessKeyId",
            id="another key",
        ),
        pytest.param(_url(SignedHeaders="range"), NOW, "AccessDenied", id="host not signed"),
        pytest.param(
            "/out/k?AWSAccessKeyId=a&Signature=b", NOW, "AccessDenied", id="V2 without Expires"
        ),
        pytest.param(
            f"/out/k?AWSAccessKeyId=a&Signature=b&Expires={NOW - 1}",
            NOW,
            "AccessDenied",
            id="V2 expired",
        ),
        pytest.param(
            f"/out/k?AWSAccessKeyId=a&Signature=b&Expires={NOW}",
            NOW,
            "InvalidAccessKeyId",
            id="V2 of another key",
        ),
    ],
)
def test_a_presigned_url_is_valid_only_in_its_time_and_for_its_key(target, now, code):
    with raises_s3_error(code):
        verify(a_request("GET", target), PAIR, now=now)


def test_a_request_with_two_signatures_is_rejected():
    with raises_s3_error("InvalidArgument"):
        verify(a_request("GET", _url(), _signed_headers()), PAIR, now=NOW)


def _signed_in_another_form(*, host, path="/out/k", sent_host=None, sent_path=None):
    request = a_request("GET", path, {**_signed_headers(), "host": host})
    claim = signing.Claim(
        signing.Scope(PAIR.access_key, "20130524", "US", "s3", "aws4_request"),
        "20130524T000000Z",
        ("host", "x-amz-content-sha256", "x-amz-date"),
        "",
        signing.EMPTY_SHA256,
    )
    canonical = signing.canonical_request(request, claim, path=sent_path)
    key = signing.signing_key(PAIR.secret_key, "20130524", "US", "s3")
    signature = signing.sign(key, signing.string_to_sign(claim, canonical))
    return a_request(
        "GET", path, {**_signed_headers(signature=signature), "host": sent_host or host}
    )


def test_the_host_may_be_signed_without_its_port():
    """Some clients sign the name of the host, and send it with its port."""
    request = _signed_in_another_form(host="gateway", sent_host="gateway:9000")

    assert PAIR.access_key == verify(request, PAIR, now=NOW).access_key


def test_the_path_may_be_signed_as_it_was_sent():
    """Some clients do not encode it for the canonical request."""
    request = _signed_in_another_form(host="h", path="/out/a!b", sent_path="/out/a!b")

    assert PAIR.access_key == verify(request, PAIR, now=NOW).access_key


def test_an_error_contains_the_provided_signature_but_no_secret():
    """Neither the secret key nor the correct signature, beside what they are computed from."""
    correct = _signed_headers()["authorization"].rpartition("=")[2]
    with raises_s3_error("SignatureDoesNotMatch") as error:
        verify(a_request("GET", "/out/k", _signed_headers(signature="ab" * 32)), PAIR, now=NOW)

    text = " ".join(error().fields.values())
    assert "ab" * 32 == error().fields["SignatureProvided"]
    assert correct not in text
    assert PAIR.secret_key not in text
    assert PAIR.secret_key not in repr(PAIR)


@settings(max_examples=200)
@given(
    authorization=st.one_of(
        st.text(st.characters(codec="latin-1"), max_size=60),
        st.builds("AWS4-HMAC-SHA256 {}".format, st.text(st.characters(codec="latin-1"))),
        st.builds(
            lambda *parts: AUTHORIZATION.format(
                access=parts[0],
                date=parts[1],
                service="s3",
                end="aws4_request",
                headers=parts[2],
                signature=parts[3],
            ),
            *[st.sampled_from([PAIR.access_key, "20130524", "host;x-amz-date", "é", "\u00ff/", ""])]
            * 4,
        ),
    ),
    query=st.sampled_from(["", "X-Amz-Signature=é", "AWSAccessKeyId=ü&Signature=ÿ&Expires=9"]),
)
def test_verification_raises_only_s3_errors(authorization, query):
    """For any header values."""
    headers = {**_signed_headers(), "authorization": authorization}
    with pytest.raises(S3Error):
        verify(a_request("GET", f"/out/k?{query}", headers), PAIR, now=NOW)
