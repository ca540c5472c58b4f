"""A model of a bucket: a dictionary, and the expected responses of requests."""

import hashlib
from collections.abc import Iterable

import attrs


@attrs.frozen
class ModelObject:
    """An object of the model."""

    parts: tuple[bytes, ...]
    multipart: bool = False
    metadata: dict[str, str] = attrs.field(factory=dict)
    content_type: str = "binary/octet-stream"
    tags: dict[str, str] = attrs.field(factory=dict)
    copied: bool = False

    @property
    def readable_parts(self) -> tuple[bytes, ...]:
        """What GetObject returns for each part number: a copy is one object."""
        return (self.data,) if self.copied else self.parts

    @property
    def data(self) -> bytes:
        """All bytes of the object."""
        return b"".join(self.parts)

    @property
    def etag(self) -> str:
        """The ETag of S3."""
        if not self.multipart:
            return f'"{hashlib.md5(self.data).hexdigest()}"'
        digests = b"".join(hashlib.md5(part).digest() for part in self.parts)
        return f'"{hashlib.md5(digests).hexdigest()}-{len(self.parts)}"'


def listed(
    keys: Iterable[str], *, prefix: str, delimiter: str, after: str
) -> list[tuple[str, bool]]:
    """Return the keys and common prefixes of a listing, each with whether it is a common prefix."""
    found: list[tuple[str, bool]] = []
    for key in sorted(keys, key=lambda each: each.encode()):
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key if at < 0 else key[: at + len(delimiter)]
        # A marker below a common prefix is after it, as in S3.
        if name.encode() <= after.encode():
            continue
        if not found or found[-1] != (name, at >= 0):
            found.append((name, at >= 0))
    return found
