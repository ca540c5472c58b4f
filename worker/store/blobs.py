"""Payload bytes in blobs: the stage of one writer that fills them, and the reader."""

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

from worker.errors import Invalid
from worker.model import Extent
from worker.store.backends.base import (
    AlreadyThere,
    Backend,
    Damaged,
    NoPutIfAbsent,
    ObjectMissing,
    StoreUnavailable,
)
from worker.store.backends.local import LocalBackend, read_exactly

FOLDER = "blobs/"
# A pack this large is left alone and a new one is begun: a bound for what an interrupted upload has
# to repeat, and for what stays on the disk because one small object of it is still in a commit.
PACK_LIMIT = 64 << 20
UPLOAD_PIECE = 8 << 20
OPEN_FILES = 128
PIECE = 1 << 20
# What is named by an entry was there, so that it is not is no lack but damage.
GONE = "the object is gone"
# What preadv says where it may not wait: not in the page cache, or this file system can't tell.
NOT_NOW = (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS)
NOWAIT = getattr(os, "RWF_NOWAIT", None)

ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class InvalidStage(Invalid):
    """A stage or a writer is called what no folder or file can be called."""

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(f"{kind}: found {found!r}, expected 1 to 100 of A–Z, a–z, 0–9, _ and -")


class Stage:
    """One writer's blobs of one stage. *writer* must be its own: two may not share a name.

    What is sealed or appended can be read at once by every process that has the same *scratch* (on
    a local store: by every process of the machine), and is durable after ``settle``. Nobody may
    build a commit on it before. ``append``, ``settle`` and ``close`` are for one thread at a time;
    ``open`` can be called from any, and each BlobWriter is for one thread at a time.
    """

    def __init__(self, backend: Backend, stage_id: str, *, writer: str, scratch: Path) -> None:
        """Begin with no blob. With a remote backend, packs are gathered below *scratch* first."""
        for kind, name in (("stage", stage_id), ("writer", writer)):
            if not ID.fullmatch(name):
                raise InvalidStage(kind, name)
        self.id = stage_id
        self.writer = writer
        self.kept = False
        """Whether a commit names the blobs, or may name them: then ``drop`` leaves them alone."""
        self._backend = backend
        self._local = backend.path(FOLDER + stage_id) is not None
        self._packs: Backend = backend if self._local else LocalBackend(scratch)
        self._pack: BlobWriter | None = None
        self._numbers = itertools.count()
        self._spooled: list[str] = []
        self._unsettled: list[str] = []

    def preflight(self) -> None:
        """Try every primitive that the commit will need, and leave nothing behind.

        Raises NoPutIfAbsent where the store cannot hold commits, and StoreUnavailable where it
        cannot be written to: before the work, not after hours of it.
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
        raise NoPutIfAbsent(self._backend.url, "it replaces an object that must not be replaced")

    def drop(self) -> None:
        """Delete every blob of the stage, of all writers, unless they are kept."""
        self.close()
        if not self.kept:
            drop_stage(self._backend, self.id)

    def append(self, data: bytes, *, sha256: bytes | None = None) -> Extent:
        """Append a small object to the current pack and return where it lies.

        *sha256* is the digest of *data* where the caller knows it. An object without bytes has no
        extents, so *data* is not empty.
        """
        if self._pack is None or self._pack.size >= PACK_LIMIT:
            self.close()
            self._pack = BlobWriter(self._packs, self._name(), sealed=[])
        offset = self._pack.size
        self._pack.write(data)
        digest = sha256 or hashlib.sha256(data).digest()
        return Extent.of_run(self._pack.blob, offset=offset, length=len(data), sha256=digest)

    def open(self) -> "BlobWriter":
        """Begin a blob of its own, for a large object."""
        return BlobWriter(self._backend, self._name(), sealed=self._unsettled)

    def settle(self) -> None:
        """Return when all that was appended and sealed is durable in the store.

        The stage can be written to again, and settled again.
        """
        self.close()
        while self._spooled:
            _upload(self._spooled[-1], self._packs, self._backend)
            self._unsettled.append(self._spooled.pop())
        settled = self._unsettled.copy()
        self._backend.sync(FOLDER + blob for blob in settled)
        del self._unsettled[: len(settled)]

    def close(self) -> None:
        """Close the current pack; nothing is durable by that."""
        if self._pack is not None:
            pack, self._pack = self._pack, None
            pack.close()
            (self._unsettled if self._local else self._spooled).append(pack.blob)

    def _name(self) -> str:
        return f"{self.id}/{self.writer}-{next(self._numbers)}"


class BlobWriter:
    """A blob while it is being written; exactly one of seal and discard ends it."""

    def __init__(self, backend: Backend, blob: str, *, sealed: list[str]) -> None:
        """Begin *blob*; its name is added to *sealed* when it is."""
        self.blob = blob
        self.size = 0
        self._sink = backend.create(FOLDER + blob)
        self._sealed = sealed

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; after an error the blob is as long as before."""
        self._sink.write(data)
        self.size += len(data)

    def close(self) -> None:
        """End the blob without a digest, as a pack does."""
        self._sink.close()
        self._sealed.append(self.blob)

    def seal(self, sha256: bytes) -> Extent:
        """End the blob, whose digest is *sha256*, and return the extent that is all of it."""
        self.close()
        return Extent.of_run(self.blob, offset=0, length=self.size, sha256=sha256)

    def discard(self) -> None:
        """Leave no blob behind."""
        self._sink.discard()


class BlobReader:
    """Reads slices of blobs. Safe to use from several threads."""

    def __init__(self, backend: Backend, scratch: Path | None = None, *, files: int = OPEN_FILES):
        """Read from *backend*, and the packs of running stages from *scratch* where they gather.

        At most *files* files are kept open.
        """
        self._backend = backend
        self._spool = LocalBackend(scratch) if scratch is not None else None
        self._limit = files
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._lock = threading.Lock()
        self._local = threading.local()

    def read(self, blob: str, offset: int, length: int) -> bytes:
        """Return *length* bytes of *blob* from *offset*; it may wait for a disk or a network."""
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
        """Return the bytes if they are in this machine's memory, else None; it never waits."""
        file = self._open.get(blob) or self._file(blob)
        if file is None or NOWAIT is None:
            return None
        view = self._room(length)
        try:
            if os.preadv(file.fd, (view,), offset, NOWAIT) == length:
                return bytes(view)
        except OSError as error:
            if error.errno not in NOT_NOW:
                raise _refused(FOLDER + blob, error) from error
        return None

    def _room(self, length: int) -> memoryview:
        """Return *length* bytes of this thread's to read into.

        They are used again each time: fresh ones would be filled with zeros first, which costs as
        much as reading.
        """
        room: bytearray = getattr(self._local, "room", bytearray())
        if len(room) < length:
            room = self._local.room = bytearray(length)
        return memoryview(room)[:length]

    def pieces(self, extents: Iterable[Extent], *, piece: int = PIECE) -> Iterator[bytes]:
        """Yield the bytes of *extents* in order, at most *piece* at a time."""
        for extent in extents:
            offset, end = extent.offset, extent.offset + extent.length
            while offset < end:
                data = self.read(extent.blob, offset, min(piece, end - offset))
                yield data
                offset += len(data)

    def verified(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Yield the bytes of *extents* as ``pieces`` does, and check each run that is read whole.

        If its bytes are not those that were stored, Damaged is raised in place of the last piece.
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
        """Close the files. Reading opens them again."""
        with self._lock:
            self._open.clear()

    def _file(self, blob: str) -> "_File | None":
        with self._lock:
            if (file := self._open.get(blob)) is not None:
                self._open.move_to_end(blob)
                return file
        path = self._path(blob)
        if path is None:
            return None
        try:
            file = _File(path)
        except FileNotFoundError as error:
            if self._backend.path(FOLDER + blob) is None:
                return None  # a spooled pack that is in the store by now, or was never here
            raise Damaged(FOLDER + blob, GONE) from error
        except OSError as error:
            raise _refused(FOLDER + blob, error) from error
        with self._lock:
            self._open[blob] = file
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
        return file

    def _path(self, blob: str) -> Path | None:
        path = self._backend.path(FOLDER + blob)
        if path is None and self._spool is not None:
            return self._spool.path(FOLDER + blob)
        return path


def check(extents: Iterable[Extent], data: bytes) -> None:
    """Raise Damaged if *data*, read from *extents*, is not what was stored, where that shows."""
    position = 0
    for extent in extents:
        run = memoryview(data)[position : position + extent.length]
        position += extent.length
        if extent.is_whole_run and hashlib.sha256(run).digest() != extent.sha256:
            raise _changed(extent)


def drop_stage(backend: Backend, stage_id: str) -> None:
    """Delete every blob of the stage; that there is none is fine."""
    if not ID.fullmatch(stage_id):
        raise InvalidStage("stage", stage_id)
    for listed in list(backend.list_from(f"{FOLDER}{stage_id}/")):
        backend.delete(listed.name)


def _upload(blob: str, spool: Backend, backend: Backend) -> None:
    """Move a spooled pack into the store; a reader finds it in one place or the other."""
    sink = backend.create(FOLDER + blob)
    position = 0
    while piece := spool.get(FOLDER + blob, position, position + UPLOAD_PIECE):
        sink.write(piece)
        position += len(piece)
    sink.close()
    spool.delete(FOLDER + blob)


class _File:
    """An open file, closed when the last who reads it lets go of it.

    So a file can fall out of the cache while another thread is reading it.
    """

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


def _refused(name: str, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"reading {name}", error.strerror or str(error), errno=error.errno)


def _changed(extent: Extent) -> Damaged:
    name, offset = FOLDER + extent.blob, extent.offset
    return Damaged(name, f"its bytes from {offset} on are not those that were stored")
