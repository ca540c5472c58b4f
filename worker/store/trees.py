"""Trees: the sorted files of a commit, read lazily, and derived from each other by changes."""

import contextlib
import hashlib
import secrets
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from operator import itemgetter
from typing import Annotated

import attrs
import msgspec
from msgspec import Meta

from worker.errors import Invalid
from worker.model import MAX_KEY, Entry
from worker.store import segments
from worker.store.backends.base import (
    Backend,
    Damaged,
    ObjectMissing,
    StoreUnavailable,
    read_whole,
)
from worker.store.entry_rules import MAX_SIZE, MAX_TOTAL, UNDECODABLE
from worker.store.segments import LIMIT, MAX_STORED, WEIGHT_LIMIT, Segment

SEGMENTS = "segments/"
TREES = "trees/"
FORMAT = 2
# Segments that are written at a time; more would only need memory.
WRITERS = 4

_encode = msgspec.msgpack.Encoder()


class OutOfOrder(Invalid):
    """The changes of a tree are not sorted by key, or have a key twice."""

    def __init__(self, before: str, after: str) -> None:
        super().__init__(
            f"changes: found {after!r} after {before!r}, expected sorted and unique keys"
        )


@attrs.frozen
class SegmentRow:
    """The description of a segment in a root."""

    last: str
    """The last key."""
    address: bytes
    """The SHA-256 of its bytes."""
    digest: bytes
    """The digest of the meanings of its entries."""
    count: int
    size: int
    """The sum of its files' sizes, in bytes."""


class NotCached(Exception):
    """The segment with the entry is not in memory."""


_Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
_decode = msgspec.msgpack.Decoder(
    tuple[
        int,
        bytes,
        list[
            tuple[
                Annotated[str, Meta(max_length=MAX_KEY)],
                _Digest,
                _Digest,
                Annotated[int, Meta(ge=1, le=LIMIT)],
                Annotated[int, Meta(ge=0, le=LIMIT * MAX_SIZE)],
            ]
        ],
    ]
)


@attrs.define(eq=False)
class SegmentCache:
    """A bounded LRU cache of decoded segments. Safe to use from several threads."""

    _limit: int
    """The approximate size of all segments in bytes; the last one used is always kept."""
    _used: int = attrs.field(default=0, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _segments: OrderedDict[bytes, Segment] = attrs.field(factory=OrderedDict, init=False)

    def cached(self, address: bytes) -> Segment | None:
        """Return the segment if it is in memory, else None."""
        with self._lock:
            if (segment := self._segments.get(address)) is not None:
                self._segments.move_to_end(address)
            return segment

    def segment(self, backend: Backend, address: bytes) -> Segment:
        """Return the segment from memory or from *backend*, whose bytes are then verified."""
        if (cached := self.cached(address)) is not None:
            return cached
        segment = read_segment(backend, address)
        with self._lock:
            if address not in self._segments:
                self._segments[address] = segment
                self._used += segment.weight
            while self._used > self._limit and len(self._segments) > 1:
                self._used -= self._segments.popitem(last=False)[1].weight
        return segment


class Tree:
    """The immutable files of a commit, sorted by the UTF-8 bytes of their keys."""

    def __init__(
        self,
        backend: Backend,
        root: str,
        rows: tuple[SegmentRow, ...],
        cache: SegmentCache,
        *,
        created: Sequence[str] = (),
    ) -> None:
        """Take the tree of *rows*, whose root is stored under the address *root*.

        *created* are the names of the objects that were stored only for this tree.
        """
        self.backend = backend
        self._created = created
        self.cache = cache
        self.root = root
        self.rows = rows
        self.count = sum(row.count for row in rows)
        self.size = sum(row.size for row in rows)
        self.digest = hashlib.sha256(b"".join(row.digest for row in rows)).hexdigest()
        self._lasts = [row.last for row in rows]

    def entry(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None; read at most one segment."""
        index = bisect_left(self._lasts, key)
        if index == len(self.rows):
            return None
        return self.segment(index).find(key)

    def entry_nowait(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None, without blocking; raise NotCached."""
        index = bisect_left(self._lasts, key)
        if index == len(self.rows):
            return None
        if (segment := self.cache.cached(self.rows[index].address)) is None:
            raise NotCached
        self._check(index, segment)
        return segment.find(key)

    def entries(self, *, start: str = "", after: str = "", prefix: str = "") -> Iterator[Entry]:
        """Yield the entries with *prefix*, from *start* on and strictly after *after*, lazily."""
        bounds = ((prefix, bisect_left), (start, bisect_left), (after, bisect_right))
        # Of equal bounds the last is the strictest.
        first, position = sorted(bounds, key=itemgetter(0))[-1]
        for index in range(bisect_left(self._lasts, first), len(self.rows)):
            segment = self.segment(index)
            keys = segment.keys
            for at in range(position(keys, first), len(keys)):
                if not keys[at].startswith(prefix):
                    return
                yield segment.entry(at)

    def segment(self, index: int) -> Segment:
        """Return the segment of the row at *index*; raise Damaged."""
        segment = self.cache.segment(self.backend, self.rows[index].address)
        self._check(index, segment)
        return segment

    def _check(self, index: int, segment: Segment) -> None:
        """Raise Damaged unless *segment* has the keys that the root describes.

        So keys are sorted in the whole tree, whatever root and segments a store returns.
        """
        row, keys = self.rows[index], segment.keys
        before = self._lasts[index - 1] if index else ""
        if keys[-1] != row.last or len(keys) != row.count or keys[0] <= before:
            raise Damaged(
                TREES + self.root,
                f"it does not describe the keys of {segment.name}, which it names",
            )

    def discard(self) -> None:
        """Delete the objects that were stored only for this tree, which no commit names."""
        _delete(self.backend, self._created)


def apply(base: Tree, changes: Iterable[tuple[str, Entry | None]]) -> Tree:
    """Return *base* with *changes*, durable in the store; raise OutOfOrder.

    A change is a key with its new entry, or with None to remove the key if it exists. Changes are
    sorted by key, each key once, and are consumed lazily, so memory is bounded. Only segments that
    a change touches are read and written; the root is written last.

    Segments and roots contain a random salt, so no object is stored under a name that an object
    had before. A new commit therefore never relies on what a crashed writer left, which gc may be
    deleting at the same time.
    """
    salt = secrets.token_bytes(8)
    created: list[str] = []
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            builder = _Builder(base.backend, pool, salt, created)
            _merge(base, changes, builder)
            rows = builder.finish()
        if rows and rows == base.rows:
            return base
        _check_total(TREES + base.root, rows)
        encoded = _encode.encode((FORMAT, salt, [attrs.astuple(row) for row in rows]))
        data = segments.compress(encoded)
        root = hashlib.sha256(data).hexdigest()
        created.append(TREES + root)
        base.backend.put(created[-1], data)
    except BaseException:
        _delete(base.backend, created)
        raise
    return Tree(base.backend, root, rows, base.cache, created=created)


def read_root(backend: Backend, root: str) -> tuple[SegmentRow, ...]:
    """Read a root, verify its bytes against its address, and return its rows."""
    name = TREES + root
    data = _verified(backend, name, root)
    raw = segments.decompress(name, data)
    try:
        segments.check_format(name, raw, FORMAT)
        rows = tuple(SegmentRow(*row) for row in _decode.decode(raw)[2])
    except (*UNDECODABLE, IndexError) as error:
        raise Damaged(name, f"this is not the root of a tree ({error})") from error
    for before, row in pairwise(rows):
        if row.last <= before.last:
            raise Damaged(name, f"{row.last!r} comes after {before.last!r}, expected sorted keys")
    _check_total(name, rows)
    return rows


def _check_total(name: str, rows: Iterable[SegmentRow]) -> None:
    """Raise Damaged, of the root *name*, unless a root and a commit can have the sum of sizes."""
    if sum(row.size for row in rows) > MAX_TOTAL:
        raise Damaged(name, f"its files have more than {MAX_TOTAL:,} bytes")


def read_segment(backend: Backend, address: bytes) -> Segment:
    """Read a segment and verify its bytes against its address."""
    name = SEGMENTS + address.hex()
    return segments.decode(name, _verified(backend, name, address.hex()))


def _delete(backend: Backend, names: Sequence[str]) -> None:
    """Delete objects that no commit names. If the store does not respond, gc deletes them later."""
    with contextlib.suppress(StoreUnavailable):
        for name in names:
            backend.delete(name)


def _verified(backend: Backend, name: str, address: str) -> bytes:
    try:
        data = read_whole(backend, name, MAX_STORED)
    except ObjectMissing as error:
        # A commit or a root names it.
        raise Damaged(name, "the object is missing") from error
    found = hashlib.sha256(data).hexdigest()
    if found != address:
        raise Damaged(name, f"its bytes have the SHA-256 {found}")
    return data


@attrs.define(eq=False)
class _Builder:
    """Divides sorted entries into segments and writes these, several at a time."""

    _backend: Backend
    _pool: ThreadPoolExecutor
    _salt: bytes
    _created: list[str]
    _writing: deque[Future[None]] = attrs.field(factory=deque, init=False)
    done: list[SegmentRow] = attrs.field(factory=list, init=False)
    """The complete segments. A stored one can be appended while *keys* is empty."""
    keys: list[str] = attrs.field(factory=list, init=False)
    """The keys of the current segment; empty at a boundary."""
    _rows: list[bytes | msgspec.Raw] = attrs.field(factory=list, init=False)
    _meanings: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    _weight: int = attrs.field(default=0, init=False)
    """The bytes of the meanings of the current segment."""

    def add(self, entry: Entry) -> None:
        """Append an entry, and end the segment if its key is a boundary."""
        row = segments.row(entry)
        self.add_row(entry.key, row, *segments.meaning(entry.key, row))

    def add_row(self, key: str, row: bytes | msgspec.Raw, meaning: bytes, size: int) -> None:
        """Append an encoded entry with its meaning and the size of its file."""
        self.keys.append(key)
        self._rows.append(row)
        self._meanings.append(meaning)
        self._size += size
        self._weight += len(meaning)
        is_full = len(self.keys) == LIMIT or self._weight >= WEIGHT_LIMIT
        if is_full or segments.ends_segment(key):
            self._end()

    def finish(self) -> tuple[SegmentRow, ...]:
        """End the last segment, wait until all are durable, and return their rows."""
        if self.keys:
            self._end()
        while self._writing:
            self._writing.popleft().result()
        return tuple(self.done)

    def _end(self) -> None:
        data = segments.encode(self._salt, self.keys, self._rows)
        address, digest = hashlib.sha256(data).digest(), segments.digest(self._meanings)
        self.done.append(SegmentRow(self.keys[-1], address, digest, len(self.keys), self._size))
        self.keys, self._rows, self._meanings = [], [], []
        self._size = self._weight = 0
        while len(self._writing) >= WRITERS:
            self._writing.popleft().result()
        self._created.append(SEGMENTS + address.hex())
        self._writing.append(self._pool.submit(self._backend.put, self._created[-1], data))


def _merge(base: Tree, changes: Iterable[tuple[str, Entry | None]], builder: _Builder) -> None:
    """Add the entries of *base* with *changes* to *builder*, and reuse untouched segments.

    Where a segment ends depends only on the entries since the previous boundary. So a segment of
    *base* that starts at a boundary of the builder is what the builder would make of its entries.
    The exception is the last one, which ends with the tree: all later keys belong to it.
    """
    ordered = _ordered(changes)
    change = next(ordered, None)
    final = len(base.rows) - 1
    for index, row in enumerate(base.rows):
        is_touched = change is not None and (change[0] <= row.last or index == final)
        if not builder.keys and not is_touched:
            builder.done.append(row)
            continue
        segment = base.segment(index)
        for at, key in enumerate(segment.keys):
            is_changed = False
            while change is not None and change[0] <= key:
                is_changed = change[0] == key
                if change[1] is not None:
                    builder.add(change[1])
                change = next(ordered, None)
            if not is_changed:
                builder.add_row(key, segment.rows[at], *segment.meaning(at))
    while change is not None:
        if change[1] is not None:
            builder.add(change[1])
        change = next(ordered, None)


def _ordered(
    changes: Iterable[tuple[str, Entry | None]],
) -> Iterator[tuple[str, Entry | None]]:
    """Yield *changes*; raise OutOfOrder."""
    previous = None
    for key, entry in changes:
        if previous is not None and key <= previous:
            raise OutOfOrder(previous, key)
        previous = key
        yield key, entry
