"""The index of the out bucket: one SQLite file that all gateway processes of a job share.

Every change is one transaction, and whether it may happen is decided inside it: the epoch in which
its request began must still be the epoch of the index, the index must not be frozen, and the
request's own condition (``If-Match``, ``If-None-Match``) must hold of the object that is there.
So a request that comes in late can never change an output that has been decided upon.

A try of a datum is an epoch. What the epoch changes is remembered in an undo log beside the
objects, so going back to what the datum found costs what the try changed, not what is there.
"""

import itertools
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import msgspec

from worker.buckets.base import KeyMissing
from worker.errors import Conflict, NotFound, Unavailable
from worker.store.model import Checksum, Entry, Extent

Decide = Callable[[Entry | None], None]
"""Given the object that is there, or None: return to go on, raise to refuse."""

BUSY_MS = 60_000
"""How long a transaction waits for those of other processes, each of which takes microseconds."""

BATCHES = (16, 128, 1000)
"""How many rows a listing takes in its first query, its second, and every later one: one that
skips from common prefix to common prefix needs few of each, one that reads on needs many."""

SCHEMA = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    frozen INTEGER NOT NULL
);
INSERT INTO state VALUES (1, 0, 0);
-- Keys are blobs, so that they are ordered by their UTF-8 bytes, as S3 orders them.
CREATE TABLE objects (key BLOB PRIMARY KEY, entry BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE undo (key BLOB PRIMARY KEY, entry BLOB) WITHOUT ROWID;
CREATE TABLE uploads (
    key BLOB NOT NULL, id TEXT NOT NULL, epoch INTEGER NOT NULL, upload BLOB NOT NULL,
    PRIMARY KEY (key, id)
) WITHOUT ROWID;
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, part BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE TABLE completed (
    upload TEXT PRIMARY KEY, key BLOB NOT NULL, epoch INTEGER NOT NULL, entry BLOB NOT NULL
) WITHOUT ROWID;
"""


class OutputClosed(Unavailable):
    """The output is decided: it was frozen, or the try that began the request is over."""

    def __init__(self, began: int, epoch: int, *, frozen: bool) -> None:
        super().__init__(
            "the output is closed: the command has ended"
            if frozen
            else f"the output has gone on: the request began in epoch {began}, now it is {epoch}"
        )
        self.frozen = frozen


class UploadMissing(NotFound):
    """There is no such multipart upload: it never was, was aborted, or was completed."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"there is no multipart upload {upload_id!r}")
        self.upload_id = upload_id


class IndexThere(Conflict):
    """An index is created once."""


@attrs.frozen
class Upload:
    """A multipart upload that was begun, and what its object will have."""

    id: str
    key: str
    initiated: int
    """Milliseconds since 1970-01-01 UTC."""
    headers: dict[str, str] = attrs.field(factory=dict)
    metadata: dict[str, str] = attrs.field(factory=dict)
    tags: dict[str, str] = attrs.field(factory=dict)
    algorithm: str | None = None
    checksum_type: str | None = None


@attrs.frozen
class StoredPart:
    """A part of a multipart upload as it was received; *size* in bytes, *etag* the MD5 in hex."""

    number: int
    size: int
    etag: str
    modified: int
    """Milliseconds since 1970-01-01 UTC."""
    extents: tuple[Extent, ...]
    checksum: Checksum | None = None


Assemble = Callable[[Upload, list[StoredPart]], Entry]
"""Given an upload and its stored parts in order: the entry of the object, or raise to refuse."""

_encode = msgspec.msgpack.Encoder().encode
_entry = msgspec.msgpack.Decoder(Entry).decode
_upload = msgspec.msgpack.Decoder(Upload).decode
_part = msgspec.msgpack.Decoder(StoredPart).decode


def create(path: Path) -> "Index":
    """Create the index of an empty out bucket at *path* and open it."""
    if path.exists():
        raise IndexThere(f"{path}: there is an index already")
    connection = _connect(path)
    connection.executescript(f"PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; {SCHEMA}")
    connection.close()
    return Index(path)


def now_ms() -> int:
    """Return the time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    # The index lives as long as its job: if the machine fails, the job is run again from nothing.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


class Index:
    """One process's way into the index; each of its threads gets a connection of its own.

    Point questions and changes take some ten microseconds and may run inline; ``entries`` reads
    in batches and belongs in a thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Close every connection; nothing may be in use."""
        while self._opened:
            self._opened.pop().close()
        self._local = threading.local()

    # --- the state

    def epoch(self) -> int:
        """Return the epoch that requests begin in now."""
        return int(self._db().execute("SELECT epoch FROM state").fetchone()[0])

    def frozen(self) -> bool:
        """Return whether nothing can change any more."""
        return bool(self._db().execute("SELECT frozen FROM state").fetchone()[0])

    def freeze(self) -> None:
        """Let nothing change any more."""
        with self._transaction() as db:
            db.execute("UPDATE state SET frozen = 1")

    def new_epoch(self) -> int:
        """Begin the next try: keep what is there, and refuse what requests of before still ask."""
        with self._transaction() as db:
            db.execute("DELETE FROM undo")
            db.execute("DELETE FROM completed")
            return self._advance(db)

    def roll_back(self) -> int:
        """Begin the next try from what the last one found, and return its epoch."""
        with self._transaction() as db:
            epoch = db.execute("SELECT epoch FROM state").fetchone()[0]
            db.execute(
                "DELETE FROM objects WHERE key IN (SELECT key FROM undo WHERE entry IS NULL)"
            )
            db.execute(
                "INSERT OR REPLACE INTO objects SELECT key, entry FROM undo WHERE entry IS NOT NULL"
            )
            db.execute("DELETE FROM undo")
            db.execute(
                "DELETE FROM parts WHERE upload IN (SELECT id FROM uploads WHERE epoch = ?)",
                (epoch,),
            )
            db.execute("DELETE FROM uploads WHERE epoch = ?", (epoch,))
            db.execute("DELETE FROM completed")
            return self._advance(db)

    def _advance(self, db: sqlite3.Connection) -> int:
        db.execute("UPDATE state SET epoch = epoch + 1")
        return int(db.execute("SELECT epoch FROM state").fetchone()[0])

    # --- objects

    def get(self, key: str) -> Entry | None:
        """Return the object at *key*, or None."""
        return _found(self._db(), key.encode())

    def entries(self, start: str = "") -> Iterator[Entry]:
        """Yield the objects in the order of their keys, those at *start* or after it.

        An object that changes meanwhile is seen as it was or as it is.
        """
        key = start.encode()
        for batch in _batches():
            rows = (
                self._db()
                .execute(
                    "SELECT key, entry FROM objects WHERE key >= ? ORDER BY key LIMIT ?",
                    (key, batch),
                )
                .fetchall()
            )
            for _key, blob in rows:
                yield _entry(blob)
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
        with self._change(epoch) as db:
            if decide is not None:
                decide(_found(db, key))
            _set(db, key, entry)

    def replace(self, key: str, change: Callable[[Entry], Entry], *, epoch: int) -> Entry:
        """Put what *change* makes of the object at *key*, or raise :class:`KeyMissing`.

        *change* runs inside the transaction and must not wait.
        """
        raw = key.encode()
        with self._change(epoch) as db:
            there = _found(db, raw)
            if there is None:
                raise KeyMissing("out", key)
            entry = change(there)
            _set(db, raw, entry)
            return entry

    def remove(self, key: str, *, epoch: int, decide: Decide | None = None) -> Entry | None:
        """Remove the object at *key* if *decide* lets it, and return it; None if none was there."""
        raw = key.encode()
        with self._change(epoch) as db:
            there = _found(db, raw)
            if decide is not None:
                decide(there)
            if there is not None:
                _set(db, raw, None)
            return there

    # --- multipart uploads

    def begin_upload(self, upload: Upload, *, epoch: int) -> None:
        """Keep a new upload, made with :func:`new_upload_id`."""
        with self._change(epoch) as db:
            db.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?)",
                (upload.key.encode(), upload.id, epoch, _encode(upload)),
            )

    def upload(self, key: str, upload_id: str) -> Upload:
        """Return the upload, or raise :class:`UploadMissing`."""
        return _upload_of(self._db(), key, upload_id)

    def uploads(self, start: str = "", upload_id: str = "") -> Iterator[Upload]:
        """Yield the uploads by key and id, those strictly after (*start*, *upload_id*).

        With an empty *upload_id* the uploads of *start* itself come first.
        """
        last = (start.encode(), upload_id)
        for batch in _batches():
            rows = (
                self._db()
                .execute(
                    "SELECT key, id, upload FROM uploads WHERE (key, id) > (?, ?) "
                    "ORDER BY key, id LIMIT ?",
                    (*last, batch),
                )
                .fetchall()
            )
            for _key, _id, blob in rows:
                yield _upload(blob)
            if len(rows) < batch:
                return
            last = rows[-1][0], rows[-1][1]

    def put_part(self, key: str, upload_id: str, part: StoredPart, *, epoch: int) -> None:
        """Keep a part, in place of an earlier one of its number."""
        with self._change(epoch) as db:
            _upload_of(db, key, upload_id)
            db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)",
                (upload_id, part.number, _encode(part)),
            )

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts of an upload in the order of their numbers."""
        db = self._db()
        _upload_of(db, key, upload_id)
        return _parts_of(db, upload_id)

    def complete(
        self,
        key: str,
        upload_id: str,
        *,
        assemble: Assemble,
        epoch: int,
        decide: Decide | None = None,
    ) -> Entry:
        """Make an object of an upload if *decide* lets it; what *assemble* raises leaves it there.

        An upload that was completed before gives the entry that it became, as S3 does.
        """
        raw = key.encode()
        with self._change(epoch) as db:
            done = db.execute(
                "SELECT entry FROM completed WHERE upload = ? AND key = ?", (upload_id, raw)
            ).fetchone()
            if done is not None:
                return _entry(done[0])
            upload = _upload_of(db, key, upload_id)
            if decide is not None:
                decide(_found(db, raw))
            entry = assemble(upload, _parts_of(db, upload_id))
            _set(db, raw, entry)
            _forget(db, raw, upload_id)
            db.execute(
                "INSERT INTO completed VALUES (?, ?, ?, ?)", (upload_id, raw, epoch, _encode(entry))
            )
            return entry

    def abort_upload(self, key: str, upload_id: str, *, epoch: int) -> None:
        """Drop an upload and its parts, or raise :class:`UploadMissing`."""
        with self._change(epoch) as db:
            _upload_of(db, key, upload_id)
            _forget(db, key.encode(), upload_id)

    # --- the file

    def _db(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self._path)
            self._opened.append(connection)
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    @contextmanager
    def _change(self, began: int) -> Iterator[sqlite3.Connection]:
        with self._transaction() as db:
            epoch, frozen = db.execute("SELECT epoch, frozen FROM state").fetchone()
            if frozen or epoch != began:
                raise OutputClosed(began, epoch, frozen=bool(frozen))
            yield db


def new_upload_id() -> str:
    """Return an id for a multipart upload, which nobody can guess."""
    return secrets.token_urlsafe(32)


def _batches() -> Iterator[int]:
    return itertools.chain(BATCHES, itertools.repeat(BATCHES[-1]))


def _found(db: sqlite3.Connection, key: bytes) -> Entry | None:
    row = db.execute("SELECT entry FROM objects WHERE key = ?", (key,)).fetchone()
    return None if row is None else _entry(row[0])


def _set(db: sqlite3.Connection, key: bytes, entry: Entry | None) -> None:
    db.execute(
        "INSERT OR IGNORE INTO undo VALUES (?1, (SELECT entry FROM objects WHERE key = ?1))", (key,)
    )
    if entry is None:
        db.execute("DELETE FROM objects WHERE key = ?", (key,))
    else:
        db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (key, _encode(entry)))


def _upload_of(db: sqlite3.Connection, key: str, upload_id: str) -> Upload:
    row = db.execute(
        "SELECT upload FROM uploads WHERE key = ? AND id = ?", (key.encode(), upload_id)
    ).fetchone()
    if row is None:
        raise UploadMissing(upload_id)
    return _upload(row[0])


def _parts_of(db: sqlite3.Connection, upload_id: str) -> list[StoredPart]:
    rows = db.execute("SELECT part FROM parts WHERE upload = ? ORDER BY number", (upload_id,))
    return [_part(blob) for (blob,) in rows]


def _forget(db: sqlite3.Connection, key: bytes, upload_id: str) -> None:
    db.execute("DELETE FROM uploads WHERE key = ? AND id = ?", (key, upload_id))
    db.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
