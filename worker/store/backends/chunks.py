"""Blobs in an object store: chunks of a fixed size, each one PUT."""

import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from typing import Protocol

from worker.store.backends.base import ObjectMissing, StoreUnavailable

# A blob is stored in chunks of this size. So every request is an idempotent PUT whose body is in
# memory, and is repeated if its response is lost. With a multipart upload instead, completion
# could not be repeated after a lost response, and a crash would leave parts behind.
CHUNK = 8 << 20
CHUNKS_AT_ONCE = 2


class Objects(Protocol):
    """The part of a backend that chunks need."""

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return a range of an object."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store an object."""

    def delete(self, name: str) -> None:
        """Delete an object."""


def read_chunks(objects: Objects, name: str, start: int, stop: int) -> bytes:
    """Return the bytes of the blob *name* from *start* up to *stop*, fewer only at its end."""
    pieces: list[bytes] = []
    while start < stop:
        number, offset = divmod(start, CHUNK)
        wanted = min(stop - start, CHUNK - offset)
        try:
            piece = objects.get(_chunk(name, number), offset, offset + wanted)
        except ObjectMissing:
            if pieces:
                break
            raise
        pieces.append(piece)
        start += len(piece)
        if len(piece) < wanted:
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class ChunkSink:
    """A blob that is being uploaded chunk by chunk. After an error it can only be discarded."""

    def __init__(self, objects: Objects, name: str) -> None:
        """Start the blob *name*."""
        self._objects = objects
        self._name = name
        self._buffer = bytearray()
        self._count = 0
        self._uploads: deque[Future[None]] = deque()
        self._error: StoreUnavailable | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*, and upload full chunks in the background."""
        view = memoryview(data)
        while view:
            room = CHUNK - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == CHUNK:
                self._wait(CHUNKS_AT_ONCE - 1)
                self._upload()

    def close(self) -> None:
        """Upload the last chunk, and wait until all chunks are stored."""
        # An empty blob is one empty chunk.
        if self._buffer or not self._count:
            self._upload()
        self._wait(0)

    def discard(self) -> None:
        """Delete the chunks. If the store does not respond, gc deletes them later."""
        with contextlib.suppress(StoreUnavailable):
            self._wait(0)
            for number in range(self._count):
                self._objects.delete(_chunk(self._name, number))

    def _upload(self) -> None:
        """Upload the buffer as one chunk, in a thread that does not keep the process alive."""
        name, data = _chunk(self._name, self._count), bytes(self._buffer)
        self._count += 1
        self._buffer.clear()
        future: Future[None] = Future()
        self._uploads.append(future)

        def run() -> None:
            try:
                self._objects.put(name, data)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)

        threading.Thread(target=run, daemon=True).start()

    def _wait(self, limit: int) -> None:
        """Wait until at most *limit* uploads are running; raise the error of one that failed."""
        while len(self._uploads) > limit:
            try:
                self._uploads.popleft().result()
            except StoreUnavailable as error:
                self._error = self._error or error
        if self._error is not None:
            raise self._error


def _chunk(name: str, number: int) -> str:
    return f"{name}/{number:06d}"
