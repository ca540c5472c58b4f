"""The index of the output bucket: a SQLite file with objects, multipart uploads and epochs.

Each change is one transaction, and conditions are evaluated within it: the epoch in which the
request began must not have been rolled back, and the index must not be frozen. So a late request
cannot change an output that has been decided.

Each attempt at a datum is an epoch. An undo log records the objects that the epoch changed, so the
cost of rolling back depends on the changes of the attempt and not on the number of objects. A
request that began in an earlier, successful epoch may finish: its change belongs to what that epoch
left, and is not rolled back with the current one.
"""

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

import attrs

from worker.buckets.index_errors import translating
from worker.buckets.index_rows import (
    SCHEMA,
    decode_entry,
    decode_upload,
    delete_upload,
    encode,
    find_entry,
    find_parts,
    find_upload,
    read_state,
    set_entry,
)
from worker.errors import (
    Conflict,
    KeyChanged,
    KeyMissing,
    OutputClosed,
    UploadMissing,
)
from worker.model import OUT, Entry, StoredPart, Upload

BUSY_TIMEOUT = 60_000
"""Milliseconds to wait for transactions of other processes, each of which takes microseconds."""
BATCHES = (16, 128, 1000)
"""Rows of the first, the second and each further query of a listing: one that skips from common
prefix to common prefix needs few rows of each, one that reads on needs many."""

CLOSED = "The job has ended: its command has exited, and its output accepts no more writes."
ROLLED_BACK = (
    "The output of the try in which this request began was discarded, because the command failed."
)

Decide = Callable[[Entry | None], None]
"""Called with the existing object or None within the transaction; raises to refuse the change."""


class IndexExists(Conflict):
    """An index is created once."""


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
        with translating(path):
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
            return find_entry(db, key.encode())

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
                found = [decode_entry(entry, key) for key, entry in rows]
            yield from found
            if len(rows) < batch:
                return
            key, comparison = rows[-1][0], ">"

    def put(self, entry: Entry, *, epoch: int, decide: Decide | None = None) -> None:
        """Put *entry* at its key, if *decide* accepts what exists there."""
        key = entry.key.encode()
        with self._change(epoch) as (db, late):
            if decide is not None:
                decide(find_entry(db, key))
            set_entry(db, key, entry, late=late)

    def update(self, key: str, change: Callable[[Entry], Entry], *, epoch: int) -> Entry:
        """Replace the object at *key* by what *change* returns for it; raises KeyMissing."""
        raw = key.encode()
        with self._change(epoch) as (db, late):
            existing = find_entry(db, raw)
            if existing is None:
                raise KeyMissing(OUT, key)
            entry = change(existing)
            set_entry(db, raw, entry, late=late)
            return entry

    def remove(self, key: str, *, epoch: int, decide: Decide | None = None) -> Entry | None:
        """Remove the object at *key* if *decide* accepts it; return it, None if there was none."""
        raw = key.encode()
        with self._change(epoch) as (db, late):
            existing = find_entry(db, raw)
            if decide is not None:
                decide(existing)
            if existing is not None:
                set_entry(db, raw, None, late=late)
            return existing

    # --- multipart uploads ------------------------------------------------------------------------

    def create_upload(self, upload: Upload, *, epoch: int) -> None:
        """Add an upload."""
        with self._change(epoch) as (db, _):
            db.execute(
                "INSERT INTO uploads (key, id, epoch, upload) VALUES (?, ?, ?, ?)",
                (upload.key.encode(), upload.id, epoch, encode(upload)),
            )

    def upload(self, key: str, upload_id: str) -> Upload:
        """Return an upload; raises UploadMissing."""
        with self._reading() as db:
            return find_upload(db, key, upload_id)

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
                found = [decode_upload(upload, key, name) for key, name, upload in rows]
            yield from found
            if len(rows) < batch:
                return
            last = rows[-1][0], rows[-1][1]

    def check_upload(self, key: str, upload_id: str) -> None:
        """Raise UploadMissing unless the upload is in progress or was completed."""
        with self._reading() as db:
            completed = db.execute("SELECT key FROM completed WHERE upload = ?", (upload_id,))
            if completed.fetchone() != (key.encode(),):
                find_upload(db, key, upload_id)

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts of an upload by number; raises UploadMissing."""
        with self._reading() as db:
            find_upload(db, key, upload_id)
            return find_parts(db, upload_id)

    def put_part(self, key: str, upload_id: str, part: StoredPart, *, epoch: int) -> None:
        """Store a part, in place of an earlier one of its number; raises UploadMissing."""
        with self._change(epoch) as (db, _):
            find_upload(db, key, upload_id)
            db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)",
                (upload_id, part.number, encode(part)),
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
                entry, current = decode_entry(completed[0]), find_entry(db, raw)
                # Its tags may have changed.
                if current and (current.etag, current.modified) == (entry.etag, entry.modified):
                    return entry
                raise UploadMissing(upload_id)
            upload = find_upload(db, key, upload_id)
            if decide is not None:
                decide(find_entry(db, raw))
                changed = db.execute(
                    "SELECT key_changed FROM uploads WHERE key = ? AND id = ?", (raw, upload_id)
                )
                if changed.fetchone()[0]:
                    raise KeyChanged(f"{key} was changed since the upload {upload_id} was created")
            entry = make_entry(upload, find_parts(db, upload_id))
            set_entry(db, raw, entry, late=late)
            delete_upload(db, raw, upload_id)
            db.execute(
                "INSERT INTO completed VALUES (?, ?, ?, ?)", (upload_id, raw, epoch, encode(entry))
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
            find_upload(db, key, upload_id)
            delete_upload(db, raw, upload_id)
            db.execute("INSERT INTO aborted VALUES (?, ?)", (upload_id, raw))

    # --- epochs -----------------------------------------------------------------------------------

    def epoch(self) -> int:
        """Return the current epoch."""
        with self._reading() as db:
            return read_state(db, "epoch")[0]

    def begin(self) -> int:
        """Return the epoch of a request that begins now; raises OutputClosed."""
        with self._reading() as db:
            epoch, closed = read_state(db, "epoch, closed OR frozen")
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
            (epoch,) = read_state(db, "epoch")
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
            return bool(read_state(db, "closed OR frozen")[0])

    # --- transactions -----------------------------------------------------------------------------

    @contextmanager
    def _change(self, epoch: int) -> Iterator[tuple[sqlite3.Connection, bool]]:
        """Change objects or uploads in a transaction for a request that began in *epoch*.

        Yields the connection, and whether the request began before the current epoch. Raises
        OutputClosed if the epoch was rolled back or the index is frozen.
        """
        with self._transaction() as db:
            current, frozen = read_state(db, "epoch, frozen")
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
            with translating(self._path):
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Read outside of a transaction."""
        db = self._connection()
        with translating(self._path):
            yield db

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of the calling thread."""
        held: _Connection | None = getattr(self._local, "held", None)
        if held is None:
            with translating(self._path):
                held = _Connection.open(self._path)
                # The first statement opens the files, and may have to create some.
                held.connection.execute("SELECT 1 FROM state").fetchone()
            self._local.held = held
            self._connections.add(held)
        return held.connection
