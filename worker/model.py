"""Value types that every layer shares: names, refs, extents, entries, uploads and commits."""

import re
from collections.abc import Mapping
from typing import Any

import attrs

from worker.errors import Invalid

DEFAULT_PROJECT = "default"
DEFAULT_BRANCH = "master"
MAX_KEY = 1024
"""The longest key of an object in bytes, as in S3."""
OUT = "out"
"""The output of a job: its S3 bucket, and its folder below ``/pfs``."""

# Pachyderm's rule for the names of projects, repos and branches (pachyderm src/internal/ancestry).
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
NAME_EXPECTED = "1 to 255 of A–Z, a–z, 0–9, _ and -"
COMMIT_ID = re.compile(r"[0-9a-f]{32}")
COMMIT_ID_EXPECTED = "32 hex digits in lower case"


class InvalidName(Invalid):
    """The name of a project, repo, branch or commit does not match its pattern."""

    def __init__(self, kind: str, found: str, expected: str) -> None:
        super().__init__(f"{kind}: found {found!r}, expected {expected}")
        self.kind = kind
        self.found = found


def _validate(_instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    kind = attribute.metadata["kind"]
    pattern, expected = NAME, NAME_EXPECTED
    if kind == "commit":
        pattern, expected = COMMIT_ID, COMMIT_ID_EXPECTED
    if not pattern.fullmatch(value):
        raise InvalidName(kind, value, expected)


@attrs.frozen(order=True)
class Repo:
    """The name of a versioned repo in a project. Raises InvalidName."""

    project: str = attrs.field(validator=_validate, metadata={"kind": "project"})
    name: str = attrs.field(validator=_validate, metadata={"kind": "repo"})

    def __str__(self) -> str:
        return self.name if self.project == DEFAULT_PROJECT else f"{self.project}/{self.name}"


@attrs.frozen(order=True)
class BranchName:
    """The name of a branch, which is a history of commits of one repo. Raises InvalidName."""

    repo: Repo
    name: str = attrs.field(
        default=DEFAULT_BRANCH, validator=_validate, metadata={"kind": "branch"}
    )

    def __str__(self) -> str:
        return f"{self.repo}@{self.name}"


@attrs.frozen(order=True)
class CommitName:
    """A repo and the id of one of its commits. Raises InvalidName."""

    repo: Repo
    id: str = attrs.field(validator=_validate, metadata={"kind": "commit"})

    def __str__(self) -> str:
        return f"{self.repo}@{self.id}"


@attrs.frozen
class Extent:
    """A slice of a run of payload bytes. The content of a file is a list of extents.

    A *run* is the unit of writing and verification: the bytes of one object or part,
    *run_length* bytes at *run_offset* of *blob*, with the SHA-256 digest *sha256* (32 bytes).
    The extent is *length* bytes at *start* of the run. A slice keeps the digest of its run, so
    UploadPartCopy reads no payload and its result can still be verified.
    """

    blob: str
    run_offset: int
    run_length: int
    sha256: bytes
    start: int
    length: int

    @property
    def offset(self) -> int:
        """The offset of the extent in the blob, in bytes."""
        return self.run_offset + self.start

    @property
    def is_whole_run(self) -> bool:
        """Whether the extent covers its run, so that *sha256* is the digest of its bytes."""
        return self.start == 0 and self.length == self.run_length

    @classmethod
    def of_run(cls, blob: str, *, offset: int, length: int, sha256: bytes) -> "Extent":
        """Return the extent that covers a whole run."""
        return cls(blob, offset, length, sha256, 0, length)

    def slice(self, start: int, length: int) -> "Extent":
        """Return the extent of *length* bytes at *start* of this one."""
        return attrs.evolve(self, start=self.start + start, length=length)


def cut(extents: tuple[Extent, ...], start: int, stop: int) -> tuple[Extent, ...]:
    """Return the extents of the bytes from *start* up to *stop* of a file."""
    pieces = []
    position = 0
    for extent in extents:
        first, last = max(start, position), min(stop, position + extent.length)
        if last - first == extent.length:
            pieces.append(extent)
        elif first < last:
            pieces.append(extent.slice(first - position, last - first))
        position += extent.length
    return tuple(pieces)


CHECKSUM_SIZES: Mapping[str, int] = {
    "CRC32": 4,
    "CRC32C": 4,
    "CRC64NVME": 8,
    "MD5": 16,
    "SHA1": 20,
    "SHA256": 32,
    "SHA512": 64,
    "XXHASH128": 16,
    "XXHASH3": 8,
    "XXHASH64": 8,
}
"""Bytes of a value by algorithm, in the order in which S3 lists the algorithms."""


@attrs.frozen
class Checksum:
    """A checksum of an object or a part, in the terms of the S3 API.

    *algorithm* has the name of the API, such as ``CRC64NVME`` or ``SHA256``. *type* is
    ``FULL_OBJECT`` or ``COMPOSITE``. *value* is base64; a composite one ends in ``-`` and the
    number of parts.
    """

    algorithm: str
    value: str
    type: str = "FULL_OBJECT"


STORED_HEADERS = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
        "x-amz-website-redirect-location",
    }
)
"""The headers that are stored with an object and returned by GetObject, as in S3."""


@attrs.frozen
class Part:
    """One part of an object from a multipart upload; *size* is in bytes."""

    number: int
    size: int
    checksum: Checksum | None = None


@attrs.frozen
class Entry:
    """A file of a commit, or an object of a bucket: its metadata and the extents of its content."""

    key: str
    size: int
    etag: str
    """Without quotes: the MD5 in hex; for a multipart upload the MD5 of the parts' MD5s, ``-`` and
    the number of parts."""
    modified: int
    """Milliseconds since 1970-01-01 UTC."""
    extents: tuple[Extent, ...]
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """The `STORED_HEADERS` by lower-case name, decoded as Latin-1."""
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    """User metadata by lower-case name without the ``x-amz-meta-``."""
    tags: Mapping[str, str] = attrs.field(factory=dict)
    checksum: Checksum | None = None
    parts: tuple[Part, ...] = ()
    """The parts in order; empty for an object of one PutObject."""


@attrs.frozen
class Upload:
    """A multipart upload in progress, with the attributes of the object that it will create."""

    id: str
    key: str
    initiated: int
    """Milliseconds since 1970-01-01 UTC."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    tags: Mapping[str, str] = attrs.field(factory=dict)
    algorithm: str | None = None
    """The checksum algorithm that CreateMultipartUpload requested."""
    checksum_type: str | None = None


@attrs.frozen
class StoredPart:
    """A part of a multipart upload in progress, with the extents of its content."""

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
    """A resolved input of a job, kept as provenance of its output commit."""

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
    """The branch that the commit was made for."""
    parent: str | None
    """The id of the head of the branch when the commit was made."""
    started: float
    finished: float
    """Seconds since 1970-01-01 UTC."""
    root: str
    """The address of the tree's root."""
    digest: str
    """The digest of the tree's content in hex; equal content has equal digests in every store."""
    files: int
    size: int
    """The sum of the files' sizes, in bytes."""
    message: str = ""
    inputs: tuple[InputRecord, ...] = ()
    job: Mapping[str, Any] = attrs.field(factory=dict)
    """For the output of a job: its id, pipeline, spec as run, command, image, versions, times and
    statistics, as JSON values."""

    @property
    def is_kept(self) -> bool:
        """Whether this is the kept output of a failed job, which is on no branch."""
        return bool(self.job.get("state", "success") != "success")


FORM = re.compile(
    r"(?:(?P<project>[^/@:^~]*)/)?(?P<repo>[^/@:^~]*)"
    r"(?:@(?P<at>[^/@:^~]*))?(?P<back>(?:[\^~][0-9]*)*)(?::(?P<path>.*))?",
    re.DOTALL,
)
STEP = re.compile(r"[\^~]([0-9]*)")
MAX_DIGITS = 18
"""Significant digits of a number of generations."""


class InvalidRef(Invalid):
    """The text is not a ref."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"ref: found {found!r}, expected [project/]repo[@branch-or-commit][^ or ~N][:path], "
            "such as labresults, labresults@master~2 or lab/results@dev:plates/1.csv"
        )
        self.found = found


@attrs.frozen
class Ref:
    """A parsed ref: a commit of a repo, and a path in it."""

    repo: Repo
    at: str = DEFAULT_BRANCH
    """A branch, or a commit id."""
    back: int = 0
    """The number of parents to go back from there."""
    path: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether *at* has the form of a commit id, which a branch name can also have."""
        return COMMIT_ID.fullmatch(self.at) is not None

    @property
    def branch(self) -> BranchName:
        """The branch with the name *at*."""
        return BranchName(self.repo, self.at)

    def __str__(self) -> str:
        steps = f"~{self.back}" if self.back else ""
        path = f":{self.path}" if self.path else ""
        return f"{self.repo}@{self.at}{steps}{path}"


def _generations(digits: str) -> int:
    """Return the number of a step; of very many *digits*, a number that no history reaches."""
    significant = digits.lstrip("0")
    if len(significant) > MAX_DIGITS:
        return int(10**MAX_DIGITS)
    return int(digits[-MAX_DIGITS:] or 1)


def parse_ref(text: str, *, project: str = DEFAULT_PROJECT) -> Ref:
    """Parse a ref; *project* is the default. Raises InvalidRef and InvalidName.

    ``^``, ``^N``, ``~`` and ``~N`` each go back by parents, and add up. The path is everything
    after the first colon without one leading slash: ``repo:/a`` and ``repo:a`` are the same file.
    """
    found = FORM.fullmatch(text)
    if found is None or found["repo"] == "" or found["project"] == "" or found["at"] == "":
        raise InvalidRef(text)
    repo = Repo(found["project"] or project, found["repo"])
    at = BranchName(repo, found["at"] or DEFAULT_BRANCH).name
    back = sum(map(_generations, STEP.findall(found["back"])))
    return Ref(repo, at, back=back, path=(found["path"] or "").removeprefix("/"))
