"""Verification: read everything that commits reach, and check every digest, count and size."""

import hashlib
from collections.abc import Callable
from itertools import pairwise

import attrs

from worker.errors import NotFound
from worker.model import CommitName, Extent, Repo
from worker.store import segments
from worker.store.backends.base import Damaged
from worker.store.blobs import FOLDER, BlobReader
from worker.store.repository import Store
from worker.store.segments import Segment, UnknownFormat
from worker.store.trees import SEGMENTS, SegmentRow, read_root, read_segment

# Runs of at least this size are remembered, and so are read once. Their number is bounded by the
# size of the store. Smaller runs are read again for each segment that names them, which costs less
# than the memory for an unbounded number of them.
REMEMBERED = 64 << 10


@attrs.frozen
class Affected:
    """The files of one commit that a damaged object affects."""

    commit: str
    paths: tuple[str, ...] = ()
    """All affected paths, if they can be read; otherwise all paths from *after* to *last*."""
    after: str | None = None
    """The path before the first affected one; None if that is the first of the commit."""
    last: str | None = None
    """The last affected path, if *paths* cannot be read."""
    count: int = 0
    """The number of affected files."""


@attrs.frozen
class Defect:
    """A difference between what the store has and what was stored."""

    name: str
    """The commit, branch or object with the defect."""
    found: str
    affected: tuple[Affected, ...] = ()
    """For an object that commits share: all commits that reach it."""


@attrs.frozen
class Verified:
    """The result of a verification: what was read, and the defects."""

    commits: int
    segments: int
    runs: int
    """Runs of payload that were read; small ones count once for each segment that names them."""
    size: int
    """Payload bytes that were read and hashed."""
    defects: tuple[Defect, ...]


def verify(store: Store, *, progress: Callable[[CommitName], None] | None = None) -> Verified:
    """Read every branch, commit, tree and payload byte of the store, and check every digest.

    Nothing is changed. *progress* is called with each commit before it is read.
    """
    verification = _Verification(store)
    for repo in store.repos():
        verification.check_branches(repo)
        for name in store.commits(repo):
            if progress is not None:
                progress(name)
            verification.check_commit(name)
    return verification.result()


@attrs.define(eq=False)
class _Damage:
    """A defect of an object that several commits may share."""

    name: str
    found: str
    affected: list[Affected] = attrs.field(factory=list)


class _Verification:
    """The state of one verification: what has been read, and the defects so far."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = BlobReader(store.backend)
        self._commits = 0
        self._segments: dict[bytes, SegmentRow | None] = {}
        self._large: set[bytes] = set()
        self._damages: dict[str, _Damage] = {}
        """The damages by the name of the object; only the first of each object is described."""
        self._damaged: dict[bytes, dict[str, list[str] | None]] = {}
        """By segment and damage: the affected keys, or None if the segment cannot be read."""
        self._damaged_runs: dict[bytes, tuple[str, str]] = {}
        """The damage of runs that are read once."""
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
            defects=(
                *self._defects,
                *(
                    Defect(each.name, each.found, tuple(each.affected))
                    for each in self._damages.values()
                ),
            ),
        )

    def check_branches(self, repo: Repo) -> None:
        for branch in self._store.branches(repo):
            try:
                for head in self._store.heads(branch):
                    self._store.commit(head.commit)
            except (Damaged, UnknownFormat, NotFound) as error:
                self._add(str(branch), _describe(error))

    def check_commit(self, name: CommitName) -> None:
        self._commits += 1
        try:
            commit = self._store.commit(name)
            rows = read_root(self._store.backend, commit.root)
        except (Damaged, UnknownFormat, NotFound) as error:
            self._add(str(name), _describe(error))
            return
        tree = self._store.tree(commit)
        for what, stated, found in (
            ("files", commit.files, tree.count),
            ("bytes", commit.size, tree.size),
            ("digest", commit.digest, tree.digest),
        ):
            if stated != found:
                self._add(str(name), f"{what}: found {found} in its tree, expected {stated}")
        previous = None
        for row in rows:
            segment = self._check_segment(row.address)
            self._add_affected(name, row, after=previous)
            if segment is not None and segment != row:
                self._add(str(name), f"its root does not agree with segment {row.address.hex()}")
            if previous is not None and row.last <= previous:
                self._add(str(name), f"{row.last!r} comes after {previous!r} in its root")
            previous = row.last

    def _check_segment(self, address: bytes) -> SegmentRow | None:
        """Return the row that describes the segment, or None if it is damaged; read it once."""
        if address not in self._segments:
            self._segments[address] = None
            try:
                segment = read_segment(self._store.backend, address)
            except (Damaged, UnknownFormat, NotFound) as error:
                self._add_damage(SEGMENTS + address.hex(), _describe(error), address, None)
            else:
                self._segments[address] = self._check_entries(address, segment)
        return self._segments[address]

    def _check_entries(self, address: bytes, segment: Segment) -> SegmentRow:
        name = SEGMENTS + address.hex()
        for one, other in pairwise(segment.keys):
            if one >= other:
                self._add_damage(name, "its keys are not sorted and unique", address, other)
        meanings = []
        for key, row in zip(segment.keys, segment.rows, strict=True):
            meanings.append(segments.meaning(key, row))
            entry = segments.entry(key, row)
            if entry.size != sum(extent.length for extent in entry.extents):
                found = f"{key!r}: its extents do not add up to {entry.size} bytes"
                self._add_damage(name, found, address, key)
            for extent in entry.extents:
                if not 0 <= extent.start <= extent.start + extent.length <= extent.run_length:
                    found = f"{key!r}: an extent reaches beyond its run"
                    self._add_damage(name, found, address, key)
                if (damage := self._check_run(extent)) is not None:
                    self._add_damage(*damage, address, key)
        return SegmentRow(
            last=segment.keys[-1] if segment.keys else "",
            address=address,
            digest=segments.digest([meaning for meaning, _ in meanings]),
            count=len(meanings),
            size=sum(size for _, size in meanings),
        )

    def _check_run(self, extent: Extent) -> tuple[str, str] | None:
        """Return the object that damages the run of *extent*, and how; None if the run is sound.

        A large run is read once.
        """
        run = Extent.of_run(
            extent.blob, offset=extent.run_offset, length=extent.run_length, sha256=extent.sha256
        )
        if extent.run_length >= REMEMBERED:
            # A digest of the run takes a third of the memory of its name.
            seen = hashlib.blake2b(repr(run).encode(), digest_size=16).digest()
            if seen in self._large:
                return self._damaged_runs.get(seen)
            self._large.add(seen)
            damage = self._read_run(run)
            if damage is not None:
                self._damaged_runs[seen] = damage
            return damage
        return self._read_run(run)

    def _read_run(self, run: Extent) -> tuple[str, str] | None:
        self._runs += 1
        sha256 = hashlib.sha256()
        try:
            for piece in self._reader.pieces((run,)):
                sha256.update(piece)
                self._size += len(piece)
        except Damaged as error:
            return error.name, error.found
        if sha256.digest() != run.sha256:
            return FOLDER + run.blob, "its bytes are not those that were stored"
        return None

    def _add_damage(self, name: str, found: str, address: bytes, key: str | None) -> None:
        """Add a damage that affects *key* of a segment; None if the segment cannot be read."""
        self._damages.setdefault(name, _Damage(name, found))
        by_damage = self._damaged.setdefault(address, {})
        if key is None:
            by_damage[name] = None
            return
        keys = by_damage.setdefault(name, [])
        # A file with several damaged runs is affected once.
        if keys is not None and key not in keys[-1:]:
            keys.append(key)

    def _add_affected(self, name: CommitName, row: SegmentRow, *, after: str | None) -> None:
        """Add a commit with the segment of *row* to the damages that affect the segment."""
        for damage, keys in self._damaged.get(row.address, {}).items():
            if keys is None:
                affected = Affected(str(name), after=after, last=row.last, count=row.count)
            else:
                affected = Affected(str(name), tuple(keys), count=len(keys))
            self._damages[damage].affected.append(affected)

    def _add(self, name: str, found: str) -> None:
        self._defects.append(Defect(name, found))


def _describe(error: Exception) -> str:
    """Return what *error* found, without the advice to call this function."""
    return f"{error.name}: {error.found}" if isinstance(error, Damaged) else str(error)
