"""Object tags: in a header, and the rules for them wherever they come from."""

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from worker.s3.errors import S3Error, invalid_argument

MAX_TAGS = 10
MAX_KEY = 128
MAX_VALUE = 256

# Letters, digits and spaces of any script, and + - = . _ : / @; but no control characters, of
# which some count as spaces here, and none could be given back in XML.
_ALLOWED = re.compile(r"(?:[\w+\-=.:/@]|[^\S\x00-\x1f\x7f-\x9f])*")


def parse_header(value: str) -> dict[str, str]:
    """Return the tags of an x-amz-tagging header: ``a=1&b=2``, percent-encoded."""
    try:
        pairs = parse_qsl(
            value.encode("latin-1").decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=100,
        )
    except ValueError:
        pairs = None
    if pairs is None or len({key for key, _ in pairs}) != len(pairs):
        raise invalid_argument(
            "x-amz-tagging",
            value,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates.",
        )
    return checked(pairs)


def checked(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tags, at most ten and each once; raises InvalidTag or BadRequest."""
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not key or len(key) > MAX_KEY or not _ALLOWED.fullmatch(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > MAX_VALUE or not _ALLOWED.fullmatch(value):
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
