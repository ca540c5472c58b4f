"""Hostile stores: a small store with every kind of object, and the ways to damage one of them.

The kinds are found by listing the store, and the fields by decoding the objects. So an object or a
field that is added to the format is attacked without a change here.
"""

import hashlib
import io
import json
import os
import random
import shutil
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import msgspec
import zstandard
from builders import a_commit, an_id
from store.store_image import rich_entry

from worker.cli.app import call
from worker.model import BranchName, CommitName, Entry, InputRecord, Repo
from worker.store.blobs import Stage
from worker.store.opening import open_store
from worker.store.repository import Store
from worker.store.trees import SEGMENTS, TREES, apply

Json = Any
Path_ = tuple[Any, ...]

REPO = "labresults"
OLD = 1
"""The time of the last change of every object, in seconds; a damaged one has another."""
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in which files are written fast, if there is one."""
HINTS = "heads"
"""Objects that need not be correct, so damage to them is no defect."""


@attrs.frozen(eq=False)
class Hostile:
    """A store in a directory, and the command line on it."""

    root: Path
    _stored: dict[str, bytes] = attrs.field(factory=dict, init=False)
    """What `restore` writes, by name."""
    _kinds: dict[str, str] = attrs.field(factory=dict, init=False)

    @property
    def place(self) -> Path:
        """The directory of the store."""
        return self.root / "store"

    def open(self) -> Store:
        """Open the store."""
        return open_store(self.place)

    def names(self) -> list[str]:
        """Return the names of all files below the store."""
        return sorted(
            path.relative_to(self.place).as_posix()
            for path in self.place.rglob("*")
            if path.is_symlink() or not path.is_dir()
        )

    def keep(self) -> None:
        """Keep the store as it is, for `restore`."""
        self._kinds.update(self.kinds())
        self._stored.update((name, self.path(name).read_bytes()) for name in self.names())

    def restore(self) -> None:
        """Write the store as it was when it was kept: faster than a copy for each test."""
        place = os.fspath(self.place)
        unchanged = set()
        for folder, folders, names in os.walk(place, topdown=False):
            for each in names + folders:
                path = os.path.join(folder, each)
                name = path[len(place) + 1 :]
                status = os.lstat(path)
                if stat.S_ISDIR(status.st_mode):
                    if name in self._stored:
                        shutil.rmtree(path)
                elif stat.S_ISREG(status.st_mode) and self._has_size(name, status):
                    unchanged.add(name)
                else:
                    os.unlink(path)
        for name, data in self._stored.items():
            if name not in unchanged:
                path = os.path.join(place, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                Path(path).write_bytes(data)
                os.utime(path, (OLD, OLD))

    def _has_size(self, name: str, status: os.stat_result) -> bool:
        """Whether a file seems to be as it was kept; a damaged one has another time."""
        kept = self._stored.get(name)
        return kept is not None and (status.st_size, status.st_mtime) == (len(kept), OLD)

    def kinds(self) -> dict[str, str]:
        """Return the name of one object by the kind of object; of commits, the head."""
        if self._kinds:
            return self._kinds
        found = {
            kind_of(name): name
            for name in self.names()
            if f"/{REPO}/" in name or not name.startswith("repos/")
        }
        store = self.open()
        commit = store.resolve(REPO)
        found["commits"] = f"repos/default/{REPO}/commits/{commit.name.id}"
        tree = store.tree(commit)
        found["trees"] = TREES + commit.root
        found["segments"] = SEGMENTS + tree.rows[0].address.hex()
        entry = tree.entry("a")
        assert entry is not None
        found["blobs"] = f"blobs/{entry.extents[0].blob}"
        return found

    def path(self, name: str) -> Path:
        """Return the file of an object."""
        return self.place / name

    def replace(self, name: str, data: bytes) -> None:
        """Replace the bytes of an object."""
        self.path(name).unlink()
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(data)

    def run(self, *arguments: object) -> "Completed":
        """Call ``worker`` with *arguments* in this process."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
        err = io.StringIO()
        before = dict(os.environ)
        os.environ.update(
            WORKER_STORE=str(self.place),
            WORKER_LOG_FORMAT="console",
            XDG_CONFIG_HOME=str(self.root / "config"),
        )
        try:
            with redirect_stdout(out), redirect_stderr(err):
                status = call([str(each) for each in arguments])
                out.flush()
        finally:
            os.environ.clear()
            os.environ.update(before)
        text = out.buffer.getvalue().decode(errors="replace")
        return Completed(status, text, err.getvalue())

    def command(self, name: str) -> "Completed":
        """Call one of the `COMMANDS`."""
        shutil.rmtree(self.root / "target", ignore_errors=True)
        places = {"TARGET": self.root / "target", "FOLDER": self.root / "folder"}
        return self.run(*(places.get(each, each) for each in COMMANDS[name]))


@attrs.frozen
class Completed:
    """The exit status and output of a command line."""

    status: int
    out: str
    err: str


COMMANDS: dict[str, tuple[str, ...]] = {
    "ls": ("ls", REPO),
    "ls -r": ("ls", "-r", "--json", REPO),
    "log": ("log", REPO),
    "log of a commit": ("log", f"{REPO}^0"),
    "show": ("show", REPO),
    "show --json": ("show", "--json", REPO),
    "show a file": ("show", f"{REPO}:a"),
    "cat": ("cat", f"{REPO}:a"),
    "get": ("get", REPO, "TARGET"),
    "tar": ("get", REPO, "--tar", "/dev/null"),
    "put": ("put", f"{REPO}@master", "FOLDER"),
    "put --keep": ("put", "--keep", f"{REPO}@master", "FOLDER"),
    "repos": ("repos",),
    "verify": ("verify",),
    "gc": ("gc", "--older-than", "0"),
}
READS = tuple(name for name in COMMANDS if not name.startswith("put"))
ENDINGS = (0, 1, 66, 69)
"""Success; incomplete or damaged; something is missing; the store is damaged or unavailable."""


def kind_of(name: str) -> str:
    """Return the kind of the object *name*, which is a folder of the layout."""
    parts = name.split("/")
    return parts[3] if parts[0] == "repos" and len(parts) > 3 else parts[0]


def build(root: Path) -> Hostile:
    """Create a store with an object of each kind, and a second sound repo."""
    hostile = Hostile(root)
    store = hostile.open()
    a_commit(store, {"sound": b"sound"}, repo="other")
    source = a_commit(store, {"x": b"1"}, repo="source")
    files = {"a": b"1" * 10, "b/c": b"2" * 20, "large": b"3" * 70_000, "z": b""}
    first = a_commit(store, files)
    record = InputRecord("source", source.name, "master", s3=True)
    job = {
        "id": "j", "project": "default", "pipeline": "p", "state": "success",
        "command": ["sh"], "started": 1.0, "finished": 2.0, "warnings": ["w"],
        "spec": {"transform": {"cmd": ["sh"], "stdin": ["true"]}},
        "image": "i", "image_digest": "d", "description": "d", "parent": "p",
        "times": {"run": 1.0}, "usage": {"cpu_seconds": 1.0, "peak_memory": 1},
        "datum_counts": {"total": 1, "failed": 1}, "datums": [{"tries": 2}],
        "buckets": {"out": {"reads": 1}}, "reports": {"rows": 1},
    }  # fmt: skip
    tree = apply(store.tree(first), [("a", _rich(store, root))])
    branch = BranchName(Repo("default", REPO))
    commit = attrs.evolve(
        first, name=CommitName(branch.repo, an_id()), parent=first.name.id, root=tree.root,
        digest=tree.digest, files=tree.count, size=tree.size, inputs=(record,), job=job,
    )  # fmt: skip
    store.add_commit(commit)
    store.advance(branch, commit)
    folder = root / "folder"
    folder.mkdir()
    (folder / "new").write_bytes(b"new")
    for path in hostile.place.rglob("*"):
        os.utime(path, (OLD, OLD))
    hostile.keep()
    return hostile


def _rich(store: Store, root: Path) -> Entry:
    """Return an entry in which every field has a value."""
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        stage = Stage(store.backend, f"rich-{an_id()}", writer="w", scratch=Path(scratch))
        entry = rich_entry("a", stage)
        stage.flush()
    return entry


# --- damage of bytes ------------------------------------------------------------------------------


def _claim(size: int) -> bytes:
    """Return a zstd frame whose header claims *size* bytes of content (RFC 8878, 3.1.1.1)."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x01\x00\x00"


def compressed(data: bytes) -> bytes:
    """Return a zstd frame."""
    return zstandard.ZstdCompressor().compress(data)


@cache
def _bomb() -> bytes:
    return compressed(bytes(300 << 20))


@cache
def _many_items() -> bytes:
    items = b"\xdd" + struct.pack(">I", 5_000_000) + b"\xa0" * 5_000_000
    return compressed(b"\x94\x02\xc4\x00" + 2 * items)


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "flipped": lambda data: bytes([data[0] ^ 1]) + data[1:] if data else b"\x01",
    "random": lambda _: random.Random(1).randbytes(1000),
    "zeros": lambda _: bytes(1000),
    "not utf-8": lambda _: b'{"commit": "\xff\xfe"}',
    "lone surrogate": lambda _: rb'{"commit": "\ud800"}',
    "json list": lambda _: b"[]",
    "json null": lambda _: b"null",
    "json text": lambda _: b'"text"',
    "json NaN": lambda _: b'{"commit": NaN}',
    "huge number": lambda _: b"1" * 5000,
    "negative number": lambda _: b"-1",
    "number beyond 64 bits": lambda _: b"18446744073709551616",
    "deep json": lambda _: b'{"commit":' + b"[" * 200_000,
    "bomb": lambda _: _bomb(),
    "claimed 2^60": lambda _: _claim(1 << 60),
    "deep msgpack": lambda _: compressed(b"\x91" * 200_000),
    "array of 2^32": lambda _: compressed(b"\xdd\xff\xff\xff\xff"),
    "many empty items": lambda _: _many_items(),
    "newer format": lambda _: compressed(msgspec.msgpack.encode((9, b"", {}, {}, 1))),
    "not msgpack": lambda _: compressed(b"\xc1"),
}
"""Other bytes under the name of an object."""


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _sparse(path: Path) -> None:
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(1 << 43)


FILES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "named pipe": _fifo,
    "folder": _folder,
    "link to itself": _loop,
    "link to a device": _device,
    "8 TiB": _sparse,
}
"""Other files at the path of an object."""


# --- damage of fields -----------------------------------------------------------------------------

WRONG: tuple[Json, ...] = (
    None, True, -1, 2**62 + 1, 2**63, 2**64 - 1, 0.5, float("inf"), float("nan"), 1e300,
    "", "text", "../../x", "a\r\nset-cookie: x=1", "a\0b", "€", [], {}, [[]], b"", b"\xff" * 32,
    ["", "", "", "", "", ""], {"set-cookie": "x"}, {"content-type": "a\r\nx: y"},
    {"content-type": 1}, {"bad name\r\nx": "y"},
)  # fmt: skip
"""Values that most fields do not have."""


class Absent:
    """A field that is left out."""


def paths(value: Json, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of every value within *value*, and of itself."""
    yield at
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in items:
        yield from paths(each, (*at, key))


def changed(value: Json, at: Path_, new: Json) -> Json:
    """Return *value* with *new* at the path *at*, or without that value if *new* is Absent."""
    if not at:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    if new is Absent and len(at) == 1:
        del copied[at[0]]
    else:
        copied[at[0]] = changed(copied[at[0]], at[1:], new)
    return copied


def decode(hostile: Hostile, kind: str) -> Json:
    """Return the fields of the object of *kind*; None if it has none."""
    data = hostile.path(hostile.kinds()[kind]).read_bytes()
    for attempt in (_decode_segment, json.loads):
        try:
            found = attempt(data)
        except (ValueError, zstandard.ZstdError, msgspec.DecodeError):
            continue
        return found if isinstance(found, dict | list) else None
    return None


def _decode_segment(data: bytes) -> Json:
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(data))


def encode(kind: str, document: Json) -> bytes:
    """Return the bytes of an object with other fields."""
    if kind in ("segments", "trees"):
        return compressed(msgspec.msgpack.encode(document))
    return json.dumps(document, default=lambda value: value.decode("latin-1")).encode()


def put_bytes(hostile: Hostile, kind: str, data: bytes) -> str:
    """Store *data* as the object of *kind*, under an address that is right; return its name.

    So a digest does not detect the damage: its author has computed the digests anew.
    """
    kinds = hostile.kinds()
    name = kinds[kind]
    if kind not in ("segments", "trees"):
        hostile.replace(name, data)
        return name
    address = hashlib.sha256(data)
    new = f"{kind}/{address.hexdigest()}"
    (hostile.place / new).write_bytes(data)
    if kind == "segments":
        root = _decode_segment(hostile.path(kinds["trees"]).read_bytes())
        for row in root[2]:
            if row[1].hex() == name.rpartition("/")[2]:
                row[1] = address.digest()
        put_bytes(hostile, "trees", encode("trees", root))
    else:
        commit = json.loads(hostile.path(kinds["commits"]).read_bytes())
        commit["tree"]["root"] = address.hexdigest()
        hostile.replace(kinds["commits"], json.dumps(commit).encode())
    return new


def problem(done: Completed) -> str | None:
    """Return why a command on a damaged store did not end as it must; None if it did."""
    if done.status not in ENDINGS:
        return f"exit status {done.status}: {done.err[-500:]}"
    if "Traceback" in done.err or "internal error" in done.err:
        return done.err[-500:]
    return None
