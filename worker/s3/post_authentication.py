"""Authentication of a form upload: its signature is that of its policy, in fields of the form."""

from worker.s3 import signing
from worker.s3.authentication import (
    CREDENTIAL_FORM,
    MAX_EXPIRES,
    check_access_key,
    scope_error,
    unsigned,
)
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.post_form import Form
from worker.s3.signing import ALGORITHM, Credentials

# The fields of a signature with the spelling of S3's errors, in the order in which it misses them.
FIELDS_V4 = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
FIELDS_V2 = ("AWSAccessKeyId", "Signature")


def missing_field(name: str) -> S3Error:
    """Return the error of a form without the field *name*."""
    return invalid_argument(
        name,
        "",
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the "
        "order of the fields.",
    )


def is_signed_v4(form: Form) -> bool:
    """Whether the form has a field of a SigV4 signature other than the date."""
    return any(form.get(name.lower()) is not None for name in FIELDS_V4 if name != "X-Amz-Date")


def verify_form(form: Form, credentials: Credentials, *, now: float) -> None:
    """Verify the signature of the policy of a form, SigV4 or SigV2; raises S3Error.

    *now* is in seconds since 1970. What the policy says is not checked.
    """
    policy = form.get("policy")
    v4 = is_signed_v4(form)
    names = FIELDS_V4 if v4 else FIELDS_V2
    values = [form.get(name.lower()) for name in names]
    if policy is None or all(value is None for value in values):
        raise unsigned()
    for name, value in zip(names, values, strict=True):
        if value is None:
            raise missing_field(name)
    sent = [value or "" for value in values]
    (_verify_v4 if v4 else _verify_v2)(policy, sent, credentials, now)


def _verify_v4(policy: str, sent: list[str], credentials: Credentials, now: float) -> None:
    algorithm, credential, timestamp, signature = sent
    if algorithm != ALGORITHM:
        raise invalid_argument(
            "X-Amz-Algorithm", algorithm, f'X-Amz-Algorithm only supports "{ALGORITHM}"'
        )
    scope = signing.parse_scope(credential)
    if credential.startswith("/"):
        problem: str | None = "a non-empty Access Key (AKID) must be provided in the credential."
    else:
        problem = CREDENTIAL_FORM if scope is None else scope_error(scope)
    if scope is None or problem:
        raise invalid_argument("X-Amz-Credential", credential, problem or CREDENTIAL_FORM)
    seconds = signing.parse_timestamp(timestamp)
    if seconds is None:
        raise invalid_argument(
            "X-Amz-Date",
            timestamp,
            "X-Amz-Date must be formated via ISO8601 Long format",  # sic
        )
    check_access_key(scope.access_key, credentials)
    key = signing.signing_key(credentials.secret_key, scope.date, scope.region, scope.service)
    if not signing.same(signing.sign(key, policy), signature.lower()):
        raise signing.mismatch(scope.access_key, policy, signature)
    # A signing key is valid for seven days, whatever the policy says.
    if now > seconds + MAX_EXPIRES:
        raise S3Error("AccessDenied", "Invalid according to Policy: Policy expired.")


def _verify_v2(policy: str, sent: list[str], credentials: Credentials, _now: float) -> None:
    access_key, signature = sent
    check_access_key(access_key, credentials)
    if not signing.same(signing.sign_v2(credentials.secret_key, policy.encode()), signature):
        raise signing.mismatch(access_key, policy, signature)
