"""The policy of a form upload: which fields, and which sizes of the file, it permits.

"POST Policy" in the S3 developer guide describes the document. Messages and statuses are those
that were recorded from S3.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import attrs

from worker.s3.error_codes import S3Error
from worker.s3.post_form import FILE, Form
from worker.text import parse_integer

RANGE = "content-length-range"
IGNORED = "x-ignore-"
"""The prefix of fields that need no condition."""

_EXPIRATION = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", re.ASCII)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# Escapes of the policy language that JSON does not have.
_ESCAPES = {"$": "$", "v": "\\u000b"}


@attrs.frozen
class Condition:
    """A condition of a policy, such as ``["starts-with", "$key", "user/"]``."""

    operator: str
    """``eq``, ``starts-with`` or ``content-length-range``."""
    operands: tuple[Any, Any]
    """The field with its ``$`` and the expected value, or the bounds of the range."""
    sent: list[Any]
    """The condition as S3 writes it in an error."""

    def failed(self) -> S3Error:
        """Return the error of a form that does not meet the condition."""
        text = json.dumps(self.sent, ensure_ascii=False)
        return _denied(f"Policy Condition failed: {text}")


@attrs.frozen
class Sizes:
    """The sizes of the file that a policy permits, both inclusive."""

    smallest: int = 0
    largest: int | None = None


@attrs.frozen
class Policy:
    """A policy that is valid as a document."""

    expiration: float
    """Seconds since 1970."""
    conditions: tuple[Condition, ...]


def parse_policy(encoded: str) -> Policy:
    """Parse the ``policy`` field, JSON in Base64; raises InvalidPolicyDocument."""
    document = _json(encoded)
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON.")
    for name in document:
        if name not in ("expiration", "conditions"):
            raise _invalid(f"Unexpected: '{name.lower()}'")
    if "expiration" not in document:
        raise _invalid("Policy missing expiration.")
    if "conditions" not in document:
        raise _invalid("Policy missing conditions.")
    expiration = _expiration(document["expiration"])
    conditions = document["conditions"]
    if not isinstance(conditions, list):
        raise _invalid("Invalid 'conditions' value: must be a List.")
    return Policy(expiration, tuple(_condition(each) for each in conditions))


def check_policy(policy: Policy, form: Form, *, bucket: str, signed_v4: bool, now: float) -> Sizes:
    """Return the permitted sizes of the file of a form that meets *policy*; raises AccessDenied.

    *bucket* is that of the request, whatever a field says. *signed_v4* tells which fields of a
    signature need no condition.
    """
    if now > policy.expiration:
        raise _denied("Policy expired.")
    values = {name: field.value for name, field in form.fields.items()} | {"bucket": bucket}
    smallest, largest = 0, None
    for condition in policy.conditions:
        if condition.operator == RANGE:
            low, high = map(_bound, condition.operands)
            if low is None or high is None:
                raise condition.failed()
            smallest = max(smallest, low)
            largest = high if largest is None else min(largest, high)
        elif not _meets(condition, values):
            raise condition.failed()
    _check_coverage(policy.conditions, form, signed_v4=signed_v4)
    return Sizes(smallest, largest)


def check_size(sizes: Sizes, size: int) -> None:
    """Reject a file whose size is not permitted; raises EntityTooLarge or EntityTooSmall."""
    if sizes.largest is not None and size > sizes.largest:
        raise S3Error("EntityTooLarge", ProposedSize=size, MaxSizeAllowed=sizes.largest)
    if size < sizes.smallest:
        raise S3Error("EntityTooSmall", ProposedSize=size, MinSizeAllowed=sizes.smallest)


def _invalid(reason: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {reason}")


def _denied(reason: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {reason}")


def _json(encoded: str) -> Any:
    try:
        # Some encoders divide Base64 into lines.
        raw = base64.b64decode("".join(encoded.split()), validate=True)
        text = _ESCAPE.sub(lambda found: _ESCAPES.get(found.group(1), found.group()), raw.decode())
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_reject,
            parse_constant=_reject,
        )
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _integer(digits: str) -> int:
    if digits.startswith("-"):
        raise _invalid("Token - must be enclosed in quotes.")
    return int(digits)


def _reject(token: str) -> NoReturn:
    # The policies of S3 have no fractions, and no NaN or Infinity.
    raise ValueError(token)


def _expiration(value: object) -> float:
    match = _EXPIRATION.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        seconds = datetime.fromisoformat(f"{match.group(1)}+00:00").timestamp()
    except ValueError:
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        raise _invalid(f"Invalid 'expiration' value: '{shown}'") from None
    return seconds + float(match.group(2) or 0)


def _condition(value: object) -> Condition:
    if isinstance(value, dict):
        return _simple_condition(value)
    if not isinstance(value, list):
        raise _invalid("Invalid condition test: must be a List or Object.")
    if not value or not isinstance(value[0], str):
        raise _invalid("Invalid Condition: missing operation identifier.")
    operator = value[0].lower()
    if operator not in ("eq", "starts-with", RANGE):
        raise _invalid(f"Invalid Condition: unknown operation '{value[0]}'.")
    if len(value) != 3:
        raise _invalid(f"Invalid {value[0]}: wrong number of arguments.")
    return Condition(operator, (value[1], value[2]), value)


def _simple_condition(pairs: Mapping[str, Any]) -> Condition:
    if len(pairs) != 1:
        raise _invalid(
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."
        )
    [(name, value)] = pairs.items()
    if value is None:
        raise _invalid("Invalid JSON.")
    if not isinstance(value, str):
        raise _invalid("Invalid Simple-Condition: value must be a string.")
    return Condition("eq", (f"${name}", value), ["eq", f"${name}", value])


def _bound(value: object) -> int | None:
    """Return a bound of a size, which may be a string of digits; None if it is none."""
    if isinstance(value, str):
        return parse_integer(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _meets(condition: Condition, values: Mapping[str, str]) -> bool:
    name, expected = condition.operands
    if not (isinstance(name, str) and isinstance(expected, str) and name.startswith("$")):
        return False
    found = values.get(name[1:].lower())
    # S3 rejects a form without the field even if the expected prefix is empty.
    if found is None:
        return False
    if condition.operator == "eq":
        return found == expected
    # Only the value of Content-Type is a list.
    is_list = name[1:].lower() == "content-type"
    listed = [each.strip() for each in found.split(",")] if is_list else [found]
    return all(each.startswith(expected) for each in listed)


def _check_coverage(conditions: Iterable[Condition], form: Form, *, signed_v4: bool) -> None:
    """Reject a form with a field that no condition names, as the first one that it has."""
    covered = {
        condition.operands[0][1:].lower() for condition in conditions if condition.operator != RANGE
    }
    covered |= {FILE, "policy"}
    covered |= {"x-amz-signature"} if signed_v4 else {"awsaccesskeyid", "signature"}
    for name, field in form.fields.items():
        if name not in covered and not name.startswith(IGNORED):
            raise _denied(f"Extra input fields: {field.name}")
