"""Listings of objects: ListObjects, ListObjectsV2 and ListObjectVersions in pages of sorted keys.

Keys below a common prefix are skipped by seeking.
"""

from collections.abc import Callable, Iterable, Mapping

import attrs

from worker.model import Entry
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.list_parameters import (
    MAX_PAGE,
    after,
    beyond,
    encoding_type,
    integer,
    not_negative,
    past,
    start_of,
    token_of,
)
from worker.s3.request import Request

V1 = "v1"
V2 = "v2"
VERSIONS = "versions"

MAX_SKIPPED = 8
"""Keys below a common prefix that are read before the listing seeks past it. Reading on is faster
for a few keys, and a seek costs the same for any number."""

Source = Callable[[str], Iterable[Entry]]
"""``source(start)`` lazily yields the entries from the key *start* on, sorted by UTF-8 bytes."""

# The parameters of the other form are rejected, also if they are empty.
_FOREIGN: Mapping[str, tuple[tuple[str, str], ...]] = {
    V1: (
        (
            "continuation-token",
            "continuation-token only supported in REST.GET.BUCKET with list-type=2",
        ),
        ("start-after", "startAfter only supported in REST.GET.BUCKET with list-type=2"),
    ),
    V2: (("marker", "Marker unsupported with REST.GET.BUCKET in list-type=2"),),
}
_NULL = "Value must be a sequence of Unicode characters and cannot include Null."
_ATTRIBUTES_HEADER = "x-amz-optional-object-attributes"


@attrs.frozen
class ListQuery:
    """The parameters of ListObjects, ListObjectsV2 or ListObjectVersions."""

    kind: str
    """V1, V2 or VERSIONS."""
    prefix: str
    delimiter: str
    """Empty if there is none."""
    max_keys: int
    start: str | None
    """The first key that may be listed, as derived from a marker or token; None lists no key."""
    encoding: str | None = None
    """``encoding-type`` as sent; with one, keys in the response are percent-encoded."""
    has_delimiter: bool = False
    """Whether the request has a delimiter, which may be empty."""
    marker: str = ""
    """``marker`` or ``key-marker``, as sent."""
    version_marker: str = ""
    start_after: str | None = None
    token: str | None = None
    fetch_owner: bool = False

    @property
    def limit(self) -> int:
        """The number of keys and common prefixes on a page: max-keys, at most 1,000."""
        return min(self.max_keys, MAX_PAGE)


@attrs.frozen
class Page:
    """A page of keys and common prefixes, both sorted."""

    items: tuple[Entry, ...]
    prefixes: tuple[str, ...]
    next: str | None
    """The first key of the next page; None for the last page."""
    last: str
    """The last key or common prefix of the page, which is NextMarker."""
    last_is_key: bool = True

    @property
    def token(self) -> str | None:
        """The continuation token of the next page."""
        return None if self.next is None else token_of(self.next)


def parse_list(request: Request, kind: str) -> ListQuery:
    """Parse the parameters of a listing of *kind*; raises InvalidArgument.

    The parameters are checked in the order of S3.
    """
    params = request.params
    _check_attributes(request)
    max_keys = integer(params, "max-keys", MAX_PAGE)
    for name, message in _FOREIGN.get(kind, ()):
        if name in params:
            raise invalid_argument(name, None, message)
    prefix = params.get("prefix", "")
    delimiter = params.get("delimiter", "")
    marker_name = "key-marker" if kind == VERSIONS else "marker"
    marker = params.get(marker_name, "")
    start = beyond(marker, prefix, delimiter)
    version_marker, start_after, token = "", None, None
    if kind == VERSIONS:
        version_marker = _version_marker(params)
        if version_marker and not marker:
            start = None
        encoding = encoding_type(params)
        if max_keys < 0:
            raise invalid_argument("max-keys", None, "max-keys cannot be negative")
    else:
        encoding = encoding_type(params)
        start_after, token = params.get("start-after"), params.get("continuation-token")
        if token is not None:
            start = start_of(token)
        elif start_after:
            start = beyond(start_after, prefix, delimiter)
        # Not the name of the parameter, which the message for what is no number has.
        not_negative(max_keys, "maxKeys")
    for name in ("prefix", marker_name):
        if "\x00" in params.get(name, ""):
            raise invalid_argument(name, params[name], _NULL)
    return ListQuery(
        kind,
        prefix,
        delimiter,
        max_keys,
        start if start is None else max(start, prefix),
        encoding,
        has_delimiter="delimiter" in params,
        marker=marker,
        version_marker=version_marker,
        start_after=start_after,
        token=token,
        fetch_owner=params.get("fetch-owner") == "true",
    )


def _check_attributes(request: Request) -> None:
    """Reject unknown optional attributes.

    The only one is RestoreStatus, which is the state of an archived object. Objects are not
    archived, so none has it.
    """
    value = request.headers.get(_ATTRIBUTES_HEADER)
    if value is not None and any(name.strip() != "RestoreStatus" for name in value.split(",")):
        raise invalid_argument(_ATTRIBUTES_HEADER, value, "Invalid attribute name specified")


def _version_marker(params: Mapping[str, str]) -> str:
    """Return version-id-marker, which can only be ``null``; an empty string without one."""
    name = "version-id-marker"
    value = params.get(name)
    if value is None:
        return ""
    fault: S3Error | None = None
    if "key-marker" not in params:
        fault = invalid_argument(
            name, value, "A version-id marker cannot be specified without a key marker."
        )
    elif not value:
        fault = invalid_argument(name, value, "A version-id marker cannot be empty.")
    elif value != "null":
        fault = invalid_argument(name, value, "Invalid version id specified")
    if fault is not None:
        raise fault
    return value


def page(source: Source, query: ListQuery) -> Page:
    """Return a page of up to *limit* keys and common prefixes.

    Few keys below a common prefix are read; then *source* is called again to seek past it.
    """
    items: list[Entry] = []
    prefixes: list[str] = []
    prefix, delimiter = query.prefix, query.delimiter
    start = query.start
    last, last_is_key = "", True
    remaining = query.limit
    while start is not None and query.limit > 0:
        seek: str | None = None
        common_prefix = ""
        skippable = 0
        for item in source(start):
            key = item.key
            if common_prefix and key.startswith(common_prefix):
                skippable -= 1
                if skippable < 0:
                    seek = past(common_prefix)
                    break
                continue
            common_prefix = ""
            if not key.startswith(prefix):
                break
            found = key.find(delimiter, len(prefix)) if delimiter else -1
            if remaining == 0:
                return Page(
                    tuple(items),
                    tuple(prefixes),
                    past(last) if not last_is_key else after(last),
                    last,
                    last_is_key,
                )
            remaining -= 1
            if found < 0:
                items.append(item)
                last, last_is_key = key, True
            else:
                common_prefix = last = key[: found + len(delimiter)]
                last_is_key = False
                prefixes.append(common_prefix)
                skippable = MAX_SKIPPED
        start = seek
    return Page(tuple(items), tuple(prefixes), None, last, last_is_key)
