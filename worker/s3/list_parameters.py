"""Parameters of listings: numbers, encoding-type, markers and continuation tokens."""

import base64
import binascii
import re
from collections.abc import Mapping

from worker.s3.error_codes import invalid_argument

MAX_PAGE = 1000
MAX_NUMBER = 2**31 - 1
_NUMBER = re.compile(r"(-?)0*([0-9]{1,10}+)", re.ASCII)


def after(key: str) -> str:
    """Return the smallest string greater than *key*."""
    return key + "\x00"


def past(prefix: str) -> str | None:
    """Return the smallest string greater than all strings with *prefix*; None if there is none."""
    while prefix:
        last = ord(prefix[-1])
        prefix = prefix[:-1]
        if last < 0x10FFFF:
            # Surrogates are not characters: U+E000 follows U+D7FF.
            return prefix + chr(0xE000 if last == 0xD7FF else last + 1)
    return None


def beyond(marker: str, prefix: str, delimiter: str) -> str | None:
    """Return the first key to list after *marker*; None if there is none.

    A marker below a common prefix is after all keys of that prefix, as in S3: the page before had
    the common prefix, and it must not be listed again.
    """
    if not marker:
        return ""
    if delimiter and marker.startswith(prefix):
        found = marker.find(delimiter, len(prefix))
        if found >= 0:
            return past(marker[: found + len(delimiter)])
    return after(marker)


def integer(params: Mapping[str, str], name: str, default: int) -> int:
    """Return the number in a parameter, which may be negative; *default* without a value.

    Raises InvalidArgument for what is not a signed 32-bit number in decimal digits.
    """
    value = params.get(name, "")
    if not value:
        return default
    match = _NUMBER.fullmatch(value)
    number = int("".join(match.groups())) if match else MAX_NUMBER + 1
    if not -MAX_NUMBER - 1 <= number <= MAX_NUMBER:
        raise invalid_argument(
            name, value, f"Provided {name} not an integer or within integer range"
        )
    return number


def not_negative(number: int, name: str) -> int:
    """Return *number*; raises InvalidArgument with *name* if it is negative."""
    if number < 0:
        raise invalid_argument(
            name, str(number), f"Argument {name} must be an integer between 0 and {MAX_NUMBER}"
        )
    return number


def encoding_type(params: Mapping[str, str]) -> str | None:
    """Return encoding-type as sent, which is ``url`` in any case; None without one.

    Raises InvalidArgument for any other value, also for an empty one.
    """
    value = params.get("encoding-type")
    if value is not None and value.lower() != "url":
        raise invalid_argument(
            "encoding-type", value, "Invalid Encoding Method specified in Request"
        )
    return value


# A token contains only the first name of the next page, so it is valid in every process and after
# every change of the bucket. Its first digit is the version of the format.
def token_of(start: str) -> str:
    """Return the continuation token of the page that starts with the name *start*."""
    return "1" + base64.urlsafe_b64encode(start.encode()).decode().rstrip("=")


def start_of(token: str) -> str:
    """Return the first name of the page of a continuation token; raises InvalidArgument."""
    try:
        if not token.startswith("1") or not token.isascii():
            raise ValueError
        packed = token[1:]
        return base64.b64decode(
            packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True
        ).decode()
    except (ValueError, binascii.Error):
        raise invalid_argument(
            "continuation-token", None, "The continuation token provided is incorrect"
        ) from None
