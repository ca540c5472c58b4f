"""Checkin: a folder, a file or a stream of this machine becomes a commit on a branch."""

import contextlib
import os
import secrets
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from worker.errors import Invalid, NotFound
from worker.model import BranchName, Commit, CommitName, Entry
from worker.store.blobs import BlobReader, Stage
from worker.store.ingest import Compared, Found, Ingest, NotAFile, Problem, not_a_file
from worker.store.publish import Draft, Guard, publish
from worker.store.repository import Store
from worker.store.trees import Tree, apply


class FolderMissing(NotFound):
    """There is no such folder on this machine."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: there is no such folder here")
        self.path = path


def walk(directory: Path, prefix: str, *, follow_links: bool = True) -> Iterator[Found | Problem]:
    """Yield the files below *directory* in the order of their keys, which begin with *prefix*.

    An empty folder is yielded as a key that ends in ``/``. *directory* itself may be a symbolic
    link. Links to files inside it are followed; with *follow_links* off, every link is yielded as
    it is. Paths that cannot be files of a commit are yielded as problems, in order.
    """
    if not directory.is_dir():
        raise FolderMissing(os.fspath(directory))
    root = os.path.realpath(directory)
    inside = (root + os.sep if root != "/" else "/") if follow_links else None
    yield from _walk(os.fspath(directory), prefix, inside)


def _walk(folder: str, prefix: str, inside: str | None) -> Iterator[Found | Problem]:
    try:
        with os.scandir(folder) as entries:
            # Sorted as keys are: the name of a folder is followed by a slash in the keys below it.
            found = sorted(
                (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                for entry in entries
            )
    except OSError as error:
        yield Problem(folder, error.strerror or str(error))
        return
    if not found and prefix:
        yield Found(prefix, folder)
    for name, entry in found:
        reason = _find_problem(name, entry, inside)
        if reason:
            yield Problem(entry.path, reason)
        elif name.endswith("/"):
            yield from _walk(entry.path, prefix + name, inside)
        else:
            yield Found(prefix + name, entry.path)


def _find_problem(name: str, entry: "os.DirEntry[str]", inside: str | None) -> str | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if name.endswith("/") or entry.is_file(follow_symlinks=False):
        return None
    if not entry.is_symlink():
        return not_a_file(entry.stat(follow_symlinks=False).st_mode)
    if inside is None:
        return None
    target = os.path.realpath(entry.path)
    if not target.startswith(inside):
        return f"it is a link to {target}, outside of the folder"
    if not os.path.isfile(target):
        return f"it is a link to {target}, which is not a file"
    return None


KEY_LIMIT = 1024

Changes = Iterator[tuple[str, Entry | None]]
Progress = Callable[[str, int], None]
"""Told the key and the size of each file that was read."""


class CannotImport(Invalid):
    """Something in the folder can't become a file of a commit; nothing was committed."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:10])
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        super().__init__(f"{shown}{more}")
        self.problems = problems


class InvalidKey(Invalid):
    """No file of a commit can be called this."""

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
    """Put a folder on *branch* and return the commit that is its head then.

    What lies at the path *at* in the commit becomes exactly the folder (with an empty *at*, the
    whole commit does); with *keep*, files that the folder does not have stay. Files elsewhere stay
    in any case. If that changes nothing, no commit is made and the head is returned.

    A file whose content is the same as in the head keeps the head's entry. Any other has the time
    of the import as its time, not that of the file: it stands for S3's time of the upload, and
    clients that synchronize by it would else copy again and again. Symbolic links are followed to
    files inside the folder; any other link, and what is neither file nor folder, raises
    CannotImport. A folder with nothing in it becomes an empty file whose key ends in ``/``.

    *publishing* is entered for the time in which the commit is published and the branch moved. With
    *trust_mtime*, files are not read whose size is that of the head's entry and whose mtime and
    ctime are older than the entry. *compared* is told what was read and had not changed.
    """
    prefix = f"{at.rstrip('/')}/" if at else ""
    _check_key(prefix or "a")
    return _put(
        store,
        branch,
        lambda base, intake: _folder_changes(
            base,
            intake,
            directory=directory,
            prefix=prefix,
            keep=keep,
            progress=progress,
            trust_mtime=trust_mtime,
        ),
        message=message,
        scratch=scratch,
        publishing=publishing,
        compared=compared,
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
    """Put one file on *branch* as *at*, or below it by its own name if *at* is empty or ends in /.

    All other files stay; otherwise as ``put_directory``.
    """
    key = at + file.name if not at or at.endswith("/") else at
    _check_key(key)
    return _put(
        store,
        branch,
        lambda base, intake: _file_changes(base, intake, file=file, key=key, progress=progress),
        message=message,
        scratch=scratch,
        publishing=publishing,
    )


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
    """Put all that *stream* gives on *branch* as the file *at*; otherwise as ``put_file``."""
    if at.endswith("/"):
        raise InvalidKey(at, "the path of a file for what is read from a stream")
    _check_key(at)
    taken: list[Entry] = []  # the stream can be read once, and a lost race begins again

    def changes(base: Tree, intake: Ingest) -> Changes:
        if not taken:
            taken.append(intake.stream(at, stream))
            if progress:
                progress(at, taken[0].size)
        known = base.entry(at)
        if known is None or not _same_content(known, taken[0]):
            yield at, taken[0]

    return _put(store, branch, changes, message=message, scratch=scratch, publishing=publishing)


def _put(
    store: Store,
    branch: BranchName,
    changes: Callable[[Tree, Ingest], Changes],
    *,
    message: str,
    scratch: Path | None,
    publishing: Guard,
    compared: Callable[[Compared], None] = lambda _: None,
) -> Commit:
    """Commit what *changes* makes of the head's tree, again and again until the head has stayed."""
    started = time.time()
    stage_id = f"{uuid.uuid4().hex}-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as cleanup:
        if scratch is None:
            scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="worker-put-")))
        stage = Stage(store.backend, stage_id, writer="put", scratch=scratch)
        cleanup.callback(stage.drop)
        stage.preflight()
        with Ingest(stage, BlobReader(store.backend, scratch)) as intake:
            while True:
                head = store.head(branch)
                parent = store.commit(head.commit) if head else None
                base = store.tree(parent) if parent else store.empty_tree()
                tree = apply(base, changes(base, intake))
                compared(intake.compared)
                if parent is not None and tree.digest == parent.digest:
                    tree.discard()
                    return parent
                # A look before the commit exists: one that loses the race for the branch after
                # this stays behind in the store, on no branch.
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


def _folder_changes(
    base: Tree,
    intake: Ingest,
    *,
    directory: Path,
    prefix: str,
    keep: bool,
    progress: Progress | None,
    trust_mtime: bool,
) -> Changes:
    """Yield how *base* differs from the folder, reading both side by side in the order of keys."""
    problems: list[Problem] = []
    known = base.entries(prefix=prefix)
    there = next(known, None)
    for found in walk(directory, prefix):
        if isinstance(found, Problem):
            problems.append(found)
        elif len(found.key.encode()) > KEY_LIMIT:
            problems.append(Problem(found.path, f"its key would be over {KEY_LIMIT:,} bytes"))
        if isinstance(found, Problem) or problems:
            continue  # nothing comes of it any more, but all that is wrong is said at once
        while there is not None and there.key < found.key:
            if not keep:
                yield there.key, None
            there = next(known, None)
        same = None
        if there is not None and there.key == found.key:
            same, there = there, next(known, None)
        try:
            entry = intake.take(found, same, trust_mtime=trust_mtime)
        except NotAFile as error:
            problems.append(error.problem)
            continue
        if progress:
            progress(found.key, entry.size)
        if entry is not same:
            yield found.key, entry
    if problems:
        raise CannotImport(tuple(problems))
    while there is not None and not keep:
        yield there.key, None
        there = next(known, None)


def _file_changes(
    base: Tree, intake: Ingest, *, file: Path, key: str, progress: Progress | None
) -> Changes:
    same = base.entry(key)
    try:
        entry = intake.take(Found(key, os.fspath(file)), same)
    except NotAFile as error:
        raise CannotImport((error.problem,)) from error
    if progress:
        progress(key, entry.size)
    if entry is not same:
        yield key, entry


def _same_content(one: Entry, other: Entry) -> bool:
    """Whether both are known, by their digests alone, to hold the same bytes."""
    return [(e.sha256, e.start, e.length) for e in one.extents] == [
        (e.sha256, e.start, e.length) for e in other.extents
    ]


def _check_key(key: str) -> None:
    if not key:
        raise InvalidKey(key, "a path in the commit")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidKey(key, "UTF-8") from error
    if length > KEY_LIMIT:
        raise InvalidKey(key, f"at most {KEY_LIMIT:,} bytes")
