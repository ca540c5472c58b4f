"""Authentication of a request by its signature."""

import hmac
from datetime import UTC, datetime

from worker.s3 import signing
from worker.s3.conditions import parse_date
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.payload import UNSIGNED, Framing, has_body, payload_mode
from worker.s3.request import Request
from worker.s3.signing import ALGORITHM, SERVICE, TERMINATOR, Claim, Credentials, Scope, Signed
from worker.text import parse_integer

MAX_SKEW = 15 * 60
MAX_EXPIRES = 7 * 24 * 3600

PRESIGNED = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
# Those that make a request one with a presigned URL, even if others are missing.
SIGNATURES = frozenset(PRESIGNED) - {"X-Amz-Date"}
PRESIGNED_V2 = ("Signature", "Expires", "AWSAccessKeyId")
COMPONENTS = ("Credential", "SignedHeaders", "Signature")

# Headers that need not be signed: the digest is part of the canonical request, and the gateway has
# no session tokens.
UNSIGNED_ALLOWED = frozenset({"x-amz-content-sha256", "x-amz-security-token"})


def verify(request: Request, credentials: Credentials, *, now: float) -> Signed:
    """Verify the signature of a request: SigV4 or SigV2, in a header or in a presigned URL.

    *now* is in seconds since 1970. Raises S3Error for a request that is unsigned, has a wrong
    signature, or is not valid at this time.
    """
    header = request.headers.get("authorization")
    params = request.params.keys()
    v4_query = not params.isdisjoint(SIGNATURES)
    v2_query = "AWSAccessKeyId" in params or "Signature" in params
    if (header is not None) + v4_query + v2_query > 1:
        raise invalid_argument(
            "Authorization",
            None,
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
            "query string parameter or the Authorization header should be specified",
        )
    if v4_query:
        return _presigned(request, credentials, now=now)
    if v2_query:
        return _presigned_v2(request, credentials, now=now)
    if header is None:
        raise unsigned()
    algorithm, space, content = header.partition(" ")
    if not space:
        raise invalid_argument(
            "Authorization",
            None,
            "Authorization header is invalid -- one and only one ' ' (space) required",
        )
    if algorithm == ALGORITHM:
        return _header(request, content, credentials, now=now)
    if algorithm == "AWS":
        return _header_v2(request, content, credentials, now=now)
    # Unlike S3, without the value: it may be a token for another service.
    raise invalid_argument("Authorization", None, "Unsupported Authorization Type")


def unsigned() -> S3Error:
    """Return the error of a request without a signature."""
    return S3Error(
        "AccessDenied",
        "Access Denied: this gateway accepts only signed requests; the job's AWS_ACCESS_KEY_ID "
        "and AWS_SECRET_ACCESS_KEY are in its environment.",
    )


def _header(request: Request, content: str, credentials: Credentials, *, now: float) -> Signed:
    timestamp, seconds = _header_time(request)
    _check_skew(timestamp, seconds, now)
    components = _components(content)
    scope = signing.parse_scope(components["Credential"])
    if scope is None:
        raise _malformed(CREDENTIAL_FORM)
    problem = scope_error(scope)
    if problem:
        raise _malformed(problem)
    check_access_key(scope.access_key, credentials)
    if not timestamp.startswith(scope.date):
        raise _malformed("Invalid credential date. Date is not the same as X-Amz-Date.")
    payload = request.headers.get("x-amz-content-sha256")
    if not payload:
        # Some versions of curl do not send the header; they sign the digest of the body, which a
        # GET does not have. Of a request that has one, any body could take its place.
        if has_body(request):
            raise S3Error(
                "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
            )
        payload = signing.EMPTY_SHA256
    payload_mode(payload)
    signed_headers = _signed_headers(components["SignedHeaders"])
    if signed_headers is None:
        raise _malformed(SIGNED_TWICE)
    claim = Claim(
        scope,
        timestamp,
        signed_headers,
        components["Signature"],
        payload,
    )
    _check_signed_headers(request, claim)
    return signing.check(request, claim, credentials)


def _components(content: str) -> dict[str, str]:
    """Return the three components of a SigV4 Authorization header, by name."""
    written = [each.strip() for each in content.split(",")]
    if len(written) != len(COMPONENTS):
        raise _malformed(
            "the authorization header requires three components: Credential, SignedHeaders, and "
            "Signature."
        )
    components = {}
    for component in written:
        name, equals, value = component.partition("=")
        if not equals or "=" in value:
            raise _malformed(f'the authorization component "{component}" is malformed.')
        components[name] = value.strip()
    for name in COMPONENTS:
        if not components.get(name):
            raise _malformed(f"missing {name}.")
    return components


def _header_time(request: Request) -> tuple[str, int]:
    """Return the time of a signed request as it was signed, and in seconds since 1970."""
    written = request.headers.get("x-amz-date")
    if written is not None:
        seconds = signing.parse_timestamp(written)
        if seconds is not None:
            return written, seconds
        # It may be an HTTP date; its ISO 8601 form is signed.
        seconds = parse_date(written)
    else:
        seconds = parse_date(request.headers.get("date", ""))
    if seconds is None:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    return _basic_format(seconds), seconds


def _presigned(request: Request, credentials: Credentials, *, now: float) -> Signed:
    params = request.params
    if not all(params.get(name) for name in PRESIGNED):
        raise _query_error(None)
    if params["X-Amz-Algorithm"] != ALGORITHM:
        raise _query_error(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    scope = signing.parse_scope(params["X-Amz-Credential"])
    problem = CREDENTIAL_FORM if scope is None else scope_error(scope)
    if scope is None or problem:
        raise _query_error(f"Error parsing the X-Amz-Credential parameter; {problem}")
    timestamp = params["X-Amz-Date"]
    seconds = signing.parse_timestamp(timestamp)
    if seconds is None:
        raise _query_error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if not timestamp.startswith(scope.date):
        raise _query_error(
            f'Invalid credential date "{scope.date}". This date is not the same as X-Amz-Date: '
            f'"{timestamp[:8]}".'
        )
    expires = _expires(params["X-Amz-Expires"])
    if seconds > now + MAX_SKEW:
        raise S3Error("AccessDenied", "Request is not valid yet", ServerTime=_extended_format(now))
    if now > seconds + expires:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            fields={
                "X-Amz-Expires": str(expires),
                "Expires": _extended_format(seconds + expires),
                "ServerTime": _extended_format(now),
            },
        )
    check_access_key(scope.access_key, credentials)
    signed_headers = _signed_headers(params["X-Amz-SignedHeaders"])
    if signed_headers is None:
        raise _query_error(SIGNED_TWICE)
    claim = Claim(
        scope,
        timestamp,
        signed_headers,
        params["X-Amz-Signature"],
        # Of the header or of the query: there is one value.
        request.headers.get("x-amz-content-sha256") or UNSIGNED,
    )
    _check_signed_headers(request, claim)
    return signing.check(request, claim, credentials)


def _expires(value: str) -> int:
    expires = parse_integer(value, signs="-")
    if expires is None:
        raise _query_error("X-Amz-Expires should be a number")
    if expires < 0:
        raise _query_error("X-Amz-Expires must be non-negative")
    if expires > MAX_EXPIRES:
        raise _query_error(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given "
            f"X-Amz-Expires must be less than {MAX_EXPIRES} seconds"
        )
    return expires


def _header_v2(request: Request, content: str, credentials: Credentials, *, now: float) -> Signed:
    access_key, colon, signature = content.strip().partition(":")
    if not colon or not access_key or not signature:
        raise invalid_argument(
            "Authorization",
            None,
            "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
        )
    amz_date = request.headers.get("x-amz-date")
    date = request.headers.get("date", "")
    seconds = parse_date(amz_date or date)
    if seconds is None:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    _check_skew(amz_date or date, seconds, now)
    check_access_key(access_key, credentials)
    _check_v2(request)
    # The Date line is empty if the request has an x-amz-date, which is signed with its kind.
    return signing.check_v2(
        request, credentials, date="" if amz_date is not None else date, signature=signature
    )


def _presigned_v2(request: Request, credentials: Credentials, *, now: float) -> Signed:
    params = request.params
    if not all(params.get(name) for name in PRESIGNED_V2):
        raise S3Error(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters",
        )
    expires = params["Expires"]
    seconds = parse_integer(expires, digits=15)
    if seconds is None:
        raise S3Error("AccessDenied", f"Invalid date (should be seconds since epoch): {expires}")
    if now > seconds:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            Expires=_extended_format(seconds),
            ServerTime=_extended_format(now),
        )
    check_access_key(params["AWSAccessKeyId"], credentials)
    _check_v2(request)
    return signing.check_v2(request, credentials, date=expires, signature=params["Signature"])


def _check_v2(request: Request) -> None:
    """Reject what a SigV2 signature does not determine; raises InvalidRequest, InvalidArgument.

    Its string to sign has the headers in lines and the parameters with ``&`` between them, decoded:
    within a value, these separators could be those of another signed value.
    """
    mode = payload_mode(request.headers.get("x-amz-content-sha256") or UNSIGNED)
    if isinstance(mode, Framing) and mode.signed:
        # The signatures of chunks are made with the signing key of SigV4, which there is not.
        raise S3Error("InvalidRequest", "Signed chunks require a request that is signed by SigV4.")
    for name in request.hoisted:
        if "\n" in request.headers[name]:
            raise invalid_argument(name, None, "A header that is signed by SigV2 is one line.")
    for name, value in request.query:
        others = (each.partition("=")[0] for each in value.split("&")[1:])
        if name in signing.SUBRESOURCES and not signing.SUBRESOURCES.isdisjoint(others):
            raise invalid_argument(
                name, None, "A parameter that is signed by SigV2 cannot contain another one."
            )


SIGNED_TWICE = "SignedHeaders must name each header once."


def _signed_headers(value: str) -> tuple[str, ...] | None:
    """Return the names in SignedHeaders; None if it repeats one.

    The canonical request contains the value of each header as often as its name.
    """
    names = tuple(value.lower().split(";"))
    return names if len(set(names)) == len(names) else None


CREDENTIAL_FORM = (
    'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
)


def scope_error(scope: Scope) -> str | None:
    """Return why a scope is invalid, or None; any region is valid."""
    if scope.service != SERVICE:
        return f'incorrect service "{scope.service}". This endpoint belongs to "{SERVICE}".'
    if scope.terminator != TERMINATOR:
        return f'incorrect terminal "{scope.terminator}". This endpoint uses "{TERMINATOR}".'
    if signing.parse_timestamp(f"{scope.date}T000000Z") is None:
        return (
            f'incorrect date format "{scope.date}". This date in the credential must be in the '
            'format "yyyyMMdd".'
        )
    return None


def _check_skew(written: str, seconds: int, now: float) -> None:
    if abs(now - seconds) > MAX_SKEW:
        raise S3Error(
            "RequestTimeTooSkewed",
            RequestTime=written,
            ServerTime=_extended_format(now),
            MaxAllowedSkewMilliseconds=MAX_SKEW * 1000,
        )


def check_access_key(access_key: str, credentials: Credentials) -> None:
    """Reject another access key than that of *credentials*; raises InvalidAccessKeyId."""
    if not hmac.compare_digest(
        access_key.encode("utf-8", "replace"), credentials.access_key.encode()
    ):
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access_key)


def _check_signed_headers(request: Request, claim: Claim) -> None:
    """Reject unsigned ``x-amz-`` headers, which a proxy could have added."""
    signed = set(claim.signed_headers)
    unsigned = [
        name
        for name in request.headers
        if name.startswith("x-amz-")
        and name not in signed
        and name not in UNSIGNED_ALLOWED
        and name not in request.hoisted
    ]
    if "host" not in signed:
        unsigned.append("host")
    if unsigned:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(unsigned),
        )


def _malformed(reason: str) -> S3Error:
    message = f"The authorization header is malformed; {reason}"
    return S3Error("AuthorizationHeaderMalformed", message)


def _query_error(message: str | None) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", message)


def _basic_format(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def _extended_format(seconds: float) -> str:
    return datetime.fromtimestamp(min(seconds, 253402300799), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
