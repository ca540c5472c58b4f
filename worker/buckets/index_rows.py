"""The rows of the index: its tables, and the values in them, decoded by their types.

The functions are called within a transaction, or where they read only. What no worker wrote raises
RowDamaged.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import msgspec

from worker.buckets.index_errors import RowDamaged
from worker.errors import UploadMissing
from worker.model import Entry, StoredPart, Upload
from worker.store.entry_rules import UNDECODABLE, check_entry, check_part, check_upload

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

T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode
_entries = msgspec.msgpack.Decoder(Entry)
_uploads = msgspec.msgpack.Decoder(Upload)
_parts = msgspec.msgpack.Decoder(StoredPart)


def _decoded(decoder: msgspec.msgpack.Decoder[T], raw: object, check: Callable[[T], None]) -> T:
    """Return the value of *raw*, which may be of any type of SQLite."""
    if not isinstance(raw, bytes):
        raise RowDamaged(f"found {type(raw).__name__}, expected bytes")
    try:
        found = decoder.decode(raw)
        check(found)
    except UNDECODABLE as error:
        raise RowDamaged(str(error)) from error
    return found


def decode_entry(raw: object, key: object = None) -> Entry:
    """Return the entry of *raw*, which is at *key*."""
    entry = _decoded(_entries, raw, check_entry)
    if key is not None and entry.key.encode() != key:
        raise RowDamaged(f"found the object {entry.key!r} at the key {key!r}")
    return entry


def decode_upload(raw: object, key: object, upload_id: object) -> Upload:
    """Return the upload of *raw*, which is at *key* and *upload_id*."""
    upload = _decoded(_uploads, raw, check_upload)
    if (upload.key.encode(), upload.id) != (key, upload_id):
        raise RowDamaged(
            f"found the upload {upload.id!r} of {upload.key!r} at {key!r}, {upload_id!r}"
        )
    return upload


def read_state(db: sqlite3.Connection, columns: str) -> list[int]:
    row = db.execute(f"SELECT {columns} FROM state").fetchone() or ("nothing",)
    numbers = [each for each in row if isinstance(each, int)]
    if len(numbers) < len(row):
        raise RowDamaged(f"its state is {row!r}")
    return numbers


def find_entry(db: sqlite3.Connection, key: bytes) -> Entry | None:
    row = db.execute("SELECT entry FROM objects WHERE key = ?", (key,)).fetchone()
    return None if row is None else decode_entry(row[0], key)


def set_entry(db: sqlite3.Connection, key: bytes, entry: Entry | None, *, late: bool) -> None:
    """Put *entry* at *key*, None to delete it.

    The undo log records what was there before the current epoch; the change of a *late* request,
    of an earlier epoch, becomes what was there.
    """
    raw = None if entry is None else encode(entry)
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


def find_upload(db: sqlite3.Connection, key: str, upload_id: str) -> Upload:
    row = db.execute(
        "SELECT upload FROM uploads WHERE key = ? AND id = ?", (key.encode(), upload_id)
    ).fetchone()
    if row is None:
        raise UploadMissing(upload_id)
    return decode_upload(row[0], key.encode(), upload_id)


def find_parts(db: sqlite3.Connection, upload_id: str) -> list[StoredPart]:
    rows = db.execute("SELECT part FROM parts WHERE upload = ? ORDER BY number", (upload_id,))
    return [_decoded(_parts, part, check_part) for (part,) in rows]


def delete_upload(db: sqlite3.Connection, key: bytes, upload_id: str) -> None:
    db.execute("DELETE FROM uploads WHERE key = ? AND id = ?", (key, upload_id))
    db.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
