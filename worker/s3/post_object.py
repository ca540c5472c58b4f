"""PostObject: the object that a form describes, and the response to the browser."""

from collections.abc import Mapping
from urllib.parse import quote, quote_plus, urlsplit

import attrs

from worker.model import STORED_HEADERS
from worker.s3 import header_text
from worker.s3.error_codes import invalid_argument
from worker.s3.metadata import META, ObjectMetadata, check_metadata, stored_headers
from worker.s3.post_authentication import missing_field
from worker.s3.post_form import Form
from worker.s3.request import (
    OBJECT,
    SIGNATURE_PARAMETERS,
    Request,
    check_characters,
    check_header,
    check_key,
)
from worker.s3.tags import parse_tagging_header
from worker.s3.unsupported_headers import check_supported
from worker.s3.xml_requests import parse_tagging

WRITE_CONDITIONS = ("if-match", "if-none-match")
PASSED = frozenset((*STORED_HEADERS, "content-md5", *WRITE_CONDITIONS))
"""The fields that are headers of PutObject, besides those that start with ``x-amz-``."""
RENAMED: Mapping[str, str] = {
    "acl": "x-amz-acl",
    # In PutObject, this header has no meaning; in a form it demands the checksum that it names.
    "x-amz-checksum-algorithm": "x-amz-sdk-checksum-algorithm",
}
"""The header of PutObject for a field that has another name."""
STATUSES: Mapping[str | None, int] = {"200": 200, "201": 201}
"""The values of success_action_status; 204 for all others."""


def object_request(request: Request, form: Form) -> Request:
    """Return *request* as one for the object that its form describes, with the fields as headers.

    Of its own headers, only conditions remain: the policy of a form says nothing about headers.
    Raises InvalidArgument, KeyTooLongError and InvalidURI.
    """
    key = form.get("key")
    if key is None:
        raise missing_field("key")
    if not key:
        raise invalid_argument("key", "", "User key must have a length greater than 0.")
    check_characters(key)
    check_key(key, key)
    headers = {name: request.headers[name] for name in WRITE_CONDITIONS if name in request.headers}
    for name, field in form.fields.items():
        if name in RENAMED or name in PASSED or _is_amz_header(name):
            value = _header_value(field.value)
            check_header(name, value)
            if name in WRITE_CONDITIONS and headers.get(name, value) != value:
                raise invalid_argument(
                    name, None, f"The form and the header have two values of {name}; send one."
                )
            headers[RENAMED.get(name, name)] = value
    return attrs.evolve(request, key=key, level=OBJECT, headers=headers)


def _is_amz_header(name: str) -> bool:
    return name.startswith("x-amz-") and name not in SIGNATURE_PARAMETERS


def _header_value(text: str) -> str:
    """Return the text of a field as a header.

    A header is Latin-1, and S3 replaces all other characters by spaces (recorded with U+2014). User
    metadata is encoded later. A header has no white space at its ends.
    """
    return "".join(each if each <= "\xff" else " " for each in text).strip(" \t")


def form_metadata(request: Request, form: Form) -> ObjectMetadata:
    """Return the metadata of the object; *request* is that of `object_request`.

    User metadata is text in UTF-8: unlike in a header, encoded words are not decoded.
    """
    check_supported(request)
    metadata = {
        name[len(META) :]: field.value.strip(" \t")
        for name, field in form.fields.items()
        if name.startswith(META) and len(name) > len(META)
    }
    check_metadata(metadata)
    tagging, header = form.get("tagging"), request.headers.get("x-amz-tagging")
    tags: dict[str, str] = {}
    if tagging:
        tags = parse_tagging(tagging.encode(), root=None)
    elif header:
        tags = parse_tagging_header(header)
    return ObjectMetadata(stored_headers(request), metadata, tags)


def location(request: Request, *, scheme: str) -> str:
    """Return the URL of the object of *request*; slashes of its key are encoded, as in S3."""
    bucket = "" if request.virtual else f"/{request.bucket}"
    return f"{scheme}://{request.host}{bucket}/{quote(request.key or '', safe='')}"


def redirect(request: Request, form: Form, *, etag: str) -> str | None:
    """Return the URL that the form redirects to; None without one, and if it is no URL.

    S3 adds bucket, key and etag to its query.
    """
    url = form.get("success_action_redirect")
    if url is None:
        url = form.get("redirect")
    if not url or not _is_absolute(url):
        return None
    target = quote(url, safe=_PRINTABLE)
    added = {"bucket": request.bucket or "", "key": request.key or "", "etag": f'"{etag}"'}
    query = "&".join(f"{name}={quote_plus(value)}" for name, value in added.items())
    return f"{target}{'&' if '?' in target else '?'}{query}"


# Only what no header can carry is encoded; S3 keeps the URL as it is, even its spaces.
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


def _is_absolute(url: str) -> bool:
    if header_text.has_control(url) or "\t" in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
