"""Multipart uploads of the out bucket: begun, filled part by part, completed or aborted."""

import secrets
import sqlite3
from collections.abc import Callable, Iterator

import attrs
import msgspec

from worker.buckets.database import (
    Database,
    batches,
    decode_entry,
    encode,
    object_at,
    set_object,
)
from worker.errors import NotFound
from worker.model import Checksum, Entry, Extent

Decide = Callable[[Entry | None], None]
"""Given the object that is there, or None: return to go on, raise to refuse."""


class UploadMissing(NotFound):
    """There is no such multipart upload: it never was, was aborted, or was completed."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"there is no multipart upload {upload_id!r}")
        self.upload_id = upload_id


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

_decode_upload = msgspec.msgpack.Decoder(Upload).decode
_decode_part = msgspec.msgpack.Decoder(StoredPart).decode


class Uploads:
    """The multipart uploads of an index; each is known by its key and its id together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, upload: Upload, *, epoch: int) -> None:
        """Keep a new upload, made with :func:`new_upload_id`."""
        with self._database.change(epoch) as db:
            db.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?)",
                (upload.key.encode(), upload.id, epoch, encode(upload)),
            )

    def find(self, key: str, upload_id: str) -> Upload:
        """Return the upload, or raise :class:`UploadMissing`."""
        return _upload_of(self._database.connection(), key, upload_id)

    def listed(self, start: str = "", upload_id: str = "") -> Iterator[Upload]:
        """Yield the uploads by key and id, those strictly after (*start*, *upload_id*).

        With an empty *upload_id* the uploads of *start* itself come first.
        """
        last = (start.encode(), upload_id)
        for batch in batches():
            rows = (
                self._database.connection()
                .execute(
                    "SELECT key, id, upload FROM uploads WHERE (key, id) > (?, ?) "
                    "ORDER BY key, id LIMIT ?",
                    (*last, batch),
                )
                .fetchall()
            )
            for _key, _id, blob in rows:
                yield _decode_upload(blob)
            if len(rows) < batch:
                return
            last = rows[-1][0], rows[-1][1]

    def put_part(self, key: str, upload_id: str, part: StoredPart, *, epoch: int) -> None:
        """Keep a part, in place of an earlier one of its number."""
        with self._database.change(epoch) as db:
            _upload_of(db, key, upload_id)
            db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)",
                (upload_id, part.number, encode(part)),
            )

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts of an upload in the order of their numbers."""
        db = self._database.connection()
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
        with self._database.change(epoch) as db:
            done = db.execute(
                "SELECT entry FROM completed WHERE upload = ? AND key = ?", (upload_id, raw)
            ).fetchone()
            if done is not None:
                return decode_entry(done[0])
            upload = _upload_of(db, key, upload_id)
            if decide is not None:
                decide(object_at(db, raw))
            entry = assemble(upload, _parts_of(db, upload_id))
            set_object(db, raw, entry)
            _forget(db, raw, upload_id)
            db.execute(
                "INSERT INTO completed VALUES (?, ?, ?, ?)", (upload_id, raw, epoch, encode(entry))
            )
            return entry

    def abort(self, key: str, upload_id: str, *, epoch: int) -> None:
        """Drop an upload and its parts, or raise :class:`UploadMissing`."""
        with self._database.change(epoch) as db:
            _upload_of(db, key, upload_id)
            _forget(db, key.encode(), upload_id)


def new_upload_id() -> str:
    """Return an id for a multipart upload, which nobody can guess."""
    return secrets.token_urlsafe(32)


def _upload_of(db: sqlite3.Connection, key: str, upload_id: str) -> Upload:
    row = db.execute(
        "SELECT upload FROM uploads WHERE key = ? AND id = ?", (key.encode(), upload_id)
    ).fetchone()
    if row is None:
        raise UploadMissing(upload_id)
    return _decode_upload(row[0])


def _parts_of(db: sqlite3.Connection, upload_id: str) -> list[StoredPart]:
    rows = db.execute("SELECT part FROM parts WHERE upload = ? ORDER BY number", (upload_id,))
    return [_decode_part(blob) for (blob,) in rows]


def _forget(db: sqlite3.Connection, key: bytes, upload_id: str) -> None:
    db.execute("DELETE FROM uploads WHERE key = ? AND id = ?", (key, upload_id))
    db.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
