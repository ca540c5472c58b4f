"""Blobs: append-only objects with the payload bytes. A stage writes them, a reader reads them."""

import errno
import hashlib
import itertools
import os
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from worker.errors import Invalid
from worker.model import Extent
from worker.store.backends.base import (
    NOT_PERMITTED,
    AlreadyThere,
    Backend,
    Damaged,
    NoPutIfAbsent,
    ObjectMissing,
    StoreDenied,
    StoreUnavailable,
)
from worker.store.backends.local import Descriptor, LocalBackend, open_object, read_exactly

FOLDER = "blobs/"
# A pack of this size is complete. This bounds what an interrupted upload repeats, and what stays in
# the store because a commit still uses one small object of it.
PACK_LIMIT = 64 << 20
UPLOAD_PIECE = 8 << 20
OPEN_FILES = 128
PIECE = 1 << 20
# Entries name only blobs that existed, so a missing blob is damage.
GONE = "the object is missing"
# Errors of preadv with RWF_NOWAIT: not in the page cache, or not supported by the file system.
NOT_CACHED = (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS)
NOWAIT = getattr(os, "RWF_NOWAIT", None)

ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class InvalidStage(Invalid):
    """The name of a stage or a writer cannot be part of an object name."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(f"{kind}: found {found!r}, expected 1 to 100 of A–Z, a–z, 0–9, _ and -")


class Stage:
    """The blobs that one writer adds to a stage. No two writers of a stage share a name.

    A stage is the set of blobs of a job or check-in before its commit. Sealed and appended data can
    be read at once by every process with the same *scratch* (with a local store, by every process
    of the machine). It is durable after ``flush``, and only then can a commit name it.

    ``append``, ``flush`` and ``close`` are for one thread at a time. ``open`` is thread-safe; each
    BlobWriter is for one thread at a time.
    """

    def __init__(self, backend: Backend, stage_id: str, *, writer: str, scratch: Path) -> None:
        """Start without blobs. With a remote backend, packs are first written below *scratch*."""
        for kind, name in (("stage", stage_id), ("writer", writer)):
            if not ID.fullmatch(name):
                raise InvalidStage(kind, name)
        self.id = stage_id
        self.writer = writer
        self.kept = False
        """Whether a commit names, or may name, the blobs, so that ``drop`` does not delete them."""
        self._backend = backend
        self._local = backend.path(FOLDER + stage_id) is not None
        self._packs: Backend = backend if self._local else LocalBackend(scratch)
        self._pack: BlobWriter | None = None
        self._numbers = itertools.count()
        self._spooled: list[str] = []
        self._unsynced: list[str] = []

    def preflight(self) -> None:
        """Try every primitive that a commit needs, and delete what that wrote.

        Raises NoPutIfAbsent if the store cannot hold commits, and StoreUnavailable if it cannot be
        written to: before hours of work, not after.
        """
        blob = f"{FOLDER}{self._name()}"
        sink = self._backend.create(blob)
        sink.write(b"?")
        sink.close()
        self._backend.sync((blob,))
        name = f"{FOLDER}{self.id}/preflight-{self.writer}"
        self._backend.put_new(name, secrets.token_bytes(16))
        try:
            self._backend.put_new(name, secrets.token_bytes(16))
        except AlreadyThere:
            sink.discard()
            self._backend.delete(name)
            return
        raise NoPutIfAbsent(self._backend.url, "it replaces an existing object")

    def drop(self) -> None:
        """Delete every blob of the stage, of all writers, unless *kept*."""
        self.close()
        if not self.kept:
            drop_stage(self._backend, self.id)

    def append(self, data: bytes, *, sha256: bytes | None = None) -> Extent:
        """Append a small object to the current pack and return its extent.

        *sha256* is the digest of *data*, if it is known. *data* is not empty, as an empty object
        has no extents.
        """
        if self._pack is None or self._pack.size >= PACK_LIMIT:
            self.close()
            self._pack = BlobWriter(self._packs, self._name(), sealed=[])
        offset = self._pack.size
        self._pack.write(data)
        size, digest = len(data), sha256 or hashlib.sha256(data).digest()
        return Extent(self._pack.blob, offset, size, digest, start=0, length=size)

    def open(self) -> "BlobWriter":
        """Start a separate blob, for a large object."""
        return BlobWriter(self._backend, self._name(), sealed=self._unsynced)

    def flush(self) -> None:
        """Make everything that was appended and sealed durable in the store. Can be repeated."""
        self.close()
        while self._spooled:
            _upload(self._spooled[-1], self._packs, self._backend)
            self._unsynced.append(self._spooled.pop())
        # Another thread can seal blobs meanwhile.
        synced = self._unsynced.copy()
        self._backend.sync(FOLDER + blob for blob in synced)
        del self._unsynced[: len(synced)]

    def close(self) -> None:
        """Complete the current pack, without making it durable."""
        if self._pack is not None:
            pack, self._pack = self._pack, None
            pack.close()
            (self._unsynced if self._local else self._spooled).append(pack.blob)

    def _name(self) -> str:
        return f"{self.id}/{self.writer}-{next(self._numbers)}"


class BlobWriter:
    """A blob that is being written. Either ``seal`` or ``discard`` is its last call."""

    def __init__(self, backend: Backend, blob: str, *, sealed: list[str]) -> None:
        """Start *blob*, and append its name to *sealed* when it is complete."""
        self.blob = blob
        self.size = 0
        self._sink = backend.create(FOLDER + blob)
        self._sealed = sealed

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; after an error the blob has its previous length."""
        self._sink.write(data)
        self.size += len(data)

    def close(self) -> None:
        """Complete the blob without returning an extent, as for a pack."""
        self._sink.close()
        self._sealed.append(self.blob)

    def seal(self, sha256: bytes) -> Extent:
        """Complete the blob, whose digest is *sha256*, and return the extent of all of it."""
        self.close()
        return Extent.of_run(self.blob, offset=0, length=self.size, sha256=sha256)

    def discard(self) -> None:
        """Delete the blob."""
        self._sink.discard()


@attrs.frozen(eq=False)
class BlobReader:
    """A reader of slices of blobs, with a cache of open files. Safe to use from several threads."""

    _backend: Backend
    _spool: LocalBackend | None = attrs.field(
        default=None, alias="scratch", converter=attrs.converters.optional(LocalBackend)
    )
    """The packs of unflushed stages, given by their scratch directory."""
    _limit: int = attrs.field(default=OPEN_FILES, alias="files", kw_only=True)
    """The number of files that are kept open at most."""
    _open: OrderedDict[str, Descriptor] = attrs.field(factory=OrderedDict, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _buffers: threading.local = attrs.field(factory=threading.local, init=False)

    def read(self, blob: str, offset: int, length: int) -> bytes:
        """Return *length* bytes of *blob* from *offset*; blocks for the disk or the network."""
        file = self._file(blob)
        name = FOLDER + blob
        if file is None:
            try:
                data = self._backend.read(name, offset, offset + length)
            except ObjectMissing as error:
                raise Damaged(name, GONE) from error
        else:
            try:
                data = read_exactly(file.fd, offset, length)
            except OSError as error:
                raise _refused(name, error) from error
        if len(data) < length:
            raise Damaged(name, f"it ends at {offset + len(data)}, expected {offset + length}")
        return data

    def read_nowait(self, blob: str, offset: int, length: int) -> bytes | None:
        """Return the bytes if they are in the page cache, else None; never blocks."""
        file = self._open.get(blob) or self._file(blob)
        if file is None or NOWAIT is None:
            return None
        # The buffer is reused: a new one would be filled with zeros first, which costs as much as
        # reading.
        buffer: bytearray = getattr(self._buffers, "buffer", bytearray())
        if len(buffer) < length:
            buffer = self._buffers.buffer = bytearray(length)
        view = memoryview(buffer)[:length]
        try:
            if os.preadv(file.fd, (view,), offset, NOWAIT) == length:
                return bytes(view)
        except OSError as error:
            if error.errno not in NOT_CACHED:
                raise _refused(FOLDER + blob, error) from error
        return None

    def pieces(self, extents: Iterable[Extent], *, piece: int = PIECE) -> Iterator[bytes]:
        """Yield the bytes of *extents* in order, at most *piece* at a time."""
        for extent in extents:
            offset, end = extent.offset, extent.offset + extent.length
            while offset < end:
                data = self.read(extent.blob, offset, min(piece, end - offset))
                yield data
                offset += len(data)

    def verified(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of *extents* as ``pieces`` does, and verify each run that is read whole.

        If a digest differs, Damaged is raised instead of the last piece.
        """
        for extent in extents:
            sha256, left = hashlib.sha256(), extent.length
            for data in self.pieces((extent,)):
                sha256.update(data)
                left -= len(data)
                if not left and extent.is_whole_run and sha256.digest() != extent.sha256:
                    raise _changed(extent)
                yield data

    def close(self) -> None:
        """Close the cached files. Reading opens them again."""
        with self._lock:
            self._open.clear()

    def _file(self, blob: str) -> Descriptor | None:
        with self._lock:
            if (file := self._open.get(blob)) is not None:
                self._open.move_to_end(blob)
                return file
        path = stored = self._backend.path(FOLDER + blob)
        if path is None and self._spool is not None:
            path = self._spool.path(FOLDER + blob)
        if path is None:
            return None
        try:
            file = Descriptor(open_object(path, FOLDER + blob))
        except FileNotFoundError as error:
            if stored is None:
                return None  # a spooled pack that was flushed, or one of another machine
            raise Damaged(FOLDER + blob, GONE) from error
        except OSError as error:
            raise _refused(FOLDER + blob, error) from error
        with self._lock:
            self._open[blob] = file
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
        return file


def check(extents: Iterable[Extent], data: bytes) -> None:
    """Raise Damaged if *data*, the bytes of *extents*, differs from the digest of a whole run."""
    position = 0
    for extent in extents:
        run = memoryview(data)[position : position + extent.length]
        position += extent.length
        if extent.is_whole_run and hashlib.sha256(run).digest() != extent.sha256:
            raise _changed(extent)


def drop_stage(backend: Backend, stage_id: str) -> None:
    """Delete every blob of the stage. Idempotent."""
    if not ID.fullmatch(stage_id):
        raise InvalidStage("stage", stage_id)
    for listed in list(backend.list_from(f"{FOLDER}{stage_id}/")):
        backend.delete(listed.name)


def _upload(blob: str, spool: Backend, backend: Backend) -> None:
    """Move a spooled pack to the store. A reader finds it in the spool or the store at any time."""
    sink = backend.create(FOLDER + blob)
    position = 0
    while piece := spool.get(FOLDER + blob, position, position + UPLOAD_PIECE):
        sink.write(piece)
        position += len(piece)
    sink.close()
    spool.delete(FOLDER + blob)


def _refused(name: str, error: OSError) -> StoreUnavailable:
    kind = StoreDenied if error.errno in NOT_PERMITTED else StoreUnavailable
    return kind(f"reading {name}", error.strerror or str(error), errno=error.errno)


def _changed(extent: Extent) -> Damaged:
    name, offset = FOLDER + extent.blob, extent.offset
    return Damaged(name, f"its bytes from {offset} on are not those that were stored")
