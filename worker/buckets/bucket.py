"""What a bucket is to the gateway, whichever commit or index stands behind it."""

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import trio
from trio.to_thread import run_sync as in_thread

from worker.errors import NotFound, Unavailable
from worker.model import Entry, Extent, cut
from worker.store.blobs import BlobReader

PIECE = 1 << 20
"""How many bytes of payload are read in one go: one trip to a thread, or none when cached."""


class KeyMissing(NotFound):
    """The bucket has no object under this key."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"s3://{bucket}/{key}: there is no such object")
        self.bucket = bucket
        self.key = key


class PayloadShort(Unavailable):
    """A blob ended before the extent that lies in it."""

    def __init__(self, extent: Extent, missing: int) -> None:
        super().__init__(f"{extent.blob}: ended {missing} bytes before the end of an extent")
        self.extent = extent
        self.missing = missing


class Bucket(Protocol):
    """A named set of objects, read by key and in the order of their keys."""

    @property
    def name(self) -> str:
        """The name under which clients know it."""

    async def entry(self, key: str) -> Entry:
        """Return what is known of the object at *key*, or raise :class:`KeyMissing`."""

    def entries(self, start: str) -> Iterator[Entry]:
        """Yield entries in the order of their keys, those at *start* or after it.

        This one blocks: a listing is made in a thread, in one trip. Nothing is read ahead of what
        is taken by more than a bounded amount, so a listing that skips below a common prefix
        calls again with the key to go on from.
        """

    def payload(self, entry: Entry, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of *entry* from *start* up to *stop*, in pieces of at most 1 MiB."""


async def read_extents(
    reader: BlobReader, extents: tuple[Extent, ...], start: int, stop: int
) -> AsyncIterator[bytes]:
    """Yield the bytes from *start* up to *stop* of a file, in pieces of at most ``PIECE`` bytes.

    What lies in the page cache is read at once; what does not is read in a thread.
    """
    for extent in cut(extents, start, stop):
        position, end = extent.offset, extent.offset + extent.length
        while position < end:
            length = min(PIECE, end - position)
            piece = reader.read_nowait(extent.blob, position, length)
            if piece is None:
                piece = await in_thread(reader.read, extent.blob, position, length)
            else:
                # A cached file must not keep the loop from its other clients.
                await trio.lowlevel.checkpoint()
            if not piece:
                raise PayloadShort(extent, end - position)
            position += len(piece)
            yield piece
