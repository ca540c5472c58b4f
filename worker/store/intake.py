"""Bytes from outside into a stage: each file is hashed, stored and described by an entry."""

import hashlib
import mimetypes
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import attrs

from worker.errors import Invalid
from worker.model import Entry, Extent
from worker.store.blobs import BlobReader, Stage
from worker.store.folders import Found, Problem, not_a_file

# Up to this size a file shares a pack with others.
SMALL = 1 << 20
PIECE = 1 << 20
# No blob grows beyond this: a file is then a list of extents.
RUN_LIMIT = 4 << 30
# Seconds by which a file must be older than the import of its entry to be trusted: the clock
# of files is coarse, two seconds on FAT, and a file server may have a clock of its own.
TRUST_MARGIN = 2.0
EMPTY_MD5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()
FOLDER_TYPE = {"content-type": "application/x-directory"}
# What is compressed is served as what it is; told to be CSV in gzip, clients would unpack it.
COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}
# A table of its own: the one that mimetypes shares also holds what the machine's files say.
_types = mimetypes.MimeTypes()

Read = Callable[[int], bytes]


class NotAFile(Invalid):
    """What is at this path can't be read as a file."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.path}: {problem.reason}")
        self.problem = problem


@attrs.define
class Compared:
    """What was read again only to find that it had not changed."""

    files: int = 0
    size: int = 0
    """In bytes."""


class Intake:
    """Takes files into *stage*. For one thread; a block, as it keeps a thread for the hashing."""

    def __init__(self, stage: Stage, reader: BlobReader) -> None:
        """Write to *stage*; *reader* reads what known entries hold, to compare."""
        self._stage = stage
        self._reader = reader
        self.compared = Compared()
        self._hashing = ThreadPoolExecutor(1)

    def __enter__(self) -> "Intake":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End; nothing is left running or open."""
        self._hashing.shutdown()
        self._reader.close()

    def take(self, found: Found, known: Entry | None, *, trust_mtime: bool = False) -> Entry:
        """Return the entry of a file or an empty folder; *known* itself, if it holds the same.

        With *trust_mtime* a file is not read if its size is that of *known* and it was last changed
        before *known* was imported.
        """
        if found.key.endswith("/"):
            return known if known is not None and known.size == 0 else _folder(found.key)
        if trust_mtime and known is not None and _is_older(found, known):
            return known
        # What is written from now on makes the file newer than its entry.
        started = _now_ms()
        fd = _open(found)
        try:
            if known is not None and os.fstat(fd).st_size == known.size:
                if self._same(fd, known):
                    self.compared.files += 1
                    self.compared.size += known.size
                    return known
                os.lseek(fd, 0, os.SEEK_SET)
            return self._entry(found.key, lambda size: os.read(fd, size), started)
        except OSError as error:
            raise NotAFile(Problem(found.path, error.strerror or str(error))) from error
        finally:
            os.close(fd)

    def stream(self, key: str, stream: BinaryIO) -> Entry:
        """Return the entry of all that *stream* gives."""
        return self._entry(key, stream.read, _now_ms())

    def _entry(self, key: str, read: Read, modified: int) -> Entry:
        head = _fill(read, SMALL + 1)
        if len(head) > SMALL:
            extents, etag = self._large(head, read)
        else:
            extents = (self._stage.append(head),) if head else ()
            etag = hashlib.md5(head, usedforsecurity=False).hexdigest()
        return Entry(
            key,
            sum(extent.length for extent in extents),
            etag,
            modified,
            extents,
            headers=content_type(key),
        )

    def _large(self, head: bytes, read: Read) -> tuple[tuple[Extent, ...], str]:
        """Stream into blobs; while this thread writes and takes one digest, another takes MD5."""
        md5 = hashlib.md5(usedforsecurity=False)
        extents = []
        piece = head
        while piece:
            blob, sha256 = self._stage.open(), hashlib.sha256()
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

    def _same(self, fd: int, known: Entry) -> bool:
        """Whether the file holds what *known* does: by digest, or by bytes where there is none."""
        for extent in known.extents:
            if not (self._same_run if extent.is_whole_run else self._same_bytes)(fd, extent):
                return False
        return not os.read(fd, 1)

    def _same_run(self, fd: int, extent: Extent) -> bool:
        sha256 = hashlib.sha256()
        left = extent.length
        while left and (piece := os.read(fd, min(PIECE, left))):
            sha256.update(piece)
            left -= len(piece)
        return sha256.digest() == extent.sha256

    def _same_bytes(self, fd: int, extent: Extent) -> bool:
        read: Read = lambda size: os.read(fd, size)  # noqa: E731
        return all(_fill(read, len(data)) == data for data in self._reader.pieces((extent,)))


def content_type(key: str) -> dict[str, str]:
    """Return the header that says what *key* holds, going by its name alone."""
    kind, coding = _types.guess_type(key.rpartition("/")[2], strict=False)
    if coding is not None:
        kind = COMPRESSED.get(coding)
    return {"content-type": kind} if kind else {}


def _folder(key: str) -> Entry:
    return Entry(key, 0, EMPTY_MD5, _now_ms(), (), headers=FOLDER_TYPE)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _is_older(found: Found, known: Entry) -> bool:
    """Return whether the file has the size of *known* and has not changed since its import.

    The kernel sets the ctime at each change and at each rename, and nobody can set it back.
    """
    try:
        facts = os.stat(found.path)
    except OSError as error:
        raise NotAFile(Problem(found.path, error.strerror or str(error))) from error
    changed = max(facts.st_mtime, facts.st_ctime)
    return (
        stat.S_ISREG(facts.st_mode)
        and facts.st_size == known.size
        and changed < known.modified / 1000 - TRUST_MARGIN
    )


def _open(found: Found) -> int:
    try:
        # A pipe that took the file's place would otherwise keep us waiting for a writer.
        fd = os.open(found.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise NotAFile(Problem(found.path, error.strerror or str(error))) from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        raise NotAFile(Problem(found.path, not_a_file(mode)))
    return fd


def _fill(read: Read, size: int) -> bytes:
    """Return *size* bytes, fewer only at the end."""
    data = read(size)
    while 0 < len(data) < size and (more := read(size - len(data))):
        data += more
    return data
