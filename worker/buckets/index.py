"""The index of the output bucket: a SQLite file with objects, multipart uploads and epochs.

Each change is one transaction, and conditions are evaluated within it: the epoch in which the
request began must not have been rolled back, and the index must not be frozen. So a late request
cannot change an output that has been decided.

Each attempt at a datum is an epoch. An undo log records the objects that the epoch changed, so the
cost of rolling back depends on the changes of the attempt and not on the number of objects. A
request that began in an earlier, successful epoch may finish: its change belongs to what that epoch
left, and is not rolled back with the current one.
"""

import errno
import itertools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

import attrs
import msgspec

from worker.errors import (
    Conflict,
    DataLost,
    KeyChanged,
    KeyMissing,
    OutputClosed,
    Unavailable,
    UploadMissing,
)
from worker.model import OUT, Entry, StoredPart, Upload
from worker.store.entry_rules import UNDECODABLE, check_entry, check_part, check_upload

BUSY_TIMEOUT = 60_000
"""Milliseconds to wait for transactions of other processes, each of which takes microseconds."""
BATCHES = (16, 128, 1000)
"""Rows of the first, the second and each further query of a listing: one that skips from common
prefix to common prefix needs few rows of each, one that reads on needs many."""

CLOSED = "The job has ended: its command has exited, and its output accepts no more writes."
ROLLED_BACK = (
    "The output of the try in which this request began was discarded, because the command failed."
)

SCHEMA = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    frozen INTEGER NOT NULL
);
INSERT INTO state VALUES (1, 0, 0, 0);
CREATE TABLE rolled_back (epoch INTEGER PRIMARY KEY);
-- Keys are blobs, which SQLite orders by their bytes, as S3 orders keys.
CREATE TABLE objects (key BLOB PRIMARY KEY, entry BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE undo (key BLOB PRIMARY KEY, entry BLOB) WITHOUT ROWID;
CREATE TABLE uploads (
    key BLOB NOT NULL, id TEXT NOT NULL, epoch INTEGER NOT NULL, upload BLOB NOT NULL,
    key_changed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, id)
) WITHOUT ROWID;
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, part BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE TABLE completed (
    upload TEXT PRIMARY KEY, key BLOB NOT NULL, epoch INTEGER NOT NULL, entry BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE aborted (upload TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
"""

# Both mean that there is no space; the second concerns the shared-memory file beside the index.
FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
# Result codes that blame the disk and not the statement.
DISK_ERRORS = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    # Another program holds a lock for longer than the time limit.
    sqlite3.SQLITE_BUSY,
)

Decide = Callable[[Entry | None], None]
"""Called with the existing object or None within the transaction; raises to refuse the change."""

# Result codes that blame the file: the statements are constant, and its schema is the one above.
DAMAGE = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_TOOBIG,
)

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_entries = msgspec.msgpack.Decoder(Entry)
_uploads = msgspec.msgpack.Decoder(Upload)
_parts = msgspec.msgpack.Decoder(StoredPart)


class IndexExists(Conflict):
    """An index is created once."""


class IndexUnavailable(Unavailable):
    """The disk of the index failed; nothing was changed."""

    def __init__(self, path: Path, error: sqlite3.Error) -> None:
        super().__init__(f"{path}: {error}")
        self.path = str(path)
        self.errno = errno.ENOSPC if _is_full(path, error) else errno.EIO


class IndexDamaged(DataLost):
    """The index has what no worker wrote: another program of the user can write to its file."""

    def __init__(self, path: Path, found: object) -> None:
        super().__init__(f"{path}: the index of the output is damaged: {found}")


@attrs.frozen(eq=False)
class _Connection:
    """The connection of one thread, closed when the thread exits: there may be thousands."""

    connection: sqlite3.Connection

    @classmethod
    def open(cls, path: Path) -> "_Connection":
        """Open a connection to the index at *path*."""
        new = cls(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        new.connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        # The index lives as long as its job: if the machine fails, the job starts from nothing.
        new.connection.execute("PRAGMA synchronous = OFF")
        new.connection.execute("PRAGMA cache_size = -8192")
        return new

    def __del__(self) -> None:
        self.connection.close()


@attrs.frozen(eq=False)
class Index:
    """The index at *path*, opened by one process; each of its threads has a connection.

    Point queries and changes take some ten microseconds and may run in the event loop; iterators
    read in batches and belong in a thread.
    """

    _path: Path
    _local: threading.local = attrs.field(factory=threading.local, init=False)
    _connections: WeakSet[_Connection] = attrs.field(factory=WeakSet, init=False)

    @classmethod
    def create(cls, path: Path) -> "Index":
        """Create the index of an empty bucket at *path* and open it; raises IndexExists."""
        try:
            # Only for this user, and so are the other files of SQLite, which get the same mode.
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError as error:
            raise IndexExists(f"{path}: the index exists") from error
        script = f"PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; {SCHEMA}"
        with _translating(path):
            new = _Connection.open(path)
            new.connection.executescript(script)
        return cls(path)

    def close(self) -> None:
        """Close all connections; none may be in use."""
        for held in list(self._connections):
            held.connection.close()

    # --- objects --------------------------------------------------------------------------------

    def get(self, key: str) -> Entry | None:
        """Return the object at *key*, or None."""
        with self._reading() as db:
            return _find(db, key.encode())

    def entries(self, start: str = "", *, snapshot: bool = False) -> Iterator[Entry]:
        """Yield the objects at *start* and after it, in the order of keys.

        An object that is changed meanwhile is yielded in its old or its new version. With
        *snapshot*, yields those of the snapshot that was taken.
        """
        table = "snapshot" if snapshot else "objects"
        key, comparison = start.encode(), ">="
        for batch in itertools.chain(BATCHES, itertools.repeat(BATCHES[-1])):
            with self._reading() as db:
                rows = db.execute(
                    f"SELECT key, entry FROM {table} WHERE key {comparison} ? ORDER BY key LIMIT ?",
                    (key, batch),
                ).fetchall()
                found = [_entry(entry, key) for key, entry in rows]
            yield from found
            if len(rows) < batch:
                return
            key, comparison = rows[-1][0], ">"

    def put(self, entry: Entry, *, epoch: int, decide: Decide | None = None) -> None:
        """Put *entry* at its key, if *decide* accepts what exists there."""
        key = entry.key.encode()
        with self._change(epoch) as (db, late):
            if decide is not None:
                decide(_find(db, key))
            _set(db, key, entry, late=late)

    def update(self, key: str, change: Callable[[Entry], Entry], *, epoch: int) -> Entry:
        """Replace the object at *key* by what *change* returns for it; raises KeyMissing."""
        raw = key.encode()
        with self._change(epoch) as (db, late):
            existing = _find(db, raw)
            if existing is None:
                raise KeyMissing(OUT, key)
            entry = change(existing)
            _set(db, raw, entry, late=late)
            return entry

    def remove(self, key: str, *, epoch: int, decide: Decide | None = None) -> Entry | None:
        """Remove the object at *key* if *decide* accepts it; return it, None if there was none."""
        raw = key.encode()
        with self._change(epoch) as (db, late):
            existing = _find(db, raw)
            if decide is not None:
                decide(existing)
            if existing is not None:
                _set(db, raw, None, late=late)
            return existing

    # --- multipart uploads ------------------------------------------------------------------------

    def create_upload(self, upload: Upload, *, epoch: int) -> None:
        """Add an upload."""
        with self._change(epoch) as (db, _):
            db.execute(
                "INSERT INTO uploads (key, id, epoch, upload) VALUES (?, ?, ?, ?)",
                (upload.key.encode(), upload.id, epoch, _encode(upload)),
            )

    def upload(self, key: str, upload_id: str) -> Upload:
        """Return an upload; raises UploadMissing."""
        with self._reading() as db:
            return _find_upload(db, key, upload_id)

    def uploads(self, start: str = "", upload_id: str = "") -> Iterator[Upload]:
        """Yield the uploads by key and id, those strictly after (*start*, *upload_id*).

        With an empty *upload_id*, the uploads of *start* itself are included.
        """
        last = (start.encode(), upload_id)
        for batch in itertools.chain(BATCHES, itertools.repeat(BATCHES[-1])):
            with self._reading() as db:
                rows = db.execute(
                    "SELECT key, id, upload FROM uploads WHERE (key, id) > (?, ?) "
                    "ORDER BY key, id LIMIT ?",
                    (*last, batch),
                ).fetchall()
                found = [_upload(upload, key, name) for key, name, upload in rows]
            yield from found
            if len(rows) < batch:
                return
            last = rows[-1][0], rows[-1][1]

    def check_upload(self, key: str, upload_id: str) -> None:
        """Raise UploadMissing unless the upload is in progress or was completed."""
        with self._reading() as db:
            completed = db.execute("SELECT key FROM completed WHERE upload = ?", (upload_id,))
            if completed.fetchone() != (key.encode(),):
                _find_upload(db, key, upload_id)

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts of an upload by number; raises UploadMissing."""
        with self._reading() as db:
            _find_upload(db, key, upload_id)
            return _find_parts(db, upload_id)

    def put_part(self, key: str, upload_id: str, part: StoredPart, *, epoch: int) -> None:
        """Store a part, in place of an earlier one of its number; raises UploadMissing."""
        with self._change(epoch) as (db, _):
            _find_upload(db, key, upload_id)
            db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)",
                (upload_id, part.number, _encode(part)),
            )

    def complete_upload(
        self,
        key: str,
        upload_id: str,
        *,
        make_entry: Callable[[Upload, list[StoredPart]], Entry],
        epoch: int,
        decide: Decide | None = None,
    ) -> Entry:
        """Replace an upload by the object that *make_entry* returns, if *decide* accepts.

        An upload that was completed before returns the object that it became, as S3 does, unless
        the object has been overwritten or deleted (UploadMissing). With a condition, raises
        KeyChanged if the object at the key was written or deleted since the upload was created,
        also if *decide* accepts what is there now.
        """
        raw = key.encode()
        with self._change(epoch) as (db, late):
            completed = db.execute(
                "SELECT entry FROM completed WHERE upload = ? AND key = ?", (upload_id, raw)
            ).fetchone()
            if completed is not None:
                entry, current = _entry(completed[0]), _find(db, raw)
                # Its tags may have changed.
                if current and (current.etag, current.modified) == (entry.etag, entry.modified):
                    return entry
                raise UploadMissing(upload_id)
            upload = _find_upload(db, key, upload_id)
            if decide is not None:
                decide(_find(db, raw))
                changed = db.execute(
                    "SELECT key_changed FROM uploads WHERE key = ? AND id = ?", (raw, upload_id)
                )
                if changed.fetchone()[0]:
                    raise KeyChanged(f"{key} was changed since the upload {upload_id} was created")
            entry = make_entry(upload, _find_parts(db, upload_id))
            _set(db, raw, entry, late=late)
            _delete_upload(db, raw, upload_id)
            db.execute(
                "INSERT INTO completed VALUES (?, ?, ?, ?)", (upload_id, raw, epoch, _encode(entry))
            )
            return entry

    def abort_upload(self, key: str, upload_id: str, *, epoch: int) -> None:
        """Delete an upload and its parts; raises UploadMissing.

        As in S3, an upload that was completed or aborted before is left as it is.
        """
        raw = key.encode()
        with self._change(epoch) as (db, _):
            ended = db.execute(
                "SELECT 1 FROM completed WHERE upload = :upload AND key = :key "
                "UNION ALL SELECT 1 FROM aborted WHERE upload = :upload AND key = :key",
                {"upload": upload_id, "key": raw},
            )
            if ended.fetchone():
                return
            _find_upload(db, key, upload_id)
            _delete_upload(db, raw, upload_id)
            db.execute("INSERT INTO aborted VALUES (?, ?)", (upload_id, raw))

    # --- epochs -----------------------------------------------------------------------------------

    def epoch(self) -> int:
        """Return the current epoch."""
        with self._reading() as db:
            return _state(db, "epoch")[0]

    def begin(self) -> int:
        """Return the epoch of a request that begins now; raises OutputClosed."""
        with self._reading() as db:
            epoch, closed = _state(db, "epoch, closed OR frozen")
        if closed:
            raise OutputClosed(CLOSED)
        return epoch

    def start_epoch(self) -> None:
        """Start a new epoch with the current objects."""
        with self._transaction() as db:
            db.execute("DELETE FROM undo")
            db.execute("DELETE FROM completed")
            db.execute("DELETE FROM aborted")
            db.execute("UPDATE state SET epoch = epoch + 1")

    def roll_back(self) -> None:
        """Start a new epoch with the objects that the current one started with."""
        with self._transaction() as db:
            (epoch,) = _state(db, "epoch")
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
            db.execute("DELETE FROM aborted")
            db.execute("INSERT INTO rolled_back VALUES (?)", (epoch,))
            db.execute("UPDATE state SET epoch = epoch + 1")

    def take_snapshot(self) -> None:
        """Keep a copy of the objects, unless there is one; rolling back does not change it."""
        with self._transaction() as db:
            if not self.has_snapshot():
                db.execute("CREATE TABLE snapshot (key BLOB PRIMARY KEY, entry BLOB) WITHOUT ROWID")
                db.execute("INSERT INTO snapshot SELECT key, entry FROM objects ORDER BY key")

    def has_snapshot(self) -> bool:
        """Whether a snapshot was taken."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'snapshot'"
        with self._reading() as db:
            return db.execute(query).fetchone() is not None

    def refuse_new(self) -> None:
        """Refuse changes of requests that begin from now on."""
        with self._transaction() as db:
            db.execute("UPDATE state SET closed = 1")

    def freeze(self) -> None:
        """Refuse all further changes."""
        with self._transaction() as db:
            db.execute("UPDATE state SET frozen = 1")

    def is_closed(self) -> bool:
        """Whether changes of requests that begin now are refused."""
        with self._reading() as db:
            return bool(_state(db, "closed OR frozen")[0])

    # --- transactions -----------------------------------------------------------------------------

    @contextmanager
    def _change(self, epoch: int) -> Iterator[tuple[sqlite3.Connection, bool]]:
        """Change objects or uploads in a transaction for a request that began in *epoch*.

        Yields the connection, and whether the request began before the current epoch. Raises
        OutputClosed if the epoch was rolled back or the index is frozen.
        """
        with self._transaction() as db:
            current, frozen = _state(db, "epoch, frozen")
            if frozen:
                raise OutputClosed(CLOSED)
            late = current != epoch
            if (
                late
                and db.execute("SELECT 1 FROM rolled_back WHERE epoch = ?", (epoch,)).fetchone()
            ):
                raise OutputClosed(ROLLED_BACK)
            yield db, late

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Execute a block as one transaction."""
        db = self._connection()
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction. One that stays open would block every
            # other process.
            if db.in_transaction:
                db.execute("ROLLBACK")
            with _translating(self._path):
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Read outside of a transaction."""
        db = self._connection()
        with _translating(self._path):
            yield db

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of the calling thread."""
        held: _Connection | None = getattr(self._local, "held", None)
        if held is None:
            with _translating(self._path):
                held = _Connection.open(self._path)
                # The first statement opens the files, and may have to create some.
                held.connection.execute("SELECT 1 FROM state").fetchone()
            self._local.held = held
            self._connections.add(held)
        return held.connection


class _Damage(Exception):
    """A row has what no worker wrote."""


def _decoded(decoder: msgspec.msgpack.Decoder[T], raw: object, check: Callable[[T], None]) -> T:
    """Return the value of *raw*, which may be of any type of SQLite."""
    if not isinstance(raw, bytes):
        raise _Damage(f"found {type(raw).__name__}, expected bytes")
    try:
        found = decoder.decode(raw)
        check(found)
    except UNDECODABLE as error:
        raise _Damage(str(error)) from error
    return found


def _entry(raw: object, key: object = None) -> Entry:
    """Return the entry of *raw*, which is at *key*."""
    entry = _decoded(_entries, raw, check_entry)
    if key is not None and entry.key.encode() != key:
        raise _Damage(f"found the object {entry.key!r} at the key {key!r}")
    return entry


def _upload(raw: object, key: object, upload_id: object) -> Upload:
    """Return the upload of *raw*, which is at *key* and *upload_id*."""
    upload = _decoded(_uploads, raw, check_upload)
    if (upload.key.encode(), upload.id) != (key, upload_id):
        raise _Damage(f"found the upload {upload.id!r} of {upload.key!r} at {key!r}, {upload_id!r}")
    return upload


def _state(db: sqlite3.Connection, columns: str) -> list[int]:
    row = db.execute(f"SELECT {columns} FROM state").fetchone() or ("nothing",)
    numbers = [each for each in row if isinstance(each, int)]
    if len(numbers) < len(row):
        raise _Damage(f"its state is {row!r}")
    return numbers


def _find(db: sqlite3.Connection, key: bytes) -> Entry | None:
    row = db.execute("SELECT entry FROM objects WHERE key = ?", (key,)).fetchone()
    return None if row is None else _entry(row[0], key)


def _set(db: sqlite3.Connection, key: bytes, entry: Entry | None, *, late: bool) -> None:
    """Put *entry* at *key*, None to delete it.

    The undo log records what was there before the current epoch; the change of a *late* request,
    of an earlier epoch, becomes what was there.
    """
    raw = None if entry is None else _encode(entry)
    db.execute("UPDATE uploads SET key_changed = 1 WHERE key = ?", (key,))
    if late:
        db.execute("UPDATE undo SET entry = ? WHERE key = ?", (raw, key))
    else:
        db.execute(
            "INSERT OR IGNORE INTO undo VALUES (?1, (SELECT entry FROM objects WHERE key = ?1))",
            (key,),
        )
    if raw is None:
        db.execute("DELETE FROM objects WHERE key = ?", (key,))
    else:
        db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (key, raw))


def _find_upload(db: sqlite3.Connection, key: str, upload_id: str) -> Upload:
    row = db.execute(
        "SELECT upload FROM uploads WHERE key = ? AND id = ?", (key.encode(), upload_id)
    ).fetchone()
    if row is None:
        raise UploadMissing(upload_id)
    return _upload(row[0], key.encode(), upload_id)


def _find_parts(db: sqlite3.Connection, upload_id: str) -> list[StoredPart]:
    rows = db.execute("SELECT part FROM parts WHERE upload = ? ORDER BY number", (upload_id,))
    return [_decoded(_parts, part, check_part) for (part,) in rows]


def _delete_upload(db: sqlite3.Connection, key: bytes, upload_id: str) -> None:
    db.execute("DELETE FROM uploads WHERE key = ? AND id = ?", (key, upload_id))
    db.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    """Translate errors of the disk and of its file; others of SQLite are internal errors."""
    try:
        yield
    except _Damage as error:
        raise IndexDamaged(path, error) from error
    except sqlite3.Error as error:
        if _is_disk_error(error):
            raise IndexUnavailable(path, error) from error
        # The error of text that is not UTF-8 has no code.
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, sqlite3.DatabaseError) and (code is None or code & 0xFF in DAMAGE):
            raise IndexDamaged(path, error) from error
        raise


def _is_disk_error(error: sqlite3.Error) -> bool:
    # The lowest byte is the primary result code.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in DISK_ERRORS


def _is_full(path: Path, error: sqlite3.Error) -> bool:
    """Whether there is no space for the index at *path*."""
    if getattr(error, "sqlite_errorcode", None) in FULL:
        return True
    # SQLite does not report why it could not create or extend a file.
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)
