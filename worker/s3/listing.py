"""Listings: pages of sorted keys, with common prefixes that are skipped by seeking."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping

import attrs

from worker.model import Entry, StoredPart, Upload
from worker.s3.error_codes import invalid_argument
from worker.s3.request import Request

V1 = "v1"
V2 = "v2"
VERSIONS = "versions"

MAX_PAGE = 1000
MAX_NUMBER = 2**31 - 1
MAX_BUCKETS = 10_000

REGION = "us-east-1"
"""The region of every bucket."""
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{2,12}){1,3}-[0-9]{1,2}", re.ASCII)

MAX_SKIPPED = 8
"""Keys below a common prefix that are read before the listing seeks past it. Reading on is faster
for a few keys, and a seek costs the same for any number."""


Source = Callable[[str], Iterable[Entry]]
"""``source(start)`` lazily yields the entries from the key *start* on, sorted by UTF-8 bytes."""


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


@attrs.frozen
class ListQuery:
    """The parameters of ListObjects, ListObjectsV2 or ListObjectVersions."""

    kind: str
    """V1, V2 or VERSIONS."""
    prefix: str
    delimiter: str
    """Empty if there is none."""
    limit: int
    """max-keys, at most 1,000."""
    start: str | None
    """The first key that may be listed, as derived from a marker or token; None lists no key."""
    url: bool
    """Whether keys in the response are percent-encoded (``encoding-type=url``)."""
    marker: str = ""
    """``marker`` or ``key-marker``, as sent."""
    version_marker: str = ""
    start_after: str | None = None
    token: str | None = None
    fetch_owner: bool = False


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
        return None if self.next is None else _token(self.next)


def parse_list(request: Request, kind: str) -> ListQuery:
    """Parse the parameters of a listing of *kind*; raises InvalidArgument."""
    params = request.params
    prefix = params.get("prefix", "")
    delimiter = params.get("delimiter", "")
    limit = min(_number(params, "max-keys", "maxKeys"), MAX_PAGE)
    url = _encoding(params)
    start: str | None = ""
    marker = version_marker = ""
    start_after = token = None
    if kind == V2:
        start_after = params.get("start-after")
        token = params.get("continuation-token")
        if token is not None:
            start = _token_start(token)
        elif start_after:
            start = _beyond(start_after, prefix, delimiter)
    elif kind == V1:
        marker = params.get("marker", "")
        start = _beyond(marker, prefix, delimiter)
    else:
        marker = params.get("key-marker", "")
        version_marker = params.get("version-id-marker", "")
        if version_marker and not marker:
            raise invalid_argument(
                "version-id-marker",
                version_marker,
                "A version-id marker cannot be specified without a key marker.",
            )
        start = _beyond(marker, prefix, delimiter)
    return ListQuery(
        kind,
        prefix,
        delimiter,
        limit,
        start if start is None else max(start, prefix),
        url,
        marker=marker,
        version_marker=version_marker,
        start_after=start_after,
        token=token,
        fetch_owner=params.get("fetch-owner", "").lower() == "true",
    )


def _beyond(marker: str, prefix: str, delimiter: str) -> str | None:
    """Return the smallest key after *marker*; None if there is none.

    A marker that is a common prefix is after all keys below it.
    """
    if not marker:
        return ""
    if delimiter and marker.startswith(prefix):
        found = marker.find(delimiter, len(prefix))
        if found >= 0 and found + len(delimiter) == len(marker):
            return past(marker)
    return after(marker)


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


@attrs.frozen
class UploadsQuery:
    """The parameters of ListMultipartUploads."""

    prefix: str
    delimiter: str
    limit: int
    key_marker: str
    id_marker: str
    url: bool


@attrs.frozen
class UploadsPage:
    """A page of uploads and common prefixes."""

    uploads: tuple[Upload, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_key: str
    next_id: str


def parse_uploads(request: Request) -> UploadsQuery:
    """Parse the parameters of ListMultipartUploads; raises InvalidArgument."""
    params = request.params
    return UploadsQuery(
        prefix=params.get("prefix", ""),
        delimiter=params.get("delimiter", ""),
        limit=min(_number(params, "max-uploads", "max-uploads"), MAX_PAGE),
        key_marker=params.get("key-marker", ""),
        # S3 ignores it without a key marker.
        id_marker=params.get("upload-id-marker", "") if params.get("key-marker") else "",
        url=_encoding(params),
    )


def uploads_page(uploads: Iterable[Upload], query: UploadsQuery) -> UploadsPage:
    """Return a page of *uploads*, which must be sorted by key and id."""
    found: list[Upload] = []
    prefixes: list[str] = []
    start = _beyond(query.key_marker, query.prefix, query.delimiter)
    next_key = next_id = ""
    for upload in uploads:
        key = upload.key
        same_key = bool(query.id_marker) and key == query.key_marker and upload.id > query.id_marker
        if not key.startswith(query.prefix) or start is None or (key < start and not same_key):
            continue
        at = key.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        common_prefix = key[: at + len(query.delimiter)] if at >= 0 else ""
        if common_prefix and prefixes and prefixes[-1] == common_prefix:
            continue
        if len(found) + len(prefixes) >= query.limit:
            truncated = query.limit > 0
            return UploadsPage(tuple(found), tuple(prefixes), truncated, next_key, next_id)
        if common_prefix:
            prefixes.append(common_prefix)
            next_key, next_id = common_prefix, ""
        else:
            found.append(upload)
            next_key, next_id = key, upload.id
    return UploadsPage(tuple(found), tuple(prefixes), False, "", "")


@attrs.frozen
class PartsQuery:
    """The parameters of ListParts."""

    marker: int
    limit: int


@attrs.frozen
class PartsPage:
    """A page of parts."""

    parts: tuple[StoredPart, ...]
    truncated: bool


def parse_parts(request: Request) -> PartsQuery:
    """Parse the parameters of ListParts; raises InvalidArgument."""
    params = request.params
    return PartsQuery(
        marker=_number(params, "part-number-marker", "partNumberMarker", default=0),
        limit=min(_number(params, "max-parts", "max-parts"), MAX_PAGE),
    )


def parts_page(parts: Iterable[StoredPart], query: PartsQuery) -> PartsPage:
    """Return a page of *parts*, which must be sorted by number."""
    found: list[StoredPart] = []
    for part in parts:
        if part.number <= query.marker:
            continue
        if len(found) >= query.limit:
            return PartsPage(tuple(found), query.limit > 0)
        found.append(part)
    return PartsPage(tuple(found), False)


@attrs.frozen
class BucketsQuery:
    """The parameters of ListBuckets."""

    prefix: str | None
    region: str | None
    limit: int | None
    """max-buckets; None lists all buckets on one page."""
    start: str
    """The first name that may be listed."""

    @property
    def with_region(self) -> bool:
        """Whether the buckets are listed with their region: in response to any parameter."""
        return bool(self.prefix or self.region or self.limit is not None or self.start)


@attrs.frozen
class BucketsPage:
    """A page of pairs of name and creation time in milliseconds, sorted by name."""

    buckets: tuple[tuple[str, int], ...]
    token: str | None
    """The continuation token of the next page; None for the last page."""


def parse_buckets(request: Request) -> BucketsQuery:
    """Parse the parameters of ListBuckets; raises InvalidArgument."""
    params = request.params
    limit = None
    if params.get("max-buckets"):
        limit = _number(params, "max-buckets", "max-buckets")
        if not 1 <= limit <= MAX_BUCKETS:
            raise invalid_argument(
                "max-buckets",
                params["max-buckets"],
                f"Argument max-buckets must be an integer between 1 and {MAX_BUCKETS}",
            )
    region = params.get("bucket-region") or None
    if region is not None and not _REGION.fullmatch(region):
        raise invalid_argument(
            "bucket-region", None, f"Argument value {region} is not a valid AWS Region"
        )
    # Unlike ListObjectsV2, S3 accepts an empty token here.
    token = params.get("continuation-token")
    return BucketsQuery(params.get("prefix"), region, limit, _token_start(token) if token else "")


def buckets_page(buckets: Iterable[tuple[str, int]], query: BucketsQuery) -> BucketsPage:
    """Return a page of *buckets*, which are pairs of name and creation time in milliseconds."""
    if query.region not in (None, REGION):
        return BucketsPage((), None)
    found = [
        (name, created)
        for name, created in sorted(buckets)
        if name.startswith(query.prefix or "") and name >= query.start
    ]
    if query.limit is None or len(found) <= query.limit:
        return BucketsPage(tuple(found), None)
    return BucketsPage(tuple(found[: query.limit]), _token(found[query.limit][0]))


def _number(params: Mapping[str, str], name: str, called: str, *, default: int = MAX_PAGE) -> int:
    value = params.get(name, "")
    if not value:
        return default
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise invalid_argument(
            called, value, f"Provided {name} not an integer or within integer range"
        )
    if value.startswith("-") or int(value) > MAX_NUMBER:
        raise invalid_argument(
            called, value, f"Argument {called} must be an integer between 0 and {MAX_NUMBER}"
        )
    return int(value)


def _encoding(params: Mapping[str, str]) -> bool:
    value = params.get("encoding-type")
    if value is not None and value.lower() != "url":
        raise invalid_argument(
            "encoding-type", value, "Invalid Encoding Method specified in Request"
        )
    return value is not None


# A token contains only the first key of the next page, so it is valid in every process and after
# every change of the bucket. Its first digit is the version of the format.
def _token(start: str) -> str:
    return "1" + base64.urlsafe_b64encode(start.encode()).decode().rstrip("=")


def _token_start(token: str) -> str:
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
