"""An index of the output that a command of the same user has changed: an error that names it."""

import sqlite3

import msgspec
import pytest
from builders import an_entry

from worker.buckets.index import Index
from worker.buckets.index_errors import IndexDamaged
from worker.errors import Cause, cause_of
from worker.model import Extent, StoredPart, Upload

RUN = Extent("stage/blob", 0, 3, b"1" * 32, 0, 3)
ENTRY = an_entry("a", b"123", (RUN,))
PART = StoredPart(1, 3, "0" * 32, 1, (RUN,))
UPLOAD = Upload("u", "k", 1)

CALLS = {
    "get": lambda index: index.get("a"),
    "entries": lambda index: list(index.entries()),
    "update": lambda index: index.update("a", lambda entry: entry, epoch=0),
    "put": lambda index: index.put(ENTRY, epoch=0, decide=lambda _: None),
    "remove": lambda index: index.remove("a", epoch=0),
    "upload": lambda index: index.upload("k", "u"),
    "uploads": lambda index: list(index.uploads()),
    "parts": lambda index: index.parts("k", "u"),
    "check_upload": lambda index: index.check_upload("k", "u"),
    "epoch": lambda index: index.epoch(),
    "begin": lambda index: index.begin(),
    "is_closed": lambda index: index.is_closed(),
    "roll_back": lambda index: index.roll_back(),
    "has_snapshot": lambda index: index.has_snapshot(),
}
OBJECTS = ("get", "entries", "update", "put", "remove")
UPLOADS = ("upload", "uploads", "parts", "check_upload")
STATE = ("epoch", "begin", "is_closed", "roll_back", "put")


def encoded(value, **changes) -> bytes:
    fields = msgspec.to_builtins(value) | changes
    return msgspec.msgpack.encode(fields)


def extent(**changes):
    return [msgspec.to_builtins(RUN, builtin_types=(bytes,)) | changes]


VALUES = {
    "no bytes": "text",
    "NULL": None,
    "a number": 1,
    "empty": b"",
    "random": b"\xc1\xff",
    "deep": b"\x91" * 200_000,
    "another type": msgspec.msgpack.encode([1]),
}
ENTRIES = VALUES | {
    "another key": encoded(ENTRY, key="b", extents=extent()),
    "size that is not the sum": encoded(ENTRY, size=4, extents=extent()),
    "negative size": encoded(ENTRY, size=-3, extents=extent(length=-3)),
    "extent beyond its run": encoded(ENTRY, size=9, extents=extent(length=9)),
    "extent of a path": encoded(ENTRY, extents=extent(blob="../../etc")),
    "header of the protocol": encoded(ENTRY, extents=extent(), headers={"set-cookie": "a=1"}),
    "header with a line feed": encoded(
        ENTRY, extents=extent(), headers={"content-type": "a\r\nx: y"}
    ),
    "key of 1,200 bytes": encoded(ENTRY, key="\U0010ffff" * 300, extents=extent()),
    "unknown checksum": encoded(
        ENTRY, extents=extent(), checksum=["FOO", "AAAAAA==", "FULL_OBJECT"]
    ),
    "checksum that is no Base64": encoded(
        ENTRY, extents=extent(), checksum={"algorithm": "CRC32", "value": "A", "type": "COMPOSITE"}
    ),
    "time of a year beyond 9999": encoded(ENTRY, modified=2**60, extents=extent()),
}


@pytest.fixture
def index(tmp_path):
    index = Index.create(tmp_path / "index")
    index.put(ENTRY, epoch=0)
    index.create_upload(UPLOAD, epoch=0)
    index.put_part("k", "u", PART, epoch=0)
    yield index
    index.close()


def tamper(index, statement, *values):
    with sqlite3.connect(index._path) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("PRAGMA writable_schema = ON")
        db.execute(statement, values)
    db.close()


def check(index, call):
    with pytest.raises(IndexDamaged, match="index of the output is damaged") as caught:
        CALLS[call](index)
    assert str(index._path) in str(caught.value)
    assert Cause.UNAVAILABLE is cause_of(caught.value)


def test_every_call_succeeds_on_a_sound_index(index):
    for call in CALLS.values():
        call(index)


@pytest.mark.parametrize("value", ENTRIES.values(), ids=ENTRIES.keys())
def test_a_damaged_object_is_an_error_that_names_the_index(index, value):
    tamper(index, "DROP TABLE objects")
    tamper(index, "CREATE TABLE objects (key PRIMARY KEY, entry) WITHOUT ROWID")
    tamper(index, "INSERT INTO objects VALUES (?, ?)", b"a", value)

    for call in OBJECTS:
        check(index, call)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_damaged_upload_is_an_error_that_names_the_index(index, value):
    tamper(index, "DROP TABLE uploads")
    tamper(index, "CREATE TABLE uploads (key, id, epoch, upload, key_changed DEFAULT 0)")
    tamper(index, "INSERT INTO uploads VALUES (?, 'u', 0, ?, 0)", b"k", value)

    for call in UPLOADS:
        check(index, call)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_damaged_part_is_an_error_that_names_the_index(index, value):
    tamper(index, "DROP TABLE parts")
    tamper(index, "CREATE TABLE parts (upload, number, part)")
    tamper(index, "INSERT INTO parts VALUES ('u', 1, ?)", value)

    check(index, "parts")


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM state", "UPDATE state SET epoch = 'x', closed = 'x', frozen = x'00'"],
    ids=["no row", "no numbers"],
)
def test_a_damaged_state_is_an_error_that_names_the_index(index, statement):
    tamper(index, statement)

    for call in ("epoch", "begin", "roll_back", "put"):
        check(index, call)


@pytest.mark.parametrize(
    ("table", "calls"),
    [("objects", OBJECTS), ("uploads", UPLOADS), ("parts", ("parts",)), ("state", STATE)],
)
def test_a_missing_table_is_an_error_that_names_the_index(index, table, calls):
    tamper(index, f"DROP TABLE {table}")

    for call in calls:
        check(index, call)


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "index"
    path.write_bytes(b"1" * 10_000)

    check(Index(path), "get")
