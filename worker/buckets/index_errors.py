"""Errors of the index: a disk that fails, and a file that has what no worker wrote."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import DataLost, Unavailable

# Both mean that there is no space; the second concerns the shared-memory file beside the index.
FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
# Result codes that blame the disk and not the statement.
DISK_ERRORS = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    # Another program holds a lock for longer than the time limit.
    sqlite3.SQLITE_BUSY,
)

# Result codes that blame the file: the statements are constant, and its schema is the one above.
DAMAGE = (
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_TOOBIG,
)


class RowDamaged(Exception):
    """A row has what no worker wrote."""


class IndexUnavailable(Unavailable):
    """The disk of the index failed; nothing was changed."""

    def __init__(self, path: Path, error: sqlite3.Error) -> None:
        super().__init__(f"{path}: {error}")
        self.path = str(path)
        self.errno = errno.ENOSPC if _is_full(path, error) else errno.EIO


class IndexDamaged(DataLost):
    """The index has what no worker wrote: another program of the user can write to its file."""

    def __init__(self, path: Path, found: object) -> None:
        super().__init__(f"{path}: the index of the output is damaged: {found}")


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Translate errors of the disk and of its file; others of SQLite are internal errors."""
    try:
        yield
    except RowDamaged as error:
        raise IndexDamaged(path, error) from error
    except sqlite3.Error as error:
        if _is_disk_error(error):
            raise IndexUnavailable(path, error) from error
        # The error of text that is not UTF-8 has no code.
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, sqlite3.DatabaseError) and (code is None or code & 0xFF in DAMAGE):
            raise IndexDamaged(path, error) from error
        raise


def _is_disk_error(error: sqlite3.Error) -> bool:
    # The lowest byte is the primary result code.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in DISK_ERRORS


def _is_full(path: Path, error: sqlite3.Error) -> bool:
    """Whether there is no space for the index at *path*."""
    if getattr(error, "sqlite_errorcode", None) in FULL:
        return True
    # SQLite does not report why it could not create or extend a file.
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail == 0 or (disk.f_files > 0 and disk.f_favail == 0)
