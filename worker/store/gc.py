"""Garbage collection: blobs, segments and roots that no commit references are removed."""

import time
from collections.abc import Iterator
from itertools import groupby

import attrs

from worker.store.backends.base import Backend, Listed
from worker.store.blobs import FOLDER as BLOBS
from worker.store.repository import Store
from worker.store.trees import SEGMENTS, TREES, read_root, read_segment

GRACE_PERIOD = 7 * 24 * 3600.0
"""Seconds; longer than any job, since the data of a running job is in no commit yet."""


@attrs.frozen
class Collected:
    """What a garbage collection removed."""

    blobs: int
    trees: int
    """Roots and segments."""
    size: int
    """Bytes of blobs and trees."""
    leftovers: int
    """Temporary files, and provenance markers of commits that do not exist."""


def collect_garbage(
    store: Store, *, grace: float = GRACE_PERIOD, now: float | None = None
) -> Collected:
    """Remove what no commit references and is older than *grace* seconds at *now*.

    A stage is as old as its newest blob, so *grace* must exceed the time for which a job may write
    nothing. If a commit cannot be read, nothing is removed and the error is raised.

    Concurrent writers are safe: a writer references objects of commits that existed when it
    started, and its own objects, which are younger than the grace period and whose names were never
    used before. So an old, unreferenced object stays unreferenced.
    """
    before = (time.time() if now is None else now) - grace
    # Candidates are listed before the commits are read: a commit that is added meanwhile is read
    # too, or references objects younger than the grace period or of an earlier commit.
    blobs = list(_old_stages(store.backend, before))
    trees = [
        listed
        for folder in (SEGMENTS, TREES)
        for listed in store.backend.list_from(folder)
        if listed.modified < before
    ]
    referenced = _find_referenced(store)
    blobs = [listed for listed in blobs if _blob_of(listed.name) not in referenced]
    trees = [listed for listed in trees if listed.name not in referenced]
    for listed in blobs + trees:
        store.backend.delete(listed.name)
    markers = _remove_markers(store, before)
    return Collected(
        blobs=len({_blob_of(listed.name) for listed in blobs}),
        trees=len(trees),
        size=sum(listed.size for listed in blobs + trees),
        leftovers=markers + store.backend.sweep(before),
    )


def _old_stages(backend: Backend, before: float) -> Iterator[Listed]:
    """Yield the blobs of stages to which nothing was written since *before*."""
    for _, group in groupby(backend.list_from(BLOBS), key=lambda listed: listed.name.split("/")[1]):
        stage = list(group)
        if max(listed.modified for listed in stage) < before:
            yield from stage


def _blob_of(name: str) -> str:
    """Return the name of the blob that the object *name* is, or is a chunk of."""
    return "/".join(name.split("/")[:3])


def _find_referenced(store: Store) -> set[str]:
    """Return the names of all roots, segments and blobs that a commit references."""
    referenced: set[str] = set()
    for repo in store.repos():
        for name in store.commits(repo):
            root = store.commit(name).root
            if TREES + root in referenced:
                continue
            referenced.add(TREES + root)
            for row in read_root(store.backend, root):
                segment_name = SEGMENTS + row.address.hex()
                if segment_name in referenced:
                    continue
                referenced.add(segment_name)
                segment = read_segment(store.backend, row.address)
                for index in range(len(segment.keys)):
                    extents = segment.entry(index).extents
                    referenced.update(BLOBS + extent.blob for extent in extents)
    return referenced


def _remove_markers(store: Store, before: float) -> int:
    """Delete old provenance markers whose commits do not exist; return their number."""
    removed = 0
    for repo in store.repos():
        for marker in list(store.markers(repo)):
            if marker.modified < before and not store.has(marker.output):
                store.backend.delete(marker.name)
                removed += 1
    return removed
