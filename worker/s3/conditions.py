"""Conditional requests: parsing and evaluation of conditions."""

import calendar
import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_tz

import attrs

from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.times import last_modified

ANY = "*"

# An entity tag in a list: quoted, possibly weak, or unquoted, as some clients send it. Separators
# are not matched: with them, 64 KiB of spaces would cost quadratic time.
_ETAG = re.compile(r'(?:W/)?(?:"([^"]*)"|([^",\s][^,\s]*))')


class Verdict(enum.Enum):
    """The result of the conditions of a read."""

    PROCEED = enum.auto()
    NOT_MODIFIED = enum.auto()


@attrs.frozen
class Conditions:
    """The conditions of a request; None for each that it does not have.

    ETags have no quotes; ``("*",)`` matches every object. Times are seconds since 1970.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None


NONE = Conditions()


def etags(value: str) -> tuple[str, ...]:
    """Return the entity tags of a header, without quotes; ``*`` is kept."""
    if value.strip() == ANY:
        return (ANY,)
    return tuple(quoted or bare for quoted, bare in _ETAG.findall(value))


def parse_date(value: str) -> int | None:
    """Return the seconds since 1970 of an HTTP or ISO 8601 date, or None."""
    try:
        parsed = parsedate_tz(value)
        if parsed is not None:
            year, month, day, hour, minute, second = parsed[:6]
            datetime(year, month, day, hour, minute, min(second, 59))  # Rejects 32 January.
            seconds = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
            seconds -= parsed[9] or 0
        else:
            iso = value.strip().replace("Z", "+00:00")
            seconds = int(datetime.fromisoformat(iso).timestamp())
        datetime.fromtimestamp(seconds, UTC)  # Rejects dates after the year 9999 in UTC.
    except (ValueError, IndexError, OverflowError, TypeError):
        return None
    return seconds


def read_conditions(headers: Mapping[str, str], *, now: float) -> Conditions:
    """Return the conditions of a GET or HEAD.

    Invalid dates are ignored (RFC 9110, 13.1.3), and as in S3 an If-Modified-Since after *now*, in
    seconds since 1970.
    """
    return _timed(headers, "if-", now)


def copy_conditions(headers: Mapping[str, str], *, now: float) -> Conditions:
    """Return the conditions on the source of a copy: ``x-amz-copy-source-if-…``."""
    return _timed(headers, "x-amz-copy-source-if-", now)


def _timed(headers: Mapping[str, str], prefix: str, now: float) -> Conditions:
    match = headers.get(prefix + "match")
    none_match = headers.get(prefix + "none-match")
    modified = headers.get(prefix + "modified-since")
    unmodified = headers.get(prefix + "unmodified-since")
    if match is None and none_match is None and modified is None and unmodified is None:
        return NONE
    modified_since = None if modified is None else parse_date(modified)
    return Conditions(
        if_match=None if match is None else etags(match),
        if_none_match=None if none_match is None else etags(none_match),
        if_modified_since=None if modified_since and modified_since > now else modified_since,
        if_unmodified_since=None if unmodified is None else parse_date(unmodified),
    )


def write_conditions(headers: Mapping[str, str]) -> Conditions:
    """Return If-Match and If-None-Match of PutObject, CompleteMultipartUpload or CopyObject.

    As in S3, the value of If-None-Match must be ``*`` and that of If-Match an ETag, and only one of
    them is allowed; otherwise raises NotImplemented, and InvalidArgument for an empty If-Match.
    """
    match = headers.get("if-match")
    none_match = headers.get("if-none-match")
    if match is None and none_match is None:
        return NONE
    if match is not None and none_match is not None:
        raise S3Error(
            "NotImplemented",
            Header="If-Match,If-None-Match",
            additionalMessage="Multiple conditional request headers present in the request",
        )
    if none_match is not None:
        if none_match.strip() != ANY:
            raise _unsupported_value("If-None-Match")
        return Conditions(if_none_match=(ANY,))
    assert match is not None
    if not match.strip():
        raise invalid_argument(
            "If-Match",
            None,
            "The value provided for the If-Match query parameter cannot be empty for this API.",
        )
    if match.strip() == ANY:
        raise _unsupported_value("If-Match")
    return Conditions(if_match=etags(match))


def _unsupported_value(header: str) -> S3Error:
    return S3Error(
        "NotImplemented",
        Header=header,
        additionalMessage=f"We don't accept the provided value of {header} header for this API",
    )


def delete_conditions(headers: Mapping[str, str]) -> Conditions:
    """Return If-Match of a DELETE.

    Raises NotImplemented for x-amz-if-match-size and x-amz-if-match-last-modified-time, which S3
    accepts for directory buckets only.
    """
    for name in ("x-amz-if-match-last-modified-time", "x-amz-if-match-size"):
        if name in headers:
            raise S3Error("NotImplemented", Header=name)
    match = headers.get("if-match")
    return NONE if match is None else Conditions(if_match=etags(match))


def check_read(conditions: Conditions, *, etag: str, modified: int, prefix: str = "") -> Verdict:
    """Evaluate the conditions of a read; raises PreconditionFailed, which names the condition.

    If-Match takes precedence over If-Unmodified-Since, and If-None-Match over If-Modified-Since
    (RFC 9110, 13.2.2). *modified* is in milliseconds; the second of Last-Modified is compared.
    *prefix* is that of the names of the headers.
    """
    if conditions is NONE:
        return Verdict.PROCEED
    seconds = last_modified(modified)
    if conditions.if_match is not None:
        if not _matches(conditions.if_match, etag):
            raise precondition_failed(f"{prefix}If-Match")
    elif conditions.if_unmodified_since is not None and seconds > conditions.if_unmodified_since:
        raise precondition_failed(f"{prefix}If-Unmodified-Since")
    if conditions.if_none_match is not None:
        if _matches(conditions.if_none_match, etag):
            return Verdict.NOT_MODIFIED
    elif conditions.if_modified_since is not None and seconds <= conditions.if_modified_since:
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def check_copy(conditions: Conditions, *, etag: str, modified: int) -> None:
    """Evaluate the conditions on the source of a copy; raises PreconditionFailed."""
    prefix = "x-amz-copy-source-"
    verdict = check_read(conditions, etag=etag, modified=modified, prefix=prefix)
    if verdict is Verdict.NOT_MODIFIED:
        tagged = conditions.if_none_match is not None
        raise precondition_failed(prefix + ("If-None-Match" if tagged else "If-Modified-Since"))


def check_write(conditions: Conditions, current_etag: str | None, *, key: str) -> None:
    """Evaluate the conditions of a write or delete of *key*.

    *current_etag* is None if there is no object. Raises PreconditionFailed; NoSuchKey for If-Match
    without an object.
    """
    if conditions.if_match is not None:
        if current_etag is None:
            raise S3Error("NoSuchKey", Key=key)
        if not _matches(conditions.if_match, current_etag):
            raise precondition_failed("If-Match")
    if (
        conditions.if_none_match is not None
        and current_etag is not None
        and _matches(conditions.if_none_match, current_etag)
    ):
        raise precondition_failed("If-None-Match")


def precondition_failed(condition: str) -> S3Error:
    """Return PreconditionFailed with the name of the condition, as AWS does."""
    return S3Error("PreconditionFailed", Condition=condition)


def _matches(wanted: tuple[str, ...], etag: str) -> bool:
    return etag in wanted or ANY in wanted
