"""Tags of objects: the limits of S3, and the x-amz-tagging header."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from worker.s3.error_codes import S3Error, invalid_argument

MAX_TAGS = 10
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
MAX_PAIRS = 100
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# Letters, digits and spaces of any script, and + - = . _ : / @. Control characters, some of which
# \s matches, are excluded, since XML cannot represent them.
_TAG = re.compile(r"(?:[\w+\-=.:/@]|[^\S\x00-\x1f\x7f-\x9f])*")


def parse_tagging_header(value: str) -> dict[str, str]:
    """Parse the x-amz-tagging header, such as ``a=1&b=2``; raises S3Error."""
    pairs = []
    for pair in value.encode("latin-1").split(b"&", MAX_PAIRS):
        if not pair:
            continue
        key, separator, text = pair.partition(b"=")
        if (not key and separator) or b"=" in text or _BROKEN_ESCAPE.search(pair):
            raise _invalid_header(value)
        try:
            pairs.append((_decoded(key), _decoded(text)))
        except UnicodeDecodeError:
            raise _invalid_header(value) from None
    if len({key for key, _ in pairs}) != len(pairs):
        raise _invalid_header(value)
    return check_tags(pairs)


def _decoded(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode()


def _invalid_header(value: str) -> S3Error:
    return invalid_argument(
        "x-amz-tagging",
        value,
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
        "parameters without tag name duplicates.",
    )


def check_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return valid tags as a mapping; raises InvalidTag or BadRequest.

    At most ten, with distinct keys of at most 128 and values of at most 256 characters.
    """
    tags: dict[str, str] = {}
    for key, value in pairs:
        if key.startswith("aws:"):
            raise S3Error("InvalidTag", "Your TagKey cannot be prefixed with aws:", TagKey=key)
        if not key or len(key) > MAX_TAG_KEY or not _TAG.fullmatch(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > MAX_TAG_VALUE or not _TAG.fullmatch(value):
            raise S3Error(
                "InvalidTag",
                "The TagValue you have provided is invalid",
                TagKey=key,
                TagValue=value,
            )
        if key in tags:
            raise S3Error(
                "InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key
            )
        tags[key] = value
    if len(tags) > MAX_TAGS:
        raise S3Error("BadRequest", "Object tags cannot be greater than 10")
    return tags
