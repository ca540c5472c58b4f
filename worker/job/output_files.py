"""Files of a datum's output: those that the command has written, and those that its links lead to.

The agent may run as root and the command as another user. No process of the command is left when
its output is read, but others of the same user may be, and can replace a file or a folder by a link
at any moment. So a file is opened in the directory where it was found, and its descriptor shows
whether it belongs to the command's user. All others are opened by the file reader, with the rights
of this user.
"""

import os
import time
from collections.abc import Callable

import attrs

from worker.model import Entry
from worker.store.ingest import (
    SMALL,
    FileVersion,
    Found,
    Ingester,
    NotAFile,
    Problem,
    ProblemKind,
    content_type,
    version_of,
)
from worker.supervisor.file_reader import FileReader, NotReadable

CHANGED = "it changed while it was read"


class _Unchanging:
    """A stream of an open file, which must not change meanwhile; raises NotAFile."""

    def __init__(
        self, path: str, fd: int, before: os.stat_result, check: Callable[[], None]
    ) -> None:
        self._path = path
        self._fd = fd
        self._check = check
        self._before = before
        self._left = before.st_size

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes."""
        self._check()
        try:
            data = os.read(self._fd, size)
        except OSError as error:
            raise NotAFile(Problem.of(self._path, error)) from error
        self._left -= len(data)
        # A file that grows as fast as it is read would have no end.
        if self._left < 0 or (
            not data and version_of(os.fstat(self._fd)) != version_of(self._before)
        ):
            raise NotAFile(Problem(self._path, CHANGED, ProblemKind.CHANGED))
        return data


@attrs.frozen
class OutputFiles:
    """Stores the files of an output."""

    out: str
    """The real path of the folder of the output."""
    ingester: Ingester
    reader: FileReader | None
    """None for a command in a container, whose paths and users are not those of this machine."""
    check: Callable[[], None]
    _large: dict[FileVersion, Entry] = attrs.field(factory=dict, init=False)
    """The entries of large files: hard links and repeated links share their bytes."""

    def add(self, found: Found) -> Entry:
        """Store a file of the command; raises NotAFile."""
        fd = found.open()
        try:
            status = os.fstat(fd)
            if self._is_own(status):
                return self._store(found, fd, status)
        finally:
            os.close(fd)
        # A hard link to a file of another user, for example.
        try:
            return self._store_as_user(found, found.path)
        except NotReadable as error:
            reason = f"it belongs to the user with the uid {status.st_uid}: {error.reason}; copy it"
            raise NotAFile(Problem(found.path, reason)) from error

    def add_linked(self, found: Found, path: str, shown: str) -> Entry:
        """Store the file that the link *found* leads to by *path*; raises NotAFile.

        *shown* is *path* as the command has it.
        """
        if self.reader is None:
            reason = (
                "it is a symbolic link that leads to no input, and the paths of a container are "
                "not those of worker: copy the content into the output"
            )
            raise NotAFile(Problem(found.path, reason))
        try:
            return self._store_as_user(found, path)
        except NotReadable as error:
            # A path that is not that of the link is its target, which need not be a link itself.
            target = error.target or (shown if path != found.path else "")
            if target:
                target = f" to {target if target.isprintable() else ascii(target)}"
            reason = (
                f"it is a symbolic link{target}: {error.reason}; copy the content into the "
                "output, or remove the link"
            )
            raise NotAFile(Problem(found.path, reason)) from error

    def _store_as_user(self, found: Found, path: str) -> Entry:
        """Store the file at *path*, opened as the command's user; raises NotReadable."""
        assert self.reader is not None
        # The command's user may not be able to reach the folder by its path.
        relative = os.path.relpath(path, self.out)
        fd = self.reader.open(path if relative.startswith("../") else relative)
        try:
            return self._store(found, fd, os.fstat(fd))
        finally:
            os.close(fd)

    def _is_own(self, status: os.stat_result) -> bool:
        identity = None if self.reader is None else self.reader.identity
        return identity is None or identity.uid in (0, status.st_uid)

    def _store(self, found: Found, fd: int, status: os.stat_result) -> Entry:
        known = self._large.get(version_of(status))
        if known is None:
            stream = _Unchanging(found.path, fd, status, self.check)
            entry = self.ingester.add_stream(found.key, stream)
            if entry.size > SMALL:
                self._large[version_of(status)] = entry
        else:
            entry = attrs.evolve(known, key=found.key, headers=content_type(found.key))
        return attrs.evolve(entry, modified=time.time_ns() // 1_000_000)
