"""The journal of a check-in: what it has stored, so that one that was killed resumes cheaply.

A journal is a folder in the temporary directory of this machine, named by the store, the branch and
the directory that is committed. At each checkpoint, the stage is flushed and the files stored since
the last one are appended to the journal. The next check-in of the same directory continues in the
same stage, and takes the entries of files that have not changed since.

A stage that is resumed is like one whose writer paused, so its check-in has to be resumed within
`RESUME_LIMIT`, which is shorter than the grace period of gc. Afterwards it is garbage.
"""

import contextlib
import fcntl
import hashlib
import heapq
import os
import secrets
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

import attrs
import msgspec

from worker.directories import READING, remove_tree
from worker.model import BranchName, Entry
from worker.store.backends.base import Backend
from worker.store.blobs import FOLDER, ID, Stage
from worker.store.entry_rules import UNDECODABLE, check_entry
from worker.store.ingest import FileVersion

PREFIX = "worker-put-"
LOCK = "lock"
RESUME_LIMIT = 24 * 3600.0
"""Seconds after its last checkpoint in which a check-in can be resumed."""
CHECKPOINT_INTERVAL = 10.0
"""Seconds between checkpoints; each ends a pack, and waits until the data are durable."""
RACY = 2.0
"""Seconds: a file that was changed less than this before it was read could change again without a
difference in its times, which are coarse on some file systems."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A file that has been stored."""

    key: str
    version: FileVersion
    """That of the file before it was read."""
    entry: Entry


class Header(msgspec.Struct, frozen=True):
    """The first line of a journal."""

    stage: str


_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(Row).decode
_decode_header = msgspec.json.Decoder(Header).decode


@attrs.define(eq=False)
class Journal:
    """The journal of one check-in. For one thread."""

    scratch: Path
    """A folder for the packs of the stage."""
    stage_id: str
    session: int
    """The number of check-ins that were killed before this one, and continue in it."""
    _folder: Path | None = None
    """None if nothing is recorded: another process uses the journal, or none can be written."""
    _earlier: Iterator[Row] = attrs.field(factory=lambda: iter(()))
    """Rows of earlier check-ins from the current key on."""
    _next: Row | None = None
    _pending: list[Row] = attrs.field(factory=list)
    _due: float = attrs.field(factory=lambda: time.monotonic() + CHECKPOINT_INTERVAL)
    has_checkpoint: bool = False

    @property
    def writer(self) -> str:
        """The name of this writer in the stage, which no earlier session had."""
        return f"put-{self.session}"

    def rewind(self) -> None:
        """Start again with the first key: what follows is asked for in the order of keys."""
        self._earlier = self._rows()
        self._next = next(self._earlier, None)

    def find(self, key: str, version: FileVersion) -> Entry | None:
        """Return the entry of a file that is stored and has not changed since, or None."""
        while self._next is not None and self._next.key < key:
            self._next = next(self._earlier, None)
        row = self._next
        return row.entry if row is not None and (row.key, row.version) == (key, version) else None

    def add(self, key: str, version: FileVersion, entry: Entry, stage: Stage) -> None:
        """Record a file that was read as *entry*, and had *version* before.

        Flush *stage* if that is due.
        """
        if self._folder is None:
            return
        changed = max(version[3], version[4]) / 1e9
        if changed < entry.modified / 1000 - RACY:
            self._pending.append(Row(key, version, entry))
        if self._pending and time.monotonic() >= self._due:
            self._checkpoint(stage)

    def _checkpoint(self, stage: Stage) -> None:
        assert self._folder is not None
        stage.flush()
        path = self._folder / f"session-{self.session}"
        lines = b"".join(_encode(row) + b"\n" for row in self._pending)
        # Without a journal the check-in goes on; it cannot be resumed from here.
        with contextlib.suppress(OSError), open(path, "ab") as file:
            if file.tell() == 0:
                file.write(_encode(Header(self.stage_id)) + b"\n")
            file.write(lines)
            self.has_checkpoint = True
        self._pending.clear()
        self._due = time.monotonic() + CHECKPOINT_INTERVAL

    def _rows(self) -> Iterator[Row]:
        """Yield the rows of all sessions in the order of keys, the last one of each key."""
        if self._folder is None:
            return
        sessions = [_read(self._folder / f"session-{n}") for n in range(self.session + 1)]
        merged = heapq.merge(*sessions, key=attrgetter("key"))
        for _, same in groupby(merged, key=attrgetter("key")):
            *_, last = same
            yield last


@contextlib.contextmanager
def open_journal(backend: Backend, branch: BranchName, source: str) -> Iterator[Journal]:
    """Open the journal of the check-in of *source* to *branch*, and resume it if it was killed.

    At the end of the block the journal is removed. If the block raises after a checkpoint, it is
    left for the next check-in, and the stage must be left too.
    """
    _remove_abandoned()
    name = hashlib.sha256("\0".join((backend.url, str(branch), source)).encode(errors="replace"))
    folder = Path(tempfile.gettempdir()) / f"{PREFIX}{os.geteuid()}-{name.hexdigest()[:32]}"
    with contextlib.ExitStack() as cleanup:
        if not cleanup.enter_context(_locked(folder)):
            scratch = cleanup.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX))
            yield Journal(Path(scratch), _new_stage(), 0)
            return
        journal = _resume(backend, folder)
        try:
            yield journal
        except BaseException:
            shutil.rmtree(journal.scratch, ignore_errors=True)
            if not journal.has_checkpoint:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _resume(backend: Backend, folder: Path) -> Journal:
    """Return the journal in *folder*: of the check-in that left it, or a new one."""
    scratch = folder / "packs"
    remove_tree(scratch)
    session = len(list(folder.glob("session-*")))
    stage_id = _resumable(backend, folder, session)
    if stage_id is None:
        for old in folder.glob("session-*"):
            remove_tree(old)
        session, stage_id = 0, _new_stage()
    scratch.mkdir()
    if session:
        # Also if this one is killed before its first checkpoint, the next one has another number:
        # no name of a blob is used twice.
        (folder / f"session-{session}").write_bytes(_encode(Header(stage_id)) + b"\n")
    # Earlier sessions are a checkpoint of this one.
    return Journal(scratch, stage_id, session, folder, has_checkpoint=session > 0)


def _resumable(backend: Backend, folder: Path, sessions: int) -> str | None:
    """Return the stage of the journal, if it is young enough and none of its blobs is missing."""
    paths = [folder / f"session-{number}" for number in range(sessions)]
    try:
        if not paths or paths[-1].stat().st_mtime < time.time() - RESUME_LIMIT:
            return None
        with _opened(paths[0]) as file:
            stage = _decode_header(file.readline()).stage
    except (OSError, *UNDECODABLE):
        return None
    if not ID.fullmatch(stage):
        return None
    sizes: dict[str, int] = {}
    for listed in backend.list_from(f"{FOLDER}{stage}/"):
        # A blob of an object store may be in several objects below its name.
        blob = "/".join(listed.name.removeprefix(FOLDER).split("/")[:2])
        sizes[blob] = sizes.get(blob, 0) + listed.size
    for path in paths:
        for row in _read(path):
            for extent in row.entry.extents:
                if sizes.get(extent.blob, 0) < extent.run_offset + extent.run_length:
                    return None
    return stage


def _read(path: Path) -> Iterator[Row]:
    """Yield the rows of one session, up to one that is incomplete or not in the order of keys."""
    last = ""
    with contextlib.suppress(OSError, *UNDECODABLE), _opened(path) as file:
        file.readline()
        for line in file:
            row = _decode_row(line)
            check_entry(row.entry)
            if row.entry.key != row.key or row.key < last:
                return
            last = row.key
            yield row


def _opened(path: Path) -> BinaryIO:
    """Open a file of a journal, and no link; a pipe that has replaced it ends at once."""
    return open(os.open(path, READING | os.O_NOFOLLOW), "rb")


def _new_stage() -> str:
    return f"{uuid.uuid4().hex}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Create and lock *folder*; whether that was possible.

    A folder of another user, or one that another user can write to, is not used: what is in it may
    be forged.
    """
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o77:
            yield False
            return
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have removed the folder since it was opened.
            is_ours = os.path.samestat(os.fstat(lock), os.stat(folder / LOCK))
        except OSError:
            is_ours = False
        yield is_ours
    finally:
        os.close(lock)


def _remove_abandoned() -> None:
    """Remove the journals that can no longer be resumed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.geteuid()}-*"):
        with contextlib.suppress(OSError):
            age = max(path.stat().st_mtime for path in [folder, *folder.glob("session-*")])
            if age > time.time() - RESUME_LIMIT:
                continue
            with _locked(folder) as is_ours:
                if is_ours:
                    shutil.rmtree(folder, ignore_errors=True)
