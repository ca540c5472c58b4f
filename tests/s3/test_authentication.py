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
@settings(max_examples=50)
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
    [
        "/out/a%20b",
        "/out?uploads&prefix=a",
        "/out/k?partNumber=1&uploadId=x",
        "/out/k?response-cache-control=%E2%80%94_%C3%A9",
        *(f"/out?{name}" for name in sorted(set(HmacV1Auth.QSAOfInterest))),
    ],
)
def test_sigv2_of_botocore_verifies(signer, target):
    """In a header and in a presigned URL."""
    request = _signed_by_botocore(signer(BOTO), "GET", f"http://{HOST}{target}")

    assert PAIR.access_key == verify(request, PAIR, now=_now()).access_key


@pytest.mark.parametrize("path", ["/out", "/out/"])
def test_the_bucket_of_a_sigv2_resource_may_end_in_a_slash(path):
    """The client of boto3 signs it so, and sends none."""
    sent = AWSRequest(method="GET", url=f"http://{HOST}/out?uploads", headers={}, auth_path=path)
    HmacV1Auth(BOTO).add_auth(sent)
    request = a_request("GET", "/out?uploads", dict(sent.headers.items()))

    assert PAIR.access_key == verify(request, PAIR, now=_now()).access_key


@pytest.mark.parametrize(
    "signer", [S3SigV4Auth(BOTO, "s3", "eu-central-1"), HmacV1Auth(BOTO)], ids=["sigv4", "sigv2"]
)
@pytest.mark.parametrize("value", ["voilà Å", "a  b"])
def test_signed_headers_may_have_any_text(signer, value):
    """Also where a character ends in a byte that is white space in Latin-1, as à and Å do."""
    headers = {"x-amz-meta-name": value}
    request = _signed_by_botocore(signer, "PUT", f"http://{HOST}/out/k", headers)

    assert PAIR.access_key == verify(request, PAIR, now=_now()).access_key


@pytest.mark.parametrize(
    "signer", [S3SigV4Auth(BOTO, "s3", "eu-central-1"), HmacV1Auth(BOTO)], ids=["sigv4", "sigv2"]
)
def test_an_error_shows_what_was_signed_as_utf8(signer):
    """The texts, and their bytes."""
    headers = {"x-amz-meta-name": "Zoë"}
    request = _signed_by_botocore(signer, "PUT", f"http://{HOST}/out/k?tagging=é", headers)
    with raises_s3_error("SignatureDoesNotMatch") as error:
        verify(request, Credentials(PAIR.access_key, "another"), now=_now())

    shown = error().fields
    text = "CanonicalRequest" if "CanonicalRequest" in shown else "StringToSign"
    assert "x-amz-meta-name:Zoë" in shown[text]
    assert shown[text].encode() == bytes.fromhex(shown[f"{text}Bytes"])


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
            _signed_headers(authorization="AWS4-HMAC-SHA256 x"),
            "AuthorizationHeaderMalformed",
            id="no components",
        ),
        pytest.param(
            {"authorization": "AWS4-HMAC-SHA256 x"}, "AccessDenied", id="V4 without a date"
        ),
        pytest.param(
            {"authorization": "AWS4-ECDSA-P256-SHA256 x"}, "InvalidArgument", id="another algorithm"
        ),
        pytest.param({"authorization": "Basic abc"}, "InvalidArgument", id="Basic"),
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


_FORM = (
    'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
)
_SCOPES = [
    pytest.param("AK/20130524/us-east-1/s3/extra/things", _FORM, id="six parts"),
    pytest.param("AK/20130524/s3/aws4_request", _FORM, id="four parts"),
    pytest.param(
        "AK/32234/us-east-1/ec2/aws5",
        'incorrect service "ec2". This endpoint belongs to "s3".',
        id="service",
    ),
    pytest.param(
        "AK/32234/us-east-1/s3/aws5",
        'incorrect terminal "aws5". This endpoint uses "aws4_request".',
        id="terminal",
    ),
    *(
        pytest.param(
            f"AK/{date}/us-east-1/s3/aws4_request",
            f'incorrect date format "{date}". This date in the credential must be in the format '
            '"yyyyMMdd".',
            id=f"date {date}",
        )
        for date in ("3223423234", "32234Z34", "20131301")
    ),
]


@pytest.mark.parametrize(("credential", "message"), _SCOPES)
def test_a_malformed_credential_is_described_as_by_aws(credential, message):
    """In a header and in a URL; the first fault in the order of AWS."""
    text = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature={'0' * 64}"
    with raises_s3_error("AuthorizationHeaderMalformed") as error:
        verify(a_request("GET", "/out/k", _signed_headers(authorization=text)), PAIR, now=NOW)
    assert f"The authorization header is malformed; {message}" == error().message

    with raises_s3_error("AuthorizationQueryParametersError") as error:
        verify(a_request("GET", _url(Credential=credential)), PAIR, now=NOW)
    assert f"Error parsing the X-Amz-Credential parameter; {message}" == error().message


CREDENTIAL = f"Credential={PAIR.access_key}/20130524/us-east-1/s3/aws4_request"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            f"{CREDENTIAL},Signature=0",
            "the authorization header requires three components: Credential, SignedHeaders, and "
            "Signature.",
            id="two components",
        ),
        pytest.param(
            f"{CREDENTIAL},SignedHeaders-Content-Length,Signature=0",
            'the authorization component "SignedHeaders-Content-Length" is malformed.',
            id="no equals sign",
        ),
        pytest.param(
            f"{CREDENTIAL},SignedHeaders=a=b,Signature=0",
            'the authorization component "SignedHeaders=a=b" is malformed.',
            id="two equals signs",
        ),
        pytest.param(
            "missing=a,SignedHeaders=host,Signature=0", "missing Credential.", id="no credential"
        ),
        pytest.param(
            f"{CREDENTIAL},missing=host,Signature=0", "missing SignedHeaders.", id="no headers"
        ),
        pytest.param(
            f"{CREDENTIAL},SignedHeaders=host,missing=0", "missing Signature.", id="no signature"
        ),
    ],
)
def test_malformed_components_are_described_as_by_aws(content, message):
    headers = _signed_headers(authorization=f"AWS4-HMAC-SHA256 {content}")
    with raises_s3_error("AuthorizationHeaderMalformed") as error:
        verify(a_request("GET", "/out/k", headers), PAIR, now=NOW)

    assert f"The authorization header is malformed; {message}" == error().message


@pytest.mark.parametrize("scheme", ["Bearer", "Basic", "AWS4-HMAC-SHA25", "AWS2-HMAC-SHA1"])
def test_another_scheme_is_unsupported(scheme):
    """Its credentials are not returned."""
    with raises_s3_error("InvalidArgument") as error:
        verify(a_request("GET", "/out/k", {"authorization": f"{scheme} secret"}), PAIR, now=NOW)

    assert "Unsupported Authorization Type" == error().message
    assert {"ArgumentName": "Authorization"} == error().fields


@pytest.mark.parametrize(
    "name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"]
)
def test_a_presigned_url_has_all_its_parameters(name):
    parameters = _url().partition("?")[2].split("&")
    without = "&".join(each for each in parameters if not each.startswith(f"X-Amz-{name}="))
    with raises_s3_error("AuthorizationQueryParametersError") as error:
        verify(a_request("GET", f"/out/k?{without}"), PAIR, now=NOW)

    assert error().message.startswith("Query-string authentication version 4 requires the ")


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Expires", "Signature"])
def test_a_presigned_url_of_version_2_has_all_its_parameters(name):
    parameters = {"AWSAccessKeyId": PAIR.access_key, "Expires": str(NOW), "Signature": "s"}
    del parameters[name]
    query = "&".join(f"{each}={value}" for each, value in parameters.items())
    with raises_s3_error("AccessDenied") as error:
        verify(a_request("GET", f"/out/k?{query}"), PAIR, now=NOW)

    assert error().message == (
        "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param(
            {"date": "20130501", "x-amz-date": "20130501T000000Z", "access": "ANOTHER"},
            "RequestTimeTooSkewed",
            id="the time before the key",
        ),
        pytest.param(
            {"date": "20130525", "access": "ANOTHER"},
            "InvalidAccessKeyId",
            id="the key before its date",
        ),
        pytest.param(
            {"x-amz-content-sha256": "abc"}, "InvalidArgument", id="the hash before the signature"
        ),
        pytest.param(
            {"x-amz-content-sha256": "abc", "headers": "x-amz-date"},
            "InvalidArgument",
            id="the hash before the signed headers",
        ),
        pytest.param(
            {"x-amz-acl": "private"}, "AccessDenied", id="the signed headers before the signature"
        ),
    ],
)
def test_faults_are_reported_in_the_order_of_aws(changes, code):
    with raises_s3_error(code):
        verify(a_request("GET", "/out/k", _signed_headers(**changes)), PAIR, now=NOW)


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
