"""Buckets: named sets of objects, read by key and in the order of keys; and input buckets."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator

import attrs
import trio
from trio.to_thread import run_sync as in_thread

from worker.errors import DataLost, KeyMissing
from worker.model import Entry, cut
from worker.store.blobs import BlobReader
from worker.store.trees import NotCached, Tree

PIECE = 1 << 20
"""Bytes of payload read at once: in one thread call, or in none if they are cached."""


@attrs.frozen(eq=False)
class Bucket(ABC):
    """A bucket whose payload is in blobs. Its methods do not block, unless they say so."""

    name: str
    _reader: BlobReader

    @abstractmethod
    async def entry(self, key: str) -> Entry:
        """Return the entry of the object at *key*; raises KeyMissing."""

    @abstractmethod
    def entries(self, start: str) -> Iterator[Entry]:
        """Yield the entries at *start* and after it, in the order of their keys' UTF-8 bytes.

        This method blocks. It reads ahead by a bounded number of entries only, so a listing that
        skips the keys below a common prefix calls it again with the key to continue from.
        """

    async def payload(self, entry: Entry, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of *entry* from *start* up to *stop*, in pieces of at most 1 MiB.

        Bytes in the page cache are read at once, others in a thread.
        """
        whole = start == 0 and stop == entry.size
        for extent in entry.extents if whole else cut(entry.extents, start, stop):
            position = extent.run_offset + extent.start
            end = position + extent.length
            while position < end:
                length = min(PIECE, end - position)
                piece = self._reader.read_nowait(extent.blob, position, length)
                if piece is None:
                    piece = await in_thread(self._reader.read, extent.blob, position, length)
                else:
                    # Other clients of the event loop must run between pieces of a cached file.
                    await trio.lowlevel.checkpoint()
                if not piece:
                    raise DataLost(f"{extent.blob}: ends {end - position} bytes before an extent")
                position += len(piece)
                yield piece


@attrs.frozen(eq=False)
class InputBucket(Bucket):
    """The tree of a commit as a bucket; it does not change when the branch moves."""

    _tree: Tree

    async def entry(self, key: str) -> Entry:
        """Return the entry of the object at *key*; raises KeyMissing."""
        # A call in a thread takes a tenth of the time of a small GET, and most segments are cached.
        try:
            entry = self._tree.entry_nowait(key)
        except NotCached:
            entry = await in_thread(self._tree.entry, key)
        if entry is None:
            raise KeyMissing(self.name, key)
        return entry

    def entries(self, start: str) -> Iterator[Entry]:
        """Yield the entries at *start* and after it; blocks."""
        return self._tree.entries(start=start)
