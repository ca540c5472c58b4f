"""Check-in: commit a folder, a file or a stream of this machine to a branch."""

import contextlib
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from worker.directories import open_directory
from worker.errors import Invalid
from worker.model import MAX_KEY, BranchName, Commit, CommitName, Entry
from worker.store.blobs import BlobReader, Stage
from worker.store.ingest import Compared, Found, Ingester, NotAFile, Problem, version_of
from worker.store.journal import Journal, open_journal
from worker.store.publish import Draft, Guard, publish
from worker.store.repository import Store
from worker.store.source import SourceMissing, cannot_import, fault_of, files_below
from worker.store.trees import Tree, apply

Changes = Iterator[tuple[str, Entry | None]]
Progress = Callable[[str, int], None]
"""Called with the key and the size of each file."""


class InvalidKey(Invalid):
    """No file of a commit can have this key."""

    def __init__(self, key: str, expected: str) -> None:
        super().__init__(f"key: found {key!r}, expected {expected}")
        self.key = key


def put_directory(
    store: Store,
    branch: BranchName,
    directory: Path,
    *,
    at: str = "",
    keep: bool = False,
    message: str = "",
    scratch: Path | None = None,
    progress: Progress | None = None,
    publishing: Guard = contextlib.nullcontext,
    trust_mtime: bool = False,
    compared: Callable[[Compared], None] = lambda _: None,
) -> Commit:
    """Commit *directory* to *branch* and return the commit that is then the head.

    The files below the path *at* of the commit (all files, if *at* is empty) become those of the
    directory; with *keep*, files that the directory lacks stay. Files elsewhere always stay. If
    the tree does not change, no commit is made and the head is returned. If the branch moves
    meanwhile, the changes are computed again from the new head.

    A file with the content of the head's entry keeps that entry. Any other file gets the time of
    the check-in as its modification time, not its mtime: S3's Last-Modified is the time of the
    upload, and clients that synchronize by it would copy an older file again and again.

    Symbolic links to files inside the directory are followed. Any other link, a pipe, a socket or a
    device raises CannotImport, which names all such paths; so does a file that another program
    removes or changes meanwhile. An empty folder becomes an empty file whose key ends in ``/``.

    *publishing* is entered while the commit is published and the branch moves. With *trust_mtime*,
    a file is not read if it has the size of the head's entry and its mtime and ctime are older than
    the entry. *compared* is called with the number of files that were read and found unchanged.
    """
    prefix = f"{at.rstrip('/')}/" if at else ""
    _validate(prefix or "a")

    def changes(base: Tree, ingester: Ingester, journal: Journal) -> Changes:
        if not directory.is_dir():
            raise SourceMissing(os.fspath(directory), "this machine has no such folder")
        _reject_store(store, directory)
        try:
            # From here on by its descriptor: a program may replace the folder by a link.
            source = open_directory(directory)
        except OSError as error:
            raise SourceMissing(os.fspath(directory), error.strerror or str(error)) from error
        journal.rewind()
        problems: list[Problem] = []
        known = base.entries(prefix=prefix)
        current = next(known, None)
        for found in files_below(source, prefix):
            if isinstance(found, Problem):
                problems.append(found)
                continue
            if problems:
                continue  # nothing will be committed; only the other problems are of interest
            while current is not None and current.key < found.key:
                if not keep:
                    yield current.key, None
                current = next(known, None)
            same = None
            if current is not None and current.key == found.key:
                same, current = current, next(known, None)
            try:
                entry = _add(found, same, ingester, journal, trust_mtime=trust_mtime)
            except NotAFile as error:
                problems.append(error.problem)
                continue
            if progress:
                progress(found.key, entry.size)
            if entry is not same:
                yield found.key, entry
        if problems:
            raise cannot_import(problems)
        while current is not None and not keep:
            yield current.key, None
            current = next(known, None)

    return _commit(
        store,
        branch,
        changes,
        message=message,
        scratch=scratch,
        publishing=publishing,
        compared=compared,
        source=os.path.realpath(directory) + "\0" + prefix,
    )


def put_file(
    store: Store,
    branch: BranchName,
    file: Path,
    *,
    at: str = "",
    message: str = "",
    scratch: Path | None = None,
    progress: Progress | None = None,
    publishing: Guard = contextlib.nullcontext,
) -> Commit:
    """Commit one file to *branch* under the key *at*; the other files stay.

    If *at* is empty or ends in ``/``, the name of the file is appended to it. Otherwise as
    ``put_directory``.
    """
    key = at + file.name if not at or at.endswith("/") else at
    _validate(key)

    def changes(base: Tree, ingester: Ingester, _: Journal) -> Changes:
        same = base.entry(key)
        try:
            file.stat()
            entry = ingester.add_file(Found.at(key, os.fspath(file)), same)
        except NotAFile as error:
            raise cannot_import((error.problem,)) from error
        except OSError as error:
            raise SourceMissing(os.fspath(file), error.strerror or str(error)) from error
        if progress:
            progress(key, entry.size)
        if entry is not same:
            yield key, entry

    return _commit(store, branch, changes, message=message, scratch=scratch, publishing=publishing)


def put_stream(
    store: Store,
    branch: BranchName,
    stream: BinaryIO,
    *,
    at: str,
    message: str = "",
    scratch: Path | None = None,
    progress: Progress | None = None,
    publishing: Guard = contextlib.nullcontext,
) -> Commit:
    """Read *stream* to its end and commit it to *branch* under the key *at*; as ``put_file``."""
    if at.endswith("/"):
        raise InvalidKey(at, "a key that does not end in / for the content of a stream")
    _validate(at)
    added: list[Entry] = []  # a stream can be read only once, but changes are computed repeatedly

    def changes(base: Tree, ingester: Ingester, _: Journal) -> Changes:
        if not added:
            added.append(ingester.add_stream(at, stream))
            if progress:
                progress(at, added[0].size)
        known = base.entry(at)
        if known is None or not _has_same_digests(known, added[0]):
            yield at, added[0]

    return _commit(store, branch, changes, message=message, scratch=scratch, publishing=publishing)


class ContainsStore(Invalid):
    """The folder contains the store, or is a part of it."""

    def __init__(self, directory: Path, store: Path) -> None:
        super().__init__(
            f"{directory}: the store {store} is in this folder, or contains it; commit a folder "
            "beside the store"
        )


def _reject_store(store: Store, directory: Path) -> None:
    """Raise ContainsStore: a commit of the store would grow with itself."""
    if store.folder is None:
        return
    inner, outer = store.folder.resolve(), directory.resolve()
    # An empty store that does not exist yet is only created by this commit.
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ContainsStore(directory, inner)


def _commit(
    store: Store,
    branch: BranchName,
    changes: Callable[[Tree, Ingester, Journal], Changes],
    *,
    message: str,
    scratch: Path | None,
    publishing: Guard,
    compared: Callable[[Compared], None] = lambda _: None,
    source: str = "",
) -> Commit:
    """Commit *changes* to the head of *branch*; compute them again whenever the head has moved.

    With a *source*, a check-in of the same source that was killed is resumed.
    """
    started = time.time()
    with open_journal(store.backend, branch, source or secrets.token_hex(16)) as journal:
        spool = scratch or journal.scratch
        stage = Stage(store.backend, journal.stage_id, writer=journal.writer, scratch=spool)
        with (
            _dropping(stage, journal),
            Ingester(stage, BlobReader(store.backend, spool)) as ingester,
        ):
            stage.preflight()
            while True:
                head = store.head(branch)
                parent = store.commit(head.commit) if head else None
                base = store.tree(parent) if parent else store.empty_tree()
                tree = apply(base, changes(base, ingester, journal))
                compared(ingester.compared)
                if parent is not None and tree.digest == parent.digest:
                    tree.discard()
                    return parent
                # Checked before the commit exists. A commit that loses the race for the branch
                # after this check stays in the store, on no branch.
                if store.head(branch) != head:
                    tree.discard()
                    continue
                draft = Draft(
                    name=CommitName(branch.repo, uuid.uuid4().hex),
                    branch=branch,
                    started=started,
                    finished=time.time(),
                    message=message,
                )
                found = publish(store, stage, tree, draft, expected=head, guard=publishing)
                if found.on_branch:
                    return found.commit


@contextlib.contextmanager
def _dropping(stage: Stage, journal: Journal) -> Iterator[None]:
    """Delete the blobs of *stage* at the end, unless a commit or a later check-in may need them."""
    try:
        yield
    finally:
        if journal.has_checkpoint:
            # An earlier session may have made a commit that names blobs of this stage.
            stage.close()
        else:
            stage.drop()


def _add(
    found: Found, known: Entry | None, ingester: Ingester, journal: Journal, *, trust_mtime: bool
) -> Entry:
    """Return the entry of a file: as ``Ingester.add_file``, or from an earlier check-in."""
    if found.key.endswith("/"):
        return ingester.add_file(found, known)
    version = version_of(found.status())
    entry = journal.find(found.key, version)
    if entry is not None:
        return known if known is not None and _has_same_digests(known, entry) else entry
    entry = ingester.add_file(found, known, trust_mtime=trust_mtime)
    if entry is not known:
        journal.add(found.key, version, entry, ingester.stage)
    return entry


def _has_same_digests(one: Entry, other: Entry) -> bool:
    return [(e.sha256, e.start, e.length) for e in one.extents] == [
        (e.sha256, e.start, e.length) for e in other.extents
    ]


def _validate(key: str) -> None:
    if not key:
        raise InvalidKey(key, "a path in the commit")
    if fault_of(key):
        raise InvalidKey(key, f"at most {MAX_KEY:,} bytes of UTF-8")
