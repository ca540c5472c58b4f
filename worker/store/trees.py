"""Trees: all files of a commit, read lazily, and made from another tree by changes."""

import contextlib
import hashlib
import secrets
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import itemgetter

import attrs
import msgspec

from worker.errors import Invalid
from worker.model import Entry
from worker.store import segments
from worker.store.backends.base import Backend, Damaged, ObjectMissing, StoreUnavailable
from worker.store.segments import LIMIT, Segment

SEGMENTS = "segments/"
TREES = "trees/"
FORMAT = 2
# Segments on their way to the store at the same time; more would only take memory.
WRITERS = 4

_encode = msgspec.msgpack.Encoder()


class OutOfOrder(Invalid):
    """The changes of a tree do not come sorted by key, each key once."""

    def __init__(self, before: str, after: str) -> None:
        super().__init__(
            f"changes: found {after!r} after {before!r}, expected sorted keys, each once"
        )


@attrs.frozen
class SegmentRow:
    """What a root knows of a segment."""

    last: str
    """The last of its keys."""
    address: bytes
    """The SHA-256 of its bytes."""
    digest: bytes
    """The digest of what its entries mean."""
    count: int
    size: int
    """The sum of its files' sizes, in bytes."""


_decode = msgspec.msgpack.Decoder(tuple[int, bytes, list[tuple[str, bytes, bytes, int, int]]])


class SegmentCache:
    """Decoded segments, the most recently used ones, up to a bound. Safe to share by threads."""

    def __init__(self, limit: int) -> None:
        """Keep segments of about *limit* bytes together; the last one used is always kept."""
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()
        self._segments: OrderedDict[bytes, Segment] = OrderedDict()

    def __contains__(self, address: bytes) -> bool:
        """Whether the segment is in memory."""
        return address in self._segments

    def segment(self, backend: Backend, address: bytes) -> Segment:
        """Return the segment, from memory or from *backend*, its bytes checked."""
        with self._lock:
            if (segment := self._segments.get(address)) is not None:
                self._segments.move_to_end(address)
                return segment
        segment = read_segment(backend, address)
        with self._lock:
            if address not in self._segments:
                self._segments[address] = segment
                self._used += segment.weight
            while self._used > self._limit and len(self._segments) > 1:
                self._used -= self._segments.popitem(last=False)[1].weight
        return segment


class Tree:
    """The files of a commit, sorted by the UTF-8 bytes of their keys. Immutable."""

    def __init__(
        self,
        backend: Backend,
        root: str,
        rows: tuple[SegmentRow, ...],
        cache: SegmentCache,
        *,
        created: Sequence[str] = (),
    ) -> None:
        """Take the tree of *rows*, whose root is (or will be) stored under the address *root*.

        *created* names the objects that were stored for it alone.
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

    @classmethod
    def open(cls, backend: Backend, root: str, cache: SegmentCache) -> "Tree":
        """Return the tree with this root, after reading the root alone."""
        return cls(backend, root, read_root(backend, root), cache)

    @classmethod
    def empty(cls, backend: Backend, cache: SegmentCache) -> "Tree":
        """Return the tree without files; its root is not stored, unlike that of ``apply``."""
        return cls(backend, hashlib.sha256(_encode_root(b"", ())).hexdigest(), (), cache)

    def entry(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None; at most one segment is read."""
        index = bisect_left(self._lasts, key)
        return None if index == len(self.rows) else self._segment(index).find(key)

    def entries(self, *, start: str = "", after: str = "", prefix: str = "") -> Iterator[Entry]:
        """Yield the entries with *prefix*, at *start* or later, strictly after *after*, lazily."""
        bounds = ((prefix, bisect_left), (start, bisect_left), (after, bisect_right))
        # Of equal ones the last, which is the strictest.
        first, position = sorted(bounds, key=itemgetter(0))[-1]
        for index in range(bisect_left(self._lasts, first), len(self.rows)):
            segment = self._segment(index)
            keys = segment.keys
            for at in range(position(keys, first), len(keys)):
                if not keys[at].startswith(prefix):
                    return
                yield segment.entry(at)

    def discard(self) -> None:
        """Delete what was stored for this tree alone; no commit may name it."""
        _delete(self.backend, self._created)

    def is_cached(self, key: str) -> bool:
        """Whether ``entry(key)`` would answer from memory, without waiting for the store."""
        index = bisect_left(self._lasts, key)
        return index == len(self.rows) or self.rows[index].address in self.cache

    def _segment(self, index: int) -> Segment:
        return self.cache.segment(self.backend, self.rows[index].address)


def apply(base: Tree, changes: Iterable[tuple[str, Entry | None]]) -> Tree:
    """Return *base* with *changes*, every part of it durable in the store.

    A change is a key with its new entry, or with None for a key that goes (or was never there).
    They come sorted by key, each key once, and are taken as they come: memory is bounded. Only
    segments that a change touches are read and written; the root goes last.

    Every segment and root that is written holds a salt of its own, so no object is ever stored
    under a name that it, or another, had before. What a crashed writer left, and gc may be deleting
    at this moment, is therefore never what a new commit relies on.
    """
    salt = secrets.token_bytes(8)
    created: list[str] = []
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            builder = _Builder(base.backend, pool, salt, created)
            _merge(base, _Changes(changes), builder)
            rows = builder.finish()
        if rows and rows == base.rows:
            return base
        data = _encode_root(salt, rows)
        root = hashlib.sha256(data).hexdigest()
        created.append(TREES + root)
        base.backend.put(created[-1], data)
    except BaseException:
        _delete(base.backend, created)
        raise
    return Tree(base.backend, root, rows, base.cache, created=created)


def read_root(backend: Backend, root: str) -> tuple[SegmentRow, ...]:
    """Return what the root says, its bytes checked against its address."""
    name = TREES + root
    data = _checked(backend, name, root)
    raw = segments.decompress(name, data)
    try:
        segments.check_format(name, raw, FORMAT)
        return tuple(SegmentRow(*row) for row in _decode.decode(raw)[2])
    except (msgspec.DecodeError, IndexError) as error:
        raise Damaged(name, f"this is not the root of a tree ({error})") from error


def read_segment(backend: Backend, address: bytes) -> Segment:
    """Return the segment, its bytes checked against its address."""
    name = SEGMENTS + address.hex()
    return segments.decode(name, _checked(backend, name, address.hex()))


def _encode_root(salt: bytes, rows: tuple[SegmentRow, ...]) -> bytes:
    return segments.compress(_encode.encode((FORMAT, salt, [attrs.astuple(row) for row in rows])))


def _delete(backend: Backend, names: Sequence[str]) -> None:
    """Delete what no commit names; where the store does not answer, gc does it later."""
    with contextlib.suppress(StoreUnavailable):
        for name in names:
            backend.delete(name)


def _checked(backend: Backend, name: str, address: str) -> bytes:
    try:
        data = backend.get(name)
    except ObjectMissing as error:
        # A commit or a root says that it is there.
        raise Damaged(name, "the object is gone") from error
    found = hashlib.sha256(data).hexdigest()
    if found != address:
        raise Damaged(name, f"its bytes have the SHA-256 {found}")
    return data


class _Changes:
    """Changes with a look at the next one, refused where they are out of order."""

    def __init__(self, changes: Iterable[tuple[str, Entry | None]]) -> None:
        self._changes = iter(changes)
        self.key: str | None = None
        self.entry: Entry | None = None
        self.step()

    def step(self) -> None:
        """Look at the next change; *key* is None after the last."""
        before = self.key
        self.key, self.entry = next(self._changes, (None, None))
        if before is not None and self.key is not None and self.key <= before:
            raise OutOfOrder(before, self.key)


class _Builder:
    """Cuts sorted entries into segments and stores them, several at a time."""

    def __init__(
        self, backend: Backend, pool: ThreadPoolExecutor, salt: bytes, created: list[str]
    ) -> None:
        self._backend = backend
        self._pool = pool
        self._salt = salt
        self._created = created
        self._writing: deque[Future[None]] = deque()
        self._done: list[SegmentRow] = []
        self._begin()

    def _begin(self) -> None:
        self._keys: list[str] = []
        self._rows: list[bytes | msgspec.Raw] = []
        self._meanings: list[bytes] = []
        self._size = 0

    @property
    def between(self) -> bool:
        """Whether a segment ended with the last entry."""
        return not self._keys

    def keep(self, row: SegmentRow) -> None:
        """Take over a whole segment that is stored already; only between segments."""
        self._done.append(row)

    def add(self, key: str, row: bytes | msgspec.Raw) -> None:
        """Add an entry."""
        self._keys.append(key)
        self._rows.append(row)
        meaning, size = segments.meaning(key, row)
        self._meanings.append(meaning)
        self._size += size
        if segments.ends_segment(key) or len(self._keys) == LIMIT:
            self._end()

    def finish(self) -> tuple[SegmentRow, ...]:
        """Return the rows when every segment is durable."""
        if self._keys:
            self._end()
        while self._writing:
            self._writing.popleft().result()
        return tuple(self._done)

    def _end(self) -> None:
        data = segments.encode(self._salt, self._keys, self._rows)
        address = hashlib.sha256(data).digest()
        self._done.append(
            SegmentRow(
                self._keys[-1],
                address,
                segments.digest(self._meanings),
                len(self._keys),
                self._size,
            )
        )
        self._begin()
        while len(self._writing) >= WRITERS:
            self._writing.popleft().result()
        self._created.append(SEGMENTS + address.hex())
        self._writing.append(self._pool.submit(self._backend.put, self._created[-1], data))


def _merge(base: Tree, changes: _Changes, builder: _Builder) -> None:
    """Feed *builder* with *base* and *changes*, whole untouched segments as they are.

    Where a segment ends depends on the keys since the last end alone. So a segment of *base* that
    begins where the builder has just ended one is what the builder would make of its entries,
    provided that it was ended by a boundary; the last one was ended by the end of the tree, and
    belongs to all keys that follow.
    """
    final = len(base.rows) - 1
    for index, row in enumerate(base.rows):
        touched = changes.key is not None and (changes.key <= row.last or index == final)
        if builder.between and not touched:
            builder.keep(row)
            continue
        segment = base.cache.segment(base.backend, row.address)
        for at, key in enumerate(segment.keys):
            while changes.key is not None and changes.key < key:
                _add_change(builder, changes)
            if changes.key == key:
                _add_change(builder, changes)
            else:
                builder.add(key, segment.rows[at])
    while changes.key is not None:
        _add_change(builder, changes)


def _add_change(builder: _Builder, changes: _Changes) -> None:
    entry, key = changes.entry, changes.key
    if entry is not None and key is not None:
        builder.add(key, segments.row(entry))
    changes.step()
