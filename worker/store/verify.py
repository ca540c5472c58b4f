"""Verification: read everything that commits reach, and check every digest, count and size."""

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from worker.errors import NotFound
from worker.model import BranchName, Commit, CommitName, Extent
from worker.store import segments
from worker.store.ancestry import cycles
from worker.store.backends.base import Damaged, StoreUnavailable
from worker.store.blobs import FOLDER, BlobReader
from worker.store.missing import CommitMissing
from worker.store.repository import Head, Store, faults
from worker.store.segments import Segment, UnknownFormat
from worker.store.trees import (
    SEGMENTS,
    TREES,
    SegmentCache,
    SegmentRow,
    Tree,
    read_root,
    read_segment,
)
from worker.text import join_first

# Runs of at least this size are remembered, and so are read once. Their number is bounded by the
# size of the store. Smaller runs are read again for each segment that names them, which costs less
# than the memory for an unbounded number of them.
REMEMBERED = 64 << 10
OF_ONE_FILE = frozenset(
    {errno.EIO, errno.EACCES, errno.EPERM, errno.EUCLEAN, errno.EBADMSG, errno.EISDIR}
)
"""Error numbers of a file that cannot be read while others can: bad sectors, permissions, and a
folder in its place."""


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
    with verification.continuing("repos/"):
        for repo in store.repos(verification.add):
            with verification.continuing(f"{repo}: its branches"):
                for branch in store.branches(repo, verification.add):
                    verification.check_branch(branch)
            with verification.continuing(f"{repo}: its commits"):
                for name in store.commits(repo, verification.add):
                    if progress is not None:
                        progress(name)
                    verification.check_commit(name)
            # Markers only speed up a search, but they must be readable.
            with verification.continuing(f"{repo}: its markers"):
                for _ in store.markers(repo, on_damage=verification.add):
                    pass
    for folder in (TREES, SEGMENTS, FOLDER):
        with verification.continuing(folder):
            next(store.backend.list_from(folder), None)
    verification.check_ancestry()
    return verification.result()


@attrs.frozen
class _Described:
    """What a segment and its entries say of themselves."""

    first: str
    last: str
    """The first and the last key."""
    count: int
    row: SegmentRow | None
    """All that a root says of it; None if an entry cannot be decoded."""

    def agrees_with(self, row: SegmentRow) -> bool:
        """Whether *row* of a root describes the segment, as far as it can be read."""
        keys = (self.last, self.count) == (row.last, row.count)
        return keys and (self.row is None or self.row == row)


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
        self._segments: dict[bytes, _Described | None] = {}
        self._large: set[bytes] = set()
        self._damages: dict[str, _Damage] = {}
        """The damages by the name of the object; only the first of each object is described."""
        self._damaged: dict[bytes, dict[str, tuple[str, ...] | list[str] | None]] = {}
        """By segment and damage: the affected keys, or None if the segment cannot be read."""
        self._damaged_runs: dict[bytes, tuple[str, str]] = {}
        """The damage of runs that are read once."""
        self._runs = 0
        self._size = 0
        self._defects: list[Defect] = []
        self._made_from: dict[CommitName, list[CommitName]] = {}
        """The parent and the inputs of each commit, which existed before it."""

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

    @contextmanager
    def continuing(self, name: str) -> Iterator[None]:
        """Add an error in the block as a defect of *name*, so that verification goes on.

        Without a response of the store it ends: the same would happen for every other object.
        """
        try:
            yield
        except (Damaged, UnknownFormat, NotFound) as error:
            self._add(name, _describe(error))
        except StoreUnavailable as error:
            if error.errno not in OF_ONE_FILE:
                raise
            self._add(name, str(error))

    def add(self, damage: Damaged) -> None:
        """Add a defect."""
        self._add(damage.name, damage.found)

    def check_branch(self, branch: BranchName) -> None:
        with self.continuing(str(branch)):
            # Before the head: a slot that is listed now is part of the log that is read then.
            last = max(self._store.slots(branch, self.add), default=-1)
            length = 0
            for head in self._store.heads(branch):
                length = length or head.slot + 1
                self._check_head(branch, head)
            if length <= last:
                self._add(str(branch), f"slot {length} is missing, and slot {last} is not")

    def _check_head(self, branch: BranchName, head: Head) -> None:
        """Check that the commit in a slot exists, and was made for the branch."""
        try:
            made_for = self._store.commit(head.commit).branch
        except CommitMissing as error:
            self._add(str(branch), f"slot {head.slot}: {error}")
        except (Damaged, UnknownFormat, StoreUnavailable):
            pass  # a defect of the commit, with which it is added
        else:
            if made_for != branch.name:
                self._add(
                    str(branch),
                    f"slot {head.slot}: {head.commit} was made for the branch {made_for}",
                )

    def check_commit(self, name: CommitName) -> None:
        self._commits += 1
        with self.continuing(str(name)):
            commit = self._store.commit(name)
            before = [record.commit for record in commit.inputs]
            if commit.parent is not None:
                before.append(CommitName(name.repo, commit.parent))
            self._made_from[name] = before
            self._check_tree(commit, read_root(self._store.backend, commit.root))

    def check_ancestry(self) -> None:
        """Check that each commit was made from commits that exist, and none from itself."""
        for name, before in self._made_from.items():
            with self.continuing(str(name)):
                for other in before:
                    if other not in self._made_from and not self._store.has(other):
                        self._add(str(name), f"it was made from {other}, which is missing")
        for group in cycles(self._made_from):
            names = [str(name) for name in group]
            self._add(names[0], f"it is made from itself: {join_first(names, 5)}")

    def _check_tree(self, commit: Commit, rows: tuple[SegmentRow, ...]) -> None:
        name, tree = commit.name, Tree(self._store.backend, commit.root, rows, SegmentCache(0))
        for fault in faults(commit, tree):
            self._add(str(name), fault)
        previous = None
        for row in rows:
            segment = self._check_segment(row.address)
            self._add_affected(name, row, after=previous)
            if segment is not None and not segment.agrees_with(row):
                self._add(
                    str(name),
                    f"its root {TREES}{commit.root} does not agree with segment "
                    f"{row.address.hex()}",
                )
            elif segment is not None and segment.first <= (previous or ""):
                self._add(
                    str(name),
                    f"{segment.first!r} comes after {previous!r} in segments of its root "
                    f"{TREES}{commit.root}",
                )
            previous = row.last

    def _check_segment(self, address: bytes) -> "_Described | None":
        """Return what a root says of the segment, or None if it is unreadable; read it once."""
        if address not in self._segments:
            self._segments[address] = None
            name = SEGMENTS + address.hex()
            try:
                segment = read_segment(self._store.backend, address)
            except (Damaged, UnknownFormat) as error:
                self._add_damage(name, _describe(error, name), address, None)
            except StoreUnavailable as error:
                if error.errno not in OF_ONE_FILE:
                    raise
                self._add_damage(name, str(error), address, None)
            else:
                self._segments[address] = self._check_entries(address, segment)
        return self._segments[address]

    def _check_entries(self, address: bytes, segment: Segment) -> "_Described":
        """Read the content of each entry."""
        meanings = []
        for index, key in enumerate(segment.keys):
            try:
                entry = segment.entry(index)
                meanings.append(segment.meaning(index))
            except Damaged as error:
                self._add_damage(error.name, error.found, address, key)
                continue
            for extent in entry.extents:
                if (damage := self._check_run(extent)) is not None:
                    self._add_damage(*damage, address, key)
        keys, row = segment.keys, None
        if len(meanings) == len(keys):
            row = SegmentRow(
                last=keys[-1],
                address=address,
                digest=segments.digest([meaning for meaning, _ in meanings]),
                count=len(meanings),
                size=sum(size for _, size in meanings),
            )
        return _Described(keys[0], keys[-1], len(keys), row)

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
        except StoreUnavailable as error:
            if error.errno not in OF_ONE_FILE:
                raise
            return FOLDER + run.blob, str(error)
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
        if isinstance(keys, list) and key not in keys[-1:]:
            keys.append(key)

    def _add_affected(self, name: CommitName, row: SegmentRow, *, after: str | None) -> None:
        """Add a commit with the segment of *row* to the damages that affect the segment."""
        for damage, keys in self._damaged.get(row.address, {}).items():
            if keys is None:
                affected = Affected(str(name), after=after, last=row.last, count=row.count)
            else:
                # All commits with the segment share one tuple.
                keys = self._damaged[row.address][damage] = tuple(keys)
                affected = Affected(str(name), keys, count=len(keys))
            self._damages[damage].affected.append(affected)

    def _add(self, name: str, found: str) -> None:
        self._defects.append(Defect(name, found))


def _describe(error: Exception, name: str = "") -> str:
    """Return what *error* found in an object other than *name*, without the advice to verify."""
    if not isinstance(error, Damaged):
        return str(error)
    return error.found if error.name == name else f"{error.name}: {error.found}"
