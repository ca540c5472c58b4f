"""Listings of uploads and of their parts: ListMultipartUploads and ListParts."""

from collections.abc import Iterable, Sequence

import attrs

from worker.model import StoredPart, Upload
from worker.s3.error_codes import S3Error, invalid_argument
from worker.s3.list_parameters import (
    MAX_PAGE,
    after,
    beyond,
    encoding_type,
    integer,
    not_negative,
)
from worker.s3.multipart import UPLOAD_ID
from worker.s3.request import Request


@attrs.frozen
class UploadsQuery:
    """The parameters of ListMultipartUploads."""

    prefix: str
    delimiter: str
    limit: int
    key_marker: str
    id_marker: str
    encoding: str | None
    """``encoding-type`` as sent; with one, keys in the response are percent-encoded."""


@attrs.frozen
class UploadsPage:
    """A page of uploads and common prefixes."""

    uploads: tuple[Upload, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_key: str
    next_id: str
    """The markers of the next page; of the last one, the last upload of it, as in S3."""


def parse_uploads(request: Request) -> UploadsQuery:
    """Parse the parameters of ListMultipartUploads; raises InvalidArgument."""
    params = request.params
    maximum = integer(params, "max-uploads", MAX_PAGE)
    encoding = encoding_type(params)
    limit = min(not_negative(maximum, "max-uploads"), MAX_PAGE)
    # S3 ignores it without a key marker.
    id_marker = params.get("upload-id-marker", "") if params.get("key-marker") else ""
    if id_marker and not UPLOAD_ID.fullmatch(id_marker):
        raise _invalid_marker(id_marker)
    return UploadsQuery(
        prefix=params.get("prefix", ""),
        delimiter=params.get("delimiter", ""),
        limit=limit,
        key_marker=params.get("key-marker", ""),
        id_marker=id_marker,
        encoding=encoding,
    )


def _invalid_marker(marker: str) -> S3Error:
    return invalid_argument("upload-id-marker", marker, "Invalid uploadId marker")


def uploads_page(uploads: Sequence[Upload], query: UploadsQuery) -> UploadsPage:
    """Return a page of *uploads*, which must be all uploads, sorted by key and id.

    Raises InvalidArgument if the marker is an upload of another key than the key marker. The marker
    of an upload that was completed or aborted is valid, since clients abort what they have listed.
    """
    if query.id_marker and any(
        each.id == query.id_marker and each.key != query.key_marker for each in uploads
    ):
        raise _invalid_marker(query.id_marker)
    found: list[Upload] = []
    prefixes: list[str] = []
    start = beyond(query.key_marker, query.prefix, query.delimiter)
    below_prefix = start != after(query.key_marker)
    next_key = next_id = ""
    for upload in uploads:
        key = upload.key
        same_key = (
            bool(query.id_marker)
            and not below_prefix
            and key == query.key_marker
            and upload.id > query.id_marker
        )
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
    last = (found[-1].key, found[-1].id) if found else ("", "")
    return UploadsPage(tuple(found), tuple(prefixes), False, *last)


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
        marker=not_negative(integer(params, "part-number-marker", 0), "part-number-marker"),
        limit=min(not_negative(integer(params, "max-parts", MAX_PAGE), "max-parts"), MAX_PAGE),
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
