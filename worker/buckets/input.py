"""An input bucket: one commit, read-only, whatever happens to its branch."""

from collections.abc import AsyncIterator, Iterator

from trio.to_thread import run_sync as in_thread

from worker.buckets.bucket import KeyMissing, read_extents
from worker.model import Entry
from worker.store.blobs import BlobReader
from worker.store.trees import NotCached, Tree


class InputBucket:
    """The tree of a pinned commit as a bucket."""

    def __init__(self, name: str, tree: Tree, reader: BlobReader) -> None:
        self._name = name
        self._tree = tree
        self._reader = reader

    @property
    def name(self) -> str:
        """The name of the input."""
        return self._name

    async def entry(self, key: str) -> Entry:
        """Return what is known of the object at *key*, or raise :class:`KeyMissing`."""
        # A trip to a thread costs a small GET a tenth of its time, and a segment is read once.
        try:
            entry = self._tree.entry_nowait(key)
        except NotCached:
            entry = await in_thread(self._tree.entry, key)
        if entry is None:
            raise KeyMissing(self._name, key)
        return entry

    def entries(self, start: str) -> Iterator[Entry]:
        """Yield entries in the order of their keys, those at *start* or after it."""
        return self._tree.entries(start=start)

    def payload(self, entry: Entry, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of *entry* from *start* up to *stop*, in pieces of at most 1 MiB."""
        return read_extents(self._reader, entry.extents, start, stop)
