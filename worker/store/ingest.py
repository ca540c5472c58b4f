"""Ingest: store the bytes of files and streams in a stage, and describe each by an entry."""

import enum
import errno
import hashlib
import mimetypes
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import attrs

from worker.directories import Directory, open_parent
from worker.errors import Invalid
from worker.model import Entry, Extent
from worker.store.blobs import BlobReader, Stage
from worker.text import kind_of_file

# Files up to this size share a pack.
SMALL = 1 << 20
PIECE = 1 << 20
# The largest blob; a larger file is a list of extents.
RUN_LIMIT = 4 << 30
# Seconds by which a file must be older than its entry to be considered unchanged. Timestamps of
# files are coarse (two seconds on FAT), and the clock of a file server differs from ours.
TRUST_MARGIN = 2.0
# A file that another program changes is read as often as this, in the hope of a consistent state.
READS = 3
# A parent folder may have become a file, and a file server may have lost the file.
VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
REPLACED = "it was replaced while it was read"
EMPTY_MD5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()
FOLDER_TYPE = {"content-type": "application/x-directory"}
# A compressed file has the type of its compression. As `text/csv` with the content encoding gzip,
# clients would decompress it.
COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}
# Not the table of the module, which also contains what the machine's own files define.
_types = mimetypes.MimeTypes()

Read = Callable[[int], bytes]


class Readable(Protocol):
    """A stream of bytes; ``read`` returns none at its end, and may return fewer than asked for."""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes."""
        ...


@attrs.frozen
class Found:
    """A file of this machine and its key in the commit. An empty folder's key ends in ``/``."""

    key: str
    path: str
    """For messages: the file is opened in *directory*, by *name*."""
    directory: Directory
    name: str = attrs.field(
        default=attrs.Factory(lambda found: os.path.basename(found.path), takes_self=True)
    )
    is_link: bool = False

    @classmethod
    def at(cls, key: str, path: str) -> "Found":
        """Find the file that *path*, which may be a link, leads to; raises OSError."""
        return cls(key, path, *open_parent(os.path.realpath(path)))

    def open(self) -> int:
        """Return a descriptor of the file for reading; raises NotAFile."""
        try:
            fd = self.directory.open(self.name)
        except OSError as error:
            raise NotAFile(replaced_or(self.path, error)) from error
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            os.close(fd)
            raise NotAFile(Problem(self.path, not_a_file(mode)))
        return fd

    def status(self) -> os.stat_result:
        """Return the status of the file, or of the link; raises NotAFile."""
        try:
            return self.directory.status(self.name)
        except OSError as error:
            raise NotAFile(Problem.of(self.path, error)) from error


FileVersion = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, mtime and ctime in nanoseconds: they change with the content."""


def version_of(status: os.stat_result) -> FileVersion:
    """Return the version of a file; no system call can set its ctime back."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class ProblemKind(enum.Enum):
    """What a problem means for a repetition of the check-in."""

    INVALID = enum.auto()
    """It can never be a file of a commit."""
    UNREADABLE = enum.auto()
    """It does not exist, or its permissions deny access."""
    UNAVAILABLE = enum.auto()
    """Its file system failed."""
    CHANGED = enum.auto()
    """Another program has removed it, or changed it while it was read."""


@attrs.frozen
class Problem:
    """A path of this machine that cannot be a file of a commit, and the reason."""

    path: str
    reason: str
    kind: ProblemKind = ProblemKind.INVALID

    @classmethod
    def of(cls, path: str, error: OSError) -> "Problem":
        """Return the problem that *error* at *path* means; the path has existed before."""
        if error.errno in VANISHED:
            return cls(path, "it vanished while the files were read", ProblemKind.CHANGED)
        denied = isinstance(error, PermissionError)
        kind = ProblemKind.UNREADABLE if denied else ProblemKind.UNAVAILABLE
        return cls(path, error.strerror or str(error), kind)


def replaced_or(path: str, error: OSError) -> Problem:
    """Return the problem of *path*, which has existed before and was opened without links."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return Problem(path, REPLACED, ProblemKind.CHANGED)
    return Problem.of(path, error)


class NotAFile(Invalid):
    """A path cannot be read as a file."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.path}: {problem.reason}")
        self.problem = problem


@attrs.define
class Compared:
    """The number of files that were read and found unchanged, and their size in bytes."""

    files: int = 0
    size: int = 0


class Ingester:
    """Stores files in a stage. A context manager, as it owns a thread; for one thread at a time."""

    def __init__(self, stage: Stage, reader: BlobReader) -> None:
        """Write to *stage*; *reader* reads the content of known entries for comparison."""
        self.stage = stage
        self._reader = reader
        self.compared = Compared()
        self._hashing = ThreadPoolExecutor(1)

    def __enter__(self) -> "Ingester":
        """Return the ingester."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread and close the reader."""
        self._hashing.shutdown()
        self._reader.close()

    def add_file(self, found: Found, known: Entry | None, *, trust_mtime: bool = False) -> Entry:
        """Return the entry of a file or an empty folder; *known* itself if the content is equal.

        With *trust_mtime* a file is not read if it has the size of *known* and was last changed
        before *known* was ingested. A file that changes while it is read is read again. Raises
        NotAFile.
        """
        if found.key.endswith("/"):
            return known if known is not None and known.size == 0 else _folder(found.key)
        if trust_mtime and known is not None and _is_older(found.status(), known):
            return known
        # Taken before the first read, so that a later write makes the file newer than its entry.
        started = _now_ms()
        fd = found.open()
        try:
            if known is not None and os.fstat(fd).st_size == known.size:
                if self._is_same(fd, known):
                    self.compared.files += 1
                    self.compared.size += known.size
                    return known
                os.lseek(fd, 0, os.SEEK_SET)
            for _ in range(READS):
                before = version_of(os.fstat(fd))
                entry = self._add(found.key, lambda size: os.read(fd, size), started)
                if version_of(os.fstat(fd)) == before:
                    return entry
                started = _now_ms()
                os.lseek(fd, 0, os.SEEK_SET)
        except OSError as error:
            raise NotAFile(Problem.of(found.path, error)) from error
        finally:
            os.close(fd)
        reason = f"it changed each of the {READS} times that it was read"
        raise NotAFile(Problem(found.path, reason, ProblemKind.CHANGED))

    def add_stream(self, key: str, stream: Readable) -> Entry:
        """Read *stream* to its end and return the entry of its content."""
        return self._add(key, stream.read, _now_ms())

    def _add(self, key: str, read: Read, modified: int) -> Entry:
        head = _read_fully(read, SMALL + 1)
        if len(head) > SMALL:
            extents, etag = self._add_large(head, read)
        else:
            extents = (self.stage.append(head),) if head else ()
            etag = hashlib.md5(head, usedforsecurity=False).hexdigest()
        size = sum(extent.length for extent in extents)
        return Entry(key, size, etag, modified, extents, headers=content_type(key))

    def _add_large(self, head: bytes, read: Read) -> tuple[tuple[Extent, ...], str]:
        """Write *head* and the rest of *read* to blobs; return their extents and the MD5 in hex.

        MD5 is computed in a second thread, while this one computes SHA-256, writes and reads.
        """
        md5 = hashlib.md5(usedforsecurity=False)
        extents = []
        piece = head
        while piece:
            blob, sha256 = self.stage.open(), hashlib.sha256()
            try:
                while piece and blob.size < RUN_LIMIT:
                    hashed = self._hashing.submit(md5.update, piece)
                    sha256.update(piece)
                    blob.write(piece)
                    following = read(PIECE)
                    hashed.result()
                    piece = following
            except BaseException:
                blob.discard()
                raise
            extents.append(blob.seal(sha256.digest()))
        return tuple(extents), md5.hexdigest()

    def _is_same(self, fd: int, known: Entry) -> bool:
        """Return whether the file has the content of *known*: by digest, or bytewise for slices."""
        for extent in known.extents:
            if extent.is_whole_run:
                sha256, left = hashlib.sha256(), extent.length
                while left and (piece := os.read(fd, min(PIECE, left))):
                    sha256.update(piece)
                    left -= len(piece)
                if sha256.digest() != extent.sha256:
                    return False
            else:
                for data in self._reader.pieces((extent,)):
                    if _read_fully(lambda size: os.read(fd, size), len(data)) != data:
                        return False
        return not os.read(fd, 1)


def content_type(key: str) -> dict[str, str]:
    """Return the ``content-type`` header for the extension of *key*; empty if it is unknown."""
    kind, coding = _types.guess_type(key.rpartition("/")[2], strict=False)
    if coding is not None:
        kind = COMPRESSED.get(coding)
    return {"content-type": kind} if kind else {}


def not_a_file(mode: int) -> str:
    """Return the reason why a path with this ``st_mode`` is not a regular file."""
    return f"it is {kind_of_file(mode)}, expected a regular file"


def _folder(key: str) -> Entry:
    return Entry(key, 0, EMPTY_MD5, _now_ms(), (), headers=FOLDER_TYPE)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _is_older(found: os.stat_result, known: Entry) -> bool:
    """Return whether a file has the size of *known* and was last changed before its ingest.

    The kernel sets the ctime at each change and rename, and no system call can set it back.
    """
    changed = max(found.st_mtime, found.st_ctime)
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_size == known.size
        and changed < known.modified / 1000 - TRUST_MARGIN
    )


def _read_fully(read: Read, size: int) -> bytes:
    """Return *size* bytes, fewer only at the end."""
    data = read(size)
    while 0 < len(data) < size and (more := read(size - len(data))):
        data += more
    return data
