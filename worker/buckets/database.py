"""The SQLite file behind the out bucket: its tables, its transactions, its tries.

Every change is one transaction, and whether it may happen is decided inside it: the epoch in which
its request began must still be the epoch of the file, and the file must not be frozen. So a
request that comes in late can never change an output that has been decided upon.

A try of a datum is an epoch. What the epoch changes is remembered in an undo log beside the
objects, so going back to what the datum found costs what the try changed, not what is there.
"""

import errno
import itertools
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from weakref import WeakSet

import msgspec

from worker.errors import Conflict, Unavailable
from worker.model import Entry

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


class IndexThere(Conflict):
    """An index is created once."""


class IndexUnavailable(Unavailable):
    """The disk under the index refused; nothing was changed."""

    def __init__(self, path: Path, error: sqlite3.Error) -> None:
        super().__init__(f"{path}: {error}")
        self.path = str(path)
        self.errno = errno.ENOSPC if _is_full(path, error) else errno.EIO
        """As the system would have said it."""


# Both mean no room; the second is about the memory that processes share in a file beside the index.
FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)

# What SQLite says when not a statement but the disk below is to blame.
DISK = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
)


encode = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode


class _Held:
    """A thread's connection: closed when the thread has ended, of which there may be thousands."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """One process's way into the file; each of its threads gets a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: WeakSet[_Held] = WeakSet()

    def close(self) -> None:
        """Close every connection; nothing may be in use."""
        for held in list(self._opened):
            held.connection.close()
        self._local = threading.local()

    def epoch(self) -> int:
        """Return the epoch that requests begin in now."""
        return int(self.connection().execute("SELECT epoch FROM state").fetchone()[0])

    def frozen(self) -> bool:
        """Return whether nothing can change any more."""
        return bool(self.connection().execute("SELECT frozen FROM state").fetchone()[0])

    def freeze(self) -> None:
        """Let nothing change any more."""
        with self.transaction() as db:
            db.execute("UPDATE state SET frozen = 1")

    def new_epoch(self) -> int:
        """Begin the next try: keep what is there, and refuse what requests of before still ask."""
        with self.transaction() as db:
            db.execute("DELETE FROM undo")
            db.execute("DELETE FROM completed")
            return self._advance(db)

    def roll_back(self) -> int:
        """Begin the next try from what the last one found, and return its epoch."""
        with self.transaction() as db:
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

    def connection(self) -> sqlite3.Connection:
        """Return the calling thread's connection."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            with _explained(self._path):
                held = _Held(_connect(self._path))
                # SQLite opens the files at the first statement, and may have to create some.
                held.connection.execute("SELECT 1 FROM state").fetchone()
            self._local.held = held
            self._opened.add(held)
        return held.connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of a block, or nothing of it."""
        with _explained(self._path):
            db = self.connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction; one that it left open would block
                # every other process.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def change(self, began: int) -> Iterator[sqlite3.Connection]:
        """Change objects or uploads for a request that began in epoch *began*, or refuse it."""
        with self.transaction() as db:
            epoch, frozen = db.execute("SELECT epoch, frozen FROM state").fetchone()
            if frozen or epoch != began:
                raise OutputClosed(began, epoch, frozen=bool(frozen))
            yield db


def create_file(path: Path) -> None:
    """Create the file of an empty out bucket at *path*, once."""
    if path.exists():
        raise IndexThere(f"{path}: there is an index already")
    with _explained(path), closing(_connect(path)) as connection:
        connection.executescript(f"PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; {SCHEMA}")


def object_at(db: sqlite3.Connection, key: bytes) -> Entry | None:
    """Return the object at *key*, or None."""
    row = db.execute("SELECT entry FROM objects WHERE key = ?", (key,)).fetchone()
    return None if row is None else decode_entry(row[0])


def set_object(db: sqlite3.Connection, key: bytes, entry: Entry | None) -> None:
    """Put *entry* at *key*, or nothing, and remember what the try found there."""
    db.execute(
        "INSERT OR IGNORE INTO undo VALUES (?1, (SELECT entry FROM objects WHERE key = ?1))", (key,)
    )
    if entry is None:
        db.execute("DELETE FROM objects WHERE key = ?", (key,))
    else:
        db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (key, encode(entry)))


def batches() -> Iterator[int]:
    """Yield how many rows to take in each query of a listing."""
    return itertools.chain(BATCHES, itertools.repeat(BATCHES[-1]))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    # The index lives as long as its job: if the machine fails, the job is run again from nothing.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Tell a disk that refuses apart from what would be a fault of our own."""
    try:
        yield
    except sqlite3.Error as error:
        if _primary(error) in DISK:
            raise IndexUnavailable(path, error) from error
        raise


def _is_full(path: Path, error: sqlite3.Error) -> bool:
    """Return whether there is no room for the index at *path*."""
    if getattr(error, "sqlite_errorcode", None) in FULL:
        return True
    # SQLite does not say why it could not create or extend a file.
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)


def _primary(error: sqlite3.Error) -> int:
    """Return SQLite's result code, without what makes it an extended one; 0 if it gave none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
