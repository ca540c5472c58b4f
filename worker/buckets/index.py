"""The index of the out bucket: its objects by key, and the uploads that may become objects."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.buckets.bucket import KeyMissing
from worker.buckets.database import (
    Database,
    batches,
    create_file,
    decode_entry,
    object_at,
    set_object,
)
from worker.buckets.uploads import Decide, Uploads
from worker.model import Entry


def create(path: Path) -> "Index":
    """Create the index of an empty out bucket at *path* and open it."""
    create_file(path)
    return Index(path)


def now_ms() -> int:
    """Return the time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


class Index(Database):
    """The objects of the out bucket, and their ``uploads``.

    Point questions and changes take some ten microseconds and may run inline; ``entries`` reads
    in batches and belongs in a thread. A change may be conditional: *decide* is given the object
    that is there inside the transaction.
    """

    def __init__(self, path: Path) -> None:
        """Open the index at *path*."""
        super().__init__(path)
        self.uploads = Uploads(self)

    def get(self, key: str) -> Entry | None:
        """Return the object at *key*, or None."""
        return object_at(self.connection(), key.encode())

    def entries(self, start: str = "") -> Iterator[Entry]:
        """Yield the objects in the order of their keys, those at *start* or after it.

        An object that changes meanwhile is seen as it was or as it is.
        """
        key = start.encode()
        for batch in batches():
            rows = (
                self.connection()
                .execute(
                    "SELECT key, entry FROM objects WHERE key >= ? ORDER BY key LIMIT ?",
                    (key, batch),
                )
                .fetchall()
            )
            for _key, blob in rows:
                yield decode_entry(blob)
            if len(rows) < batch:
                return
            key = rows[-1][0] + b"\0"

    def totals(self) -> tuple[int, int]:
        """Return how many objects there are, and the sum of their sizes in bytes."""
        count = size = 0
        for entry in self.entries():
            count, size = count + 1, size + entry.size
        return count, size

    def put(self, entry: Entry, *, epoch: int, decide: Decide | None = None) -> None:
        """Put *entry* at its key if *decide* lets it."""
        key = entry.key.encode()
        with self.change(epoch) as db:
            if decide is not None:
                decide(object_at(db, key))
            set_object(db, key, entry)

    def replace(self, key: str, change: Callable[[Entry], Entry], *, epoch: int) -> Entry:
        """Put what *change* makes of the object at *key*, or raise :class:`KeyMissing`.

        *change* runs inside the transaction and must not wait.
        """
        raw = key.encode()
        with self.change(epoch) as db:
            there = object_at(db, raw)
            if there is None:
                raise KeyMissing("out", key)
            entry = change(there)
            set_object(db, raw, entry)
            return entry

    def remove(self, key: str, *, epoch: int, decide: Decide | None = None) -> Entry | None:
        """Remove the object at *key* if *decide* lets it, and return it; None if none was there."""
        raw = key.encode()
        with self.change(epoch) as db:
            there = object_at(db, raw)
            if decide is not None:
                decide(there)
            if there is not None:
                set_object(db, raw, None)
            return there
