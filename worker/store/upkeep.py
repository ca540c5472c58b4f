"""Verify re-reads everything that a commit stands on; gc removes what no commit stands on."""

import hashlib
import time
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise

import attrs

from worker.errors import NotFound
from worker.model import CommitName, Extent, Repo
from worker.store import segments
from worker.store.backends.base import Backend, Damaged, Listed
from worker.store.blobs import FOLDER as BLOBS
from worker.store.blobs import BlobReader
from worker.store.repository import Store
from worker.store.segments import Segment, UnknownFormat
from worker.store.trees import SEGMENTS, TREES, SegmentRow, read_root, read_segment

DAY = 24 * 3600.0
# Runs of at least this size are remembered, and so read once. Their number is bounded by the bytes
# of the store; that of smaller ones is not, and to read those again for another segment that names
# them costs little.
REMEMBERED = 64 << 10
# Longer than any job: what a running one has written is in no commit yet.
GRACE = 7 * DAY


@attrs.frozen
class Defect:
    """Something that is not as it was stored."""

    name: str
    """The commit, branch or object where it was found."""
    found: str


@attrs.frozen
class Verified:
    """What verify read, and what it found."""

    commits: int
    segments: int
    runs: int
    """Runs of payload that were read; small ones once for each segment that names them."""
    size: int
    """Payload bytes that were read and hashed."""
    defects: tuple[Defect, ...]


@attrs.frozen
class Collected:
    """What gc removed."""

    blobs: int
    trees: int
    """Roots and segments."""
    size: int
    """In bytes, of blobs and trees."""
    leftovers: int
    """Temporary files and markers of commits that never came to be."""


def verify(store: Store, *, progress: Callable[[CommitName], None] | None = None) -> Verified:
    """Read every branch, commit, tree and payload byte in the store, and check every digest.

    Each damaged thing becomes a defect in the result; nothing is changed.
    """
    check = _Check(store)
    for repo in store.repos():
        check.branches(repo)
        for name in store.commits(repo):
            if progress is not None:
                progress(name)
            check.commit(name)
    return check.result()


def gc(store: Store, *, grace: float = GRACE, now: float | None = None) -> Collected:
    """Remove what no commit reaches and was last written more than *grace* seconds before *now*.

    A stage is as old as its newest blob, so *grace* must be longer than a job can be silent. If a
    commit can't be read, it raises before anything is removed.

    It is safe beside writers because a writer relies on two kinds of objects only: on those of
    commits that were there when it began, and on its own, which are younger than the grace and have
    names that no object ever had before. So what is old and unreachable stays unreachable.
    """
    before = (time.time() if now is None else now) - grace
    # Candidates are listed before the commits are read: a commit that arrives meanwhile is read
    # too, or stands on what is younger than the grace or belongs to an earlier commit.
    blobs = list(_old_stages(store.backend, before))
    trees = [
        listed
        for folder in (SEGMENTS, TREES)
        for listed in store.backend.list_from(folder)
        if listed.modified < before
    ]
    reached = _reached(store)
    blobs = [listed for listed in blobs if _blob(listed.name) not in reached]
    trees = [listed for listed in trees if listed.name not in reached]
    for listed in blobs + trees:
        store.backend.delete(listed.name)
    markers = _drop_markers(store, before)
    return Collected(
        blobs=len({_blob(listed.name) for listed in blobs}),
        trees=len(trees),
        size=sum(listed.size for listed in blobs + trees),
        leftovers=markers + store.backend.sweep(before),
    )


class _Check:
    """What one verify has seen so far."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = BlobReader(store.backend)
        self._commits = 0
        self._segments: dict[bytes, SegmentRow | None] = {}
        self._large: set[bytes] = set()
        self._runs = 0
        self._size = 0
        self._defects: list[Defect] = []

    def result(self) -> Verified:
        self._reader.close()
        return Verified(
            commits=self._commits,
            segments=len(self._segments),
            runs=self._runs,
            size=self._size,
            defects=tuple(self._defects),
        )

    def branches(self, repo: Repo) -> None:
        for branch in self._store.branches(repo):
            try:
                for head in self._store.heads(branch):
                    self._store.commit(head.commit)
            except (Damaged, UnknownFormat, NotFound) as error:
                self._found(str(branch), str(error))

    def commit(self, name: CommitName) -> None:
        self._commits += 1
        try:
            commit = self._store.commit(name)
            rows = read_root(self._store.backend, commit.root)
        except (Damaged, UnknownFormat, NotFound) as error:
            self._found(str(name), str(error))
            return
        tree = self._store.tree(commit)
        for what, said, found in (
            ("files", commit.files, tree.count),
            ("bytes", commit.size, tree.size),
            ("digest", commit.digest, tree.digest),
        ):
            if said != found:
                self._found(str(name), f"it says {what} {said}, its tree says {found}")
        after = None
        for row in rows:
            segment = self._segment(row.address)
            if segment is not None and segment != row:
                self._found(str(name), f"its root does not agree with segment {row.address.hex()}")
            if after is not None and row.last <= after:
                self._found(str(name), f"{row.last!r} comes after {after!r} in its root")
            after = row.last

    def _segment(self, address: bytes) -> SegmentRow | None:
        """Return the row that is true of the segment, which is read once; None if it is damaged."""
        if address not in self._segments:
            self._segments[address] = None
            try:
                segment = read_segment(self._store.backend, address)
            except (Damaged, UnknownFormat, NotFound) as error:
                self._found(SEGMENTS + address.hex(), str(error))
            else:
                self._segments[address] = self._contents(address, segment)
        return self._segments[address]

    def _contents(self, address: bytes, segment: Segment) -> SegmentRow:
        name = SEGMENTS + address.hex()
        if any(one >= other for one, other in pairwise(segment.keys)):
            self._found(name, "its keys are not sorted, each once")
        meanings = []
        for key, row in zip(segment.keys, segment.rows, strict=True):
            meanings.append(segments.meaning(key, row))
            entry = segments.entry(key, row)
            if entry.size != sum(extent.length for extent in entry.extents):
                self._found(name, f"{key!r}: its extents are not its {entry.size} bytes")
            for extent in entry.extents:
                self._run(name, key, extent)
        return SegmentRow(
            last=segment.keys[-1] if segment.keys else "",
            address=address,
            digest=segments.digest([meaning for meaning, _ in meanings]),
            count=len(meanings),
            size=sum(size for _, size in meanings),
        )

    def _run(self, name: str, key: str, extent: Extent) -> None:
        if not 0 <= extent.start <= extent.start + extent.length <= extent.run_length:
            self._found(name, f"{key!r}: an extent reaches beyond its run")
        run = Extent.of_run(
            extent.blob, offset=extent.run_offset, length=extent.run_length, sha256=extent.sha256
        )
        if extent.run_length >= REMEMBERED:
            # A digest of a run's name takes a third of the memory.
            seen = hashlib.blake2b(repr(run).encode(), digest_size=16).digest()
            if seen in self._large:
                return
            self._large.add(seen)
        self._runs += 1
        sha256 = hashlib.sha256()
        try:
            for piece in self._reader.pieces((run,)):
                sha256.update(piece)
                self._size += len(piece)
        except (Damaged, NotFound) as error:
            self._found(name, f"{key!r}: {error}")
            return
        if sha256.digest() != extent.sha256:
            self._found(name, f"{key!r}: the bytes in blob {extent.blob} are not what was stored")

    def _found(self, name: str, found: str) -> None:
        self._defects.append(Defect(name, found))


def _old_stages(backend: Backend, before: float) -> Iterator[Listed]:
    """Yield the blobs of the stages in which nothing was written since *before*."""
    for _, group in groupby(backend.list_from(BLOBS), key=lambda listed: listed.name.split("/")[1]):
        stage = list(group)
        if max(listed.modified for listed in stage) < before:
            yield from stage


def _blob(name: str) -> str:
    """Return the name of the blob that the object *name* is, or is a chunk of."""
    return "/".join(name.split("/")[:3])


def _reached(store: Store) -> set[str]:
    """Return the names of all roots, segments and blobs that a commit reaches."""
    reached: set[str] = set()
    for repo in store.repos():
        for name in store.commits(repo):
            root = store.commit(name).root
            if TREES + root in reached:
                continue
            reached.add(TREES + root)
            for row in read_root(store.backend, root):
                segment_name = SEGMENTS + row.address.hex()
                if segment_name in reached:
                    continue
                reached.add(segment_name)
                segment = read_segment(store.backend, row.address)
                for at in range(len(segment.keys)):
                    reached.update(BLOBS + extent.blob for extent in segment.entry(at).extents)
    return reached


def _drop_markers(store: Store, before: float) -> int:
    """Delete the old markers that lead to commits which are not there."""
    dropped = 0
    for repo in store.repos():
        for marker in list(store.markers(repo)):
            if marker.modified < before and not store.has(marker.output):
                store.backend.delete(marker.name)
                dropped += 1
    return dropped
