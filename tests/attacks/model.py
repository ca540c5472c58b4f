"""A bucket as a dictionary, and what every question about it should be answered with."""

import hashlib
from collections.abc import Iterable

import attrs


@attrs.frozen
class Thing:
    """What is stored at a key."""

    parts: tuple[bytes, ...]
    multipart: bool = False
    metadata: dict[str, str] = attrs.field(factory=dict)
    content_type: str = "binary/octet-stream"
    tags: dict[str, str] = attrs.field(factory=dict)

    @property
    def data(self) -> bytes:
        """All of its bytes."""
        return b"".join(self.parts)

    @property
    def etag(self) -> str:
        """As S3 makes it."""
        if not self.multipart:
            return f'"{hashlib.md5(self.data).hexdigest()}"'
        digests = b"".join(hashlib.md5(part).digest() for part in self.parts)
        return f'"{hashlib.md5(digests).hexdigest()}-{len(self.parts)}"'


def listed(
    keys: Iterable[str], *, prefix: str, delimiter: str, after: str
) -> list[tuple[str, bool]]:
    """Return what a listing shows, in order: names, and whether each is a common prefix.

    Written to be seen through and not to be fast: all keys, sorted by their bytes, one by one.
    """
    found: list[tuple[str, bool]] = []
    for key in sorted(keys, key=lambda each: each.encode()):
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key if at < 0 else key[: at + len(delimiter)]
        # A marker that is itself a common prefix of this listing stands for all below it.
        passed = key.startswith(after) if after and name == after else False
        if passed or key.encode() <= after.encode():
            continue
        if not found or found[-1] != (name, at >= 0):
            found.append((name, at >= 0))
    return found
