"""Blobs in an object store: chunks, each of them one PUT."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from worker.store.backends.base import ObjectMissing, StoreUnavailable

# A blob is stored in chunks of this size, each a whole PUT. So every request to the store is
# idempotent and its body is in memory: a lost answer means to send it again. (A multipart upload
# cannot be completed again by its id once the answer is lost, and leaves parts behind in a crash.)
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
    """Return the bytes of the blob *name* from *start* up to *stop*, fewer at its end only."""
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
    """A blob while it is being uploaded, chunk by chunk; an error ends it."""

    def __init__(self, objects: Objects, name: str) -> None:
        """Begin the blob *name*."""
        self._objects = objects
        self._name = name
        self._buffer = bytearray()
        self._count = 0
        self._uploads: deque[Future[None]] = deque()
        self._error: StoreUnavailable | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; the chunks that it fills are uploaded meanwhile."""
        view = memoryview(data)
        while view:
            room = CHUNK - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == CHUNK:
                self._wait(CHUNKS_AT_ONCE - 1)
                self._uploads.append(_in_thread(self._upload()))

    def close(self) -> None:
        """Return when every chunk is stored."""
        if not self._count:
            self._upload()()
        elif self._buffer:
            self._uploads.append(_in_thread(self._upload()))
        self._wait(0)

    def discard(self) -> None:
        """Delete the chunks, unless the store has stopped answering: then gc does."""
        with contextlib.suppress(StoreUnavailable):
            self._wait(0)
            for number in range(self._count):
                self._objects.delete(_chunk(self._name, number))

    def _upload(self) -> Callable[[], None]:
        """Return the upload of what is buffered, which is one chunk."""
        name, data = _chunk(self._name, self._count), bytes(self._buffer)
        self._count += 1
        self._buffer.clear()
        return lambda: self._objects.put(name, data)

    def _wait(self, most: int) -> None:
        """Wait until at most so many uploads are running; raise the error of one that failed."""
        while len(self._uploads) > most:
            try:
                self._uploads.popleft().result()
            except StoreUnavailable as error:
                self._error = self._error or error
        if self._error is not None:
            raise self._error


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Do *work* in a thread that does not keep the process alive; return its outcome."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return future


def _chunk(name: str, number: int) -> str:
    return f"{name}/{number:06d}"
