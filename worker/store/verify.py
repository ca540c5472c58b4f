"""Verification: every branch, commit, tree and payload byte of a store is read and checked."""

import hashlib
from collections.abc import Callable
from itertools import pairwise

import attrs

from worker.errors import DataLost, NotFound
from worker.model import CommitName, Extent, Repo
from worker.store import segments
from worker.store.blobs import BlobReader
from worker.store.repository import Store
from worker.store.segments import Segment, UnknownFormat
from worker.store.trees import SEGMENTS, SegmentRow, read_root, read_segment

REMEMBERED = 64 << 10
"""Bytes from which a run is remembered, and so read once. The number of these is bounded by the
size of the store; smaller runs are read once for each segment that refers to them."""


@attrs.frozen
class Defect:
    """Stored data that is missing or inconsistent."""

    name: str
    """The commit, branch or object with the defect."""
    found: str


@attrs.frozen
class Verified:
    """What a verification read, and the defects that it found."""

    commits: int
    segments: int
    runs: int
    """Runs of payload read; small ones once for each segment that refers to them."""
    size: int
    """Payload bytes read and hashed."""
    defects: tuple[Defect, ...]


def verify_store(store: Store, *, progress: Callable[[CommitName], None] | None = None) -> Verified:
    """Read all data of *store* and check every digest; nothing is changed.

    Damage is reported in the result and raises nothing. *progress* is called with each commit.
    """
    verifier = _Verifier(store)
    for repo in store.repos():
        verifier.verify_branches(repo)
        for name in store.commits(repo):
            if progress is not None:
                progress(name)
            verifier.verify_commit(name)
    return verifier.result()


class _Verifier:
    """The state of one verification."""

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

    def verify_branches(self, repo: Repo) -> None:
        for branch in self._store.branches(repo):
            try:
                for head in self._store.heads(branch):
                    self._store.commit(head.commit)
            except (DataLost, UnknownFormat, NotFound) as error:
                self._report(str(branch), str(error))

    def verify_commit(self, name: CommitName) -> None:
        self._commits += 1
        try:
            commit = self._store.commit(name)
            rows = read_root(self._store.backend, commit.root)
        except (DataLost, UnknownFormat, NotFound) as error:
            self._report(str(name), str(error))
            return
        tree = self._store.tree(commit)
        for what, recorded, actual in (
            ("files", commit.files, tree.count),
            ("bytes", commit.size, tree.size),
            ("digest", commit.digest, tree.digest),
        ):
            if recorded != actual:
                self._report(str(name), f"it records {what} {recorded}, its tree has {actual}")
        previous = None
        for row in rows:
            actual_row = self._verify_segment(row.address)
            if actual_row is not None and actual_row != row:
                self._report(str(name), f"its root contradicts segment {row.address.hex()}")
            if previous is not None and row.last <= previous:
                self._report(str(name), f"{row.last!r} follows {previous!r} in its root")
            previous = row.last

    def _verify_segment(self, address: bytes) -> SegmentRow | None:
        """Return the row that describes a segment, which is read once; None if it is damaged."""
        if address not in self._segments:
            self._segments[address] = None
            try:
                segment = read_segment(self._store.backend, address)
            except (DataLost, UnknownFormat, NotFound) as error:
                self._report(SEGMENTS + address.hex(), str(error))
            else:
                self._segments[address] = self._verify_entries(address, segment)
        return self._segments[address]

    def _verify_entries(self, address: bytes, segment: Segment) -> SegmentRow:
        name = SEGMENTS + address.hex()
        if any(one >= other for one, other in pairwise(segment.keys)):
            self._report(name, "its keys are not in ascending order")
        meanings = []
        for key, row in zip(segment.keys, segment.rows, strict=True):
            meanings.append(segments.meaning(key, row))
            entry = segments.entry(key, row)
            if entry.size != sum(extent.length for extent in entry.extents):
                self._report(name, f"{key!r}: its extents do not add up to {entry.size} bytes")
            for extent in entry.extents:
                self._verify_run(name, key, extent)
        return SegmentRow(
            last=segment.keys[-1] if segment.keys else "",
            address=address,
            digest=segments.digest([meaning for meaning, _ in meanings]),
            count=len(meanings),
            size=sum(size for _, size in meanings),
        )

    def _verify_run(self, name: str, key: str, extent: Extent) -> None:
        if not 0 <= extent.start <= extent.start + extent.length <= extent.run_length:
            self._report(name, f"{key!r}: an extent exceeds its run")
        run = Extent(
            extent.blob, extent.run_offset, extent.run_length, extent.sha256, 0, extent.run_length
        )
        if extent.run_length >= REMEMBERED:
            # A digest of the run's name takes a third of the memory of the name.
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
        except (DataLost, NotFound) as error:
            self._report(name, f"{key!r}: {error}")
            return
        if sha256.digest() != extent.sha256:
            self._report(name, f"{key!r}: blob {extent.blob} does not match its digest")

    def _report(self, name: str, found: str) -> None:
        self._defects.append(Defect(name, found))
