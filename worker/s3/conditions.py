"""Conditional requests: parsing and evaluation of conditions."""

import calendar
import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_tz

import attrs

from worker.s3.error_codes import S3Error

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
    if_size: int | None = None
    """x-amz-if-match-size, of deletes."""
    if_last_modified: int | None = None
    """x-amz-if-match-last-modified-time, of deletes."""


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


def read_conditions(headers: Mapping[str, str]) -> Conditions:
    """Return the conditions of a GET or HEAD; invalid dates are ignored (RFC 9110, 13.1.3)."""
    return _timed(headers, "if-")


def copy_conditions(headers: Mapping[str, str]) -> Conditions:
    """Return the conditions on the source of a copy: ``x-amz-copy-source-if-…``."""
    return _timed(headers, "x-amz-copy-source-if-")


def _timed(headers: Mapping[str, str], prefix: str) -> Conditions:
    match = headers.get(prefix + "match")
    none_match = headers.get(prefix + "none-match")
    modified = headers.get(prefix + "modified-since")
    unmodified = headers.get(prefix + "unmodified-since")
    if match is None and none_match is None and modified is None and unmodified is None:
        return NONE
    return Conditions(
        if_match=None if match is None else etags(match),
        if_none_match=None if none_match is None else etags(none_match),
        if_modified_since=None if modified is None else parse_date(modified),
        if_unmodified_since=None if unmodified is None else parse_date(unmodified),
    )


def write_conditions(headers: Mapping[str, str]) -> Conditions:
    """Return If-Match and If-None-Match of PutObject, CompleteMultipartUpload or CopyObject.

    As in S3, the value of If-None-Match must be ``*``, and only one of them is allowed; otherwise
    raises NotImplemented.
    """
    match = headers.get("if-match")
    none_match = headers.get("if-none-match")
    if match is None and none_match is None:
        return NONE
    if none_match is not None and none_match.strip() != ANY:
        raise S3Error(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented: "
            "If-None-Match of a write must be *.",
            Header="If-None-Match",
        )
    if match is not None and none_match is not None:
        raise S3Error(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented: "
            "a write can have If-Match or If-None-Match, not both.",
            Header="If-Match, If-None-Match",
        )
    if match is not None:
        return Conditions(if_match=etags(match))
    return Conditions(if_none_match=(ANY,))


def delete_conditions(headers: Mapping[str, str]) -> Conditions:
    """Return If-Match, x-amz-if-match-size and x-amz-if-match-last-modified-time of a DELETE."""
    match = headers.get("if-match")
    size = headers.get("x-amz-if-match-size")
    modified = headers.get("x-amz-if-match-last-modified-time")
    if match is None and size is None and modified is None:
        return NONE
    if_last_modified = None if modified is None else parse_date(modified)
    if modified is not None and if_last_modified is None:
        raise S3Error("InvalidArgument", ArgumentName="x-amz-if-match-last-modified-time")
    if size is not None and not (size.isascii() and size.isdigit() and len(size) <= 20):
        raise S3Error("InvalidArgument", ArgumentName="x-amz-if-match-size", ArgumentValue=size)
    return Conditions(
        if_match=None if match is None else etags(match),
        if_size=None if size is None else int(size),
        if_last_modified=if_last_modified,
    )


def check_read(conditions: Conditions, *, etag: str, modified: int) -> Verdict:
    """Evaluate the conditions of a read; raises PreconditionFailed.

    If-Match takes precedence over If-Unmodified-Since, and If-None-Match over If-Modified-Since
    (RFC 9110, 13.2.2). *modified* is in milliseconds; HTTP compares whole seconds.
    """
    if conditions is NONE:
        return Verdict.PROCEED
    seconds = modified // 1000
    if conditions.if_match is not None:
        if not _matches(conditions.if_match, etag):
            raise precondition_failed("If-Match")
    elif conditions.if_unmodified_since is not None and seconds > conditions.if_unmodified_since:
        raise precondition_failed("If-Unmodified-Since")
    if conditions.if_none_match is not None:
        if _matches(conditions.if_none_match, etag):
            return Verdict.NOT_MODIFIED
    elif conditions.if_modified_since is not None and seconds <= conditions.if_modified_since:
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def check_copy(conditions: Conditions, *, etag: str, modified: int) -> None:
    """Evaluate the conditions on the source of a copy; raises PreconditionFailed."""
    if check_read(conditions, etag=etag, modified=modified) is Verdict.NOT_MODIFIED:
        tagged = conditions.if_none_match is not None
        raise precondition_failed(
            "x-amz-copy-source-If-None-Match" if tagged else "x-amz-copy-source-If-Modified-Since"
        )


def check_write(conditions: Conditions, current_etag: str | None) -> None:
    """Evaluate the conditions of a write; *current_etag* is None if the object does not exist.

    Raises PreconditionFailed; NoSuchKey for If-Match without an object.
    """
    if conditions.if_match is not None:
        if current_etag is None:
            raise S3Error("NoSuchKey")
        if not _matches(conditions.if_match, current_etag):
            raise precondition_failed("If-Match")
    if (
        conditions.if_none_match is not None
        and current_etag is not None
        and _matches(conditions.if_none_match, current_etag)
    ):
        raise precondition_failed("If-None-Match")


def check_delete(
    conditions: Conditions, *, etag: str, modified: int, size: int, present: bool = True
) -> None:
    """Evaluate the conditions of a delete; raises PreconditionFailed.

    Without an object (*present* is false) every condition raises NoSuchKey.
    """
    if conditions == NONE:
        return
    if not present:
        raise S3Error("NoSuchKey")
    if conditions.if_match is not None and not _matches(conditions.if_match, etag):
        raise precondition_failed("If-Match")
    if conditions.if_size is not None and conditions.if_size != size:
        raise precondition_failed("x-amz-if-match-size")
    if conditions.if_last_modified is not None and conditions.if_last_modified != modified // 1000:
        raise precondition_failed("x-amz-if-match-last-modified-time")


def precondition_failed(condition: str) -> S3Error:
    """Return PreconditionFailed with the name of the condition, as AWS does."""
    return S3Error("PreconditionFailed", Condition=condition)


def _matches(wanted: tuple[str, ...], etag: str) -> bool:
    return etag in wanted or ANY in wanted
