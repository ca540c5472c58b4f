"""The values a store is made of: repos, refs, extents, entries and commits."""

import re
from collections.abc import Mapping
from typing import Any

import attrs

from worker.errors import Invalid

DEFAULT_PROJECT = "default"
DEFAULT_BRANCH = "master"
OUT = "out"
"""The name of the output bucket, and of the output folder below ``/pfs``."""

# Pachyderm's rule for the names of projects, repos and branches (pachyderm src/internal/ancestry).
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
COMMIT_ID = re.compile(r"[0-9a-f]{32}")


class InvalidName(Invalid):
    """A project, repo, branch or commit is named in a way that no store can hold."""

    def __init__(self, kind: str, found: str, allowed: str) -> None:
        super().__init__(f"{kind}: found {found!r}, expected {allowed}")
        self.kind = kind
        self.found = found


def _named(kind: str) -> Any:
    def check(_instance: object, _attribute: object, value: str) -> None:
        if not NAME.fullmatch(value):
            raise InvalidName(kind, value, "1 to 255 of A–Z, a–z, 0–9, _ and -")

    return check


def _commit_id(_instance: object, _attribute: object, value: str) -> None:
    if not COMMIT_ID.fullmatch(value):
        raise InvalidName("commit", value, "32 hex digits in lower case")


@attrs.frozen(order=True)
class Repo:
    """A versioned repo, by project and name."""

    project: str = attrs.field(validator=_named("project"))
    name: str = attrs.field(validator=_named("repo"))

    def __str__(self) -> str:
        return self.name if self.project == DEFAULT_PROJECT else f"{self.project}/{self.name}"


@attrs.frozen(order=True)
class BranchName:
    """A branch of a repo: a named history of commits."""

    repo: Repo
    name: str = attrs.field(default=DEFAULT_BRANCH, validator=_named("branch"))

    def __str__(self) -> str:
        return f"{self.repo}@{self.name}"


@attrs.frozen(order=True)
class CommitName:
    """A commit of a repo: an immutable tree of files, by its id."""

    repo: Repo
    id: str = attrs.field(validator=_commit_id)

    def __str__(self) -> str:
        return f"{self.repo}@{self.id}"


@attrs.frozen
class Extent:
    """A slice of a run of payload bytes; a file is a list of extents.

    A run is what one writer wrote in one go (an object, a part): *run_length* bytes of *blob*
    that begin at *run_offset* and hash to *sha256* (32 bytes). The extent is the *length* bytes
    that begin *start* bytes into the run. A slice of a run, made by UploadPartCopy, so keeps a
    digest by which it can be verified, and no byte is read to make it.
    """

    blob: str
    run_offset: int
    run_length: int
    sha256: bytes
    start: int
    length: int

    @property
    def offset(self) -> int:
        """Where in the blob the extent begins, in bytes."""
        return self.run_offset + self.start

    @property
    def whole(self) -> bool:
        """Whether the extent is its whole run, so that *sha256* is the digest of its bytes."""
        return self.start == 0 and self.length == self.run_length

    @classmethod
    def of_run(cls, blob: str, *, offset: int, length: int, sha256: bytes) -> "Extent":
        """Return the extent that is the whole of a run."""
        return cls(blob, offset, length, sha256, 0, length)

    def slice(self, start: int, length: int) -> "Extent":
        """Return the *length* bytes that begin *start* bytes into this extent."""
        return attrs.evolve(self, start=self.start + start, length=length)


def cut(extents: tuple[Extent, ...], start: int, stop: int) -> tuple[Extent, ...]:
    """Return the extents that hold the bytes from *start* up to *stop* of a file."""
    pieces = []
    position = 0
    for extent in extents:
        first, last = max(start, position), min(stop, position + extent.length)
        if first < last:
            pieces.append(extent.slice(first - position, last - first))
        position += extent.length
    return tuple(pieces)


@attrs.frozen
class Checksum:
    """A checksum of an object or a part as S3 names it.

    *algorithm* is ``CRC32``, ``CRC32C``, ``CRC64NVME``, ``SHA1`` or ``SHA256``; *value* is base64,
    with ``-N`` behind it when composite; *type* is ``FULL_OBJECT`` or ``COMPOSITE``.
    """

    algorithm: str
    value: str
    type: str = "FULL_OBJECT"


@attrs.frozen
class Part:
    """One part of an object that was uploaded in parts, in bytes and in place."""

    number: int
    size: int
    checksum: Checksum | None = None


@attrs.frozen
class Entry:
    """A file of a commit or an object of a bucket: what is known of it, and where its bytes are."""

    key: str
    size: int
    etag: str
    """Without quotes: the MD5 in hex, or the MD5 of the parts' MD5s, ``-`` and their number."""
    modified: int
    """Milliseconds since 1970-01-01 UTC."""
    extents: tuple[Extent, ...]
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Stored headers by lower-case name: content-type, content-encoding, cache-control, …"""
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    """User metadata by lower-case name without the ``x-amz-meta-``."""
    tags: Mapping[str, str] = attrs.field(factory=dict)
    checksum: Checksum | None = None
    parts: tuple[Part, ...] = ()
    """The parts in order, empty for an object that was put in one go."""


@attrs.frozen
class Upload:
    """A multipart upload in progress, and the attributes of the object that it will create."""

    id: str
    key: str
    initiated: int
    """Milliseconds since 1970-01-01 UTC."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    tags: Mapping[str, str] = attrs.field(factory=dict)
    algorithm: str | None = None
    """The checksum algorithm that CreateMultipartUpload named."""
    checksum_type: str | None = None


@attrs.frozen
class StoredPart:
    """A part of a multipart upload in progress."""

    number: int
    size: int
    """Bytes."""
    etag: str
    """The MD5 in hex, without quotes."""
    modified: int
    """Milliseconds since 1970-01-01 UTC."""
    extents: tuple[Extent, ...]
    checksum: Checksum | None = None


@attrs.frozen
class InputRecord:
    """An input of a job as it was resolved: provenance of its output."""

    name: str
    commit: CommitName
    branch: str
    s3: bool
    glob: str = "/"


@attrs.frozen
class Commit:
    """An immutable tree of files with its provenance; one JSON object in the store."""

    name: CommitName
    branch: str
    """The branch it was made for."""
    parent: str | None
    """The id of the commit that was the head of the branch when this one was made."""
    started: float
    finished: float
    """Seconds since 1970-01-01 UTC."""
    root: str
    """The address of the tree's root."""
    digest: str
    """The tree's digest of meaning, in hex: equal trees are equal here whatever their history."""
    files: int
    size: int
    """The sum of the files' sizes, in bytes."""
    message: str = ""
    inputs: tuple[InputRecord, ...] = ()
    job: Mapping[str, Any] = attrs.field(factory=dict)
    """For the output of a job: its id, pipeline, spec as run, command, image, versions, times and
    statistics, as JSON values."""
