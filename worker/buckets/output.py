"""The out bucket: empty at first, writable, and the job's output once it is frozen."""

from collections.abc import AsyncIterator, Iterator

from worker.buckets.bucket import KeyMissing, read_extents
from worker.buckets.index import Index
from worker.model import OUT, Entry
from worker.store.blobs import BlobReader, Stage


class OutBucket:
    """An index over one writer's stage.

    Payload goes to ``stage`` and is nobody's until ``index`` has taken an entry whose extents name
    it; both are public, since what a change to the bucket is called is theirs to say.
    """

    def __init__(self, index: Index, stage: Stage, reader: BlobReader) -> None:
        self.index = index
        self.stage = stage
        self._reader = reader

    @property
    def name(self) -> str:
        """The name under which clients know it, always ``out``."""
        return OUT

    async def entry(self, key: str) -> Entry:
        """Return what is known of the object at *key*, or raise :class:`KeyMissing`."""
        entry = self.index.get(key)
        if entry is None:
            raise KeyMissing(OUT, key)
        return entry

    def entries(self, start: str) -> Iterator[Entry]:
        """Yield entries in the order of their keys, those at *start* or after it."""
        return self.index.entries(start)

    def payload(self, entry: Entry, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of *entry* from *start* up to *stop*, in pieces of at most 1 MiB."""
        return read_extents(self._reader, entry.extents, start, stop)
