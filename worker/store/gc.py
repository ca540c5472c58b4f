"""Garbage collection: remove what no commit reaches."""

import re
import time
from collections.abc import Iterable, Iterator
from itertools import groupby

import attrs

from worker.errors import Unavailable
from worker.model import Commit, CommitName, Repo
from worker.store.backends.base import Listed
from worker.store.blobs import FOLDER as BLOBS
from worker.store.missing import CommitMissing
from worker.store.repository import Store
from worker.store.trees import SEGMENTS, TREES, read_root, read_segment

DAY = 24 * 3600.0
WRITTEN = re.compile(
    rf"{BLOBS}[A-Za-z0-9_-]{{1,100}}/[A-Za-z0-9_-]{{1,150}}(?:/[0-9]{{6,}})?"
    rf"|(?:{SEGMENTS}|{TREES})[0-9a-f]{{64}}"
)
"""Names that a store gives to blobs, their chunks, segments and roots. Others are not removed, such
as a link in the place of a stage, which may lead to blobs that are in use."""
# Longer than any job, as no commit reaches yet what a running job has written.
GRACE = 7 * DAY


class NotListed(Unavailable):
    """A commit exists, and the store does not list it: others may be left out as well."""

    def __init__(self, name: CommitName) -> None:
        super().__init__(
            f"store: listing the commits of {name.repo}: {name} exists and is not listed, so "
            "nothing is removed"
        )
        self.name = name


@attrs.frozen
class Collected:
    """The number of objects that gc removed."""

    blobs: int
    trees: int
    """Roots and segments."""
    size: int
    """The size of blobs and trees, in bytes."""
    leftovers: int
    """Temporary files, and markers of commits that were never published."""


def gc(store: Store, *, grace: float = GRACE, now: float | None = None) -> Collected:
    """Remove what no commit reaches and was last written more than *grace* seconds before *now*.

    A stage is as old as its newest blob, so *grace* must be longer than a job pauses between two
    writes. If something of a commit cannot be read, or the head of a branch or the parent of a
    commit is missing, the error is raised before anything is removed: what only a lost commit
    reached may be restored with it. Objects whose names no store writes are left as they are.

    Writers can run at the same time. A writer relies on two kinds of objects: those of commits that
    existed when it started, which are never removed, and its own, which are younger than the grace
    period and have names that no object had before. So what is old and unreachable stays so.
    """
    before = (time.time() if now is None else now) - grace
    backend = store.backend
    # Candidates are listed before the commits are read. A commit that appears in between is read
    # too, or relies only on objects that are younger than the grace or reached by earlier commits.
    blobs = []
    for _, group in groupby(_listed(store, BLOBS), key=lambda listed: listed.name.split("/")[1]):
        stage = list(group)
        if max(listed.modified for listed in stage) < before:
            blobs += stage
    trees = [
        listed
        for folder in (SEGMENTS, TREES)
        for listed in _listed(store, folder)
        if listed.modified < before
    ]
    reached = _reached(store)
    blobs = [listed for listed in blobs if _blob(listed.name) not in reached]
    trees = [listed for listed in trees if listed.name not in reached]
    for listed in blobs + trees:
        backend.delete(listed.name)
    markers = _remove_markers(store, before)
    return Collected(
        blobs=len({_blob(listed.name) for listed in blobs}),
        trees=len(trees),
        size=sum(listed.size for listed in blobs + trees),
        leftovers=markers + backend.sweep(before),
    )


def _listed(store: Store, folder: str) -> Iterator[Listed]:
    """Yield what a store has written to *folder*."""
    return (listed for listed in store.backend.list_from(folder) if WRITTEN.fullmatch(listed.name))


def _blob(name: str) -> str:
    """Return the name of the blob for the name of the blob itself or of one of its chunks."""
    return "/".join(name.split("/")[:3])


def _reached(store: Store) -> set[str]:
    """Return the names of all roots, segments and blobs that a commit reaches."""
    reached: set[str] = set()
    for repo in store.repos():
        found: set[CommitName] = set()
        named = set()
        for branch in store.branches(repo):
            if (head := store.head(branch)) is not None:
                named.add(head.commit)
        for name in store.commits(repo):
            commit = store.commit(name)
            found.add(name)
            if commit.parent is not None:
                named.add(CommitName(repo, commit.parent))
            if TREES + commit.root not in reached:
                reached.update(_reached_by(store, commit, reached))
        if unlisted := named - found:
            # They may have been published since.
            _check_listed(store, repo, unlisted)
    return reached


def _check_listed(store: Store, repo: Repo, names: Iterable[CommitName]) -> None:
    """Raise NotListed or CommitMissing unless the store now lists *names*."""
    listed = set(store.commits(repo))
    for name in names:
        if name not in listed:
            raise NotListed(name) if store.has(name) else CommitMissing(name)


def _reached_by(store: Store, commit: Commit, reached: set[str]) -> Iterator[str]:
    """Yield the names of the objects of *commit*, apart from those below *reached* segments."""
    yield TREES + commit.root
    for row in read_root(store.backend, commit.root):
        name = SEGMENTS + row.address.hex()
        if name in reached:
            continue
        yield name
        segment = read_segment(store.backend, row.address)
        for at in range(len(segment.keys)):
            for extent in segment.entry(at).extents:
                yield BLOBS + extent.blob


def _remove_markers(store: Store, before: float) -> int:
    """Remove the old markers of commits that do not exist, and return their number."""
    removed = 0
    for repo in store.repos():
        for marker in list(store.markers(repo)):
            if marker.modified < before and not store.has(marker.output):
                store.backend.delete(marker.name)
                removed += 1
    return removed
