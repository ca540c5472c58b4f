"""A store in a directory: files that appear whole, and stay when the power goes."""

import contextlib
import ctypes
import errno
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from worker.errors import Misconfigured
from worker.store.backends.base import (
    AlreadyThere,
    IllegalName,
    Listed,
    NoPutIfAbsent,
    ObjectMissing,
    StoreUnavailable,
    WriteUncertain,
    checked,
)

TEMPORARY = ".new-"
# Many files that wait for the disk together cost little more than one.
SYNC_TOGETHER = 8
# How often a folder that another process removes, because it was empty, is made again.
ATTEMPTS = 100
# link(2) on a file system without hard links: EPERM on Linux, others on FUSE and networks.
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# From linux/fs.h; renameat2(2) is in glibc since 2.28 and in musl since 1.2.6, not in Python.
AT_FDCWD = -100
RENAME_NOREPLACE = 1


class NotADirectory(Misconfigured):
    """What was called a store is something else than a directory."""

    def __init__(self, path: str) -> None:
        super().__init__(f"store: {path} is not a directory")
        self.path = path


class LocalBackend:
    """Objects as files below a directory, each under its own name."""

    def __init__(self, root: Path) -> None:
        """Take the store in *root*, which is made by the first write."""
        self.root = root.absolute()
        self.url = os.fspath(self.root)
        self._base = self.url.rstrip("/") + "/"
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectory(self.url)

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end."""
        with _explained(f"reading {name}", missing=name):
            fd = os.open(self._base + checked(name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                end = os.fstat(fd).st_size if stop is None else stop
                return read_exactly(fd, start, max(0, end - start))
            finally:
                os.close(fd)

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with _explained(f"looking for {name}"):
            return os.path.isfile(self._base + checked(name))

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, in place of what was there."""
        with self._written(name, data) as (temporary, path), _explained(f"writing {name}"):
            os.replace(temporary, path)
            _sync(os.path.dirname(path))

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if there is no such file."""
        with self._written(name, data) as (temporary, path):
            try:
                self._appear(temporary, path)
            except FileExistsError as error:
                if self.get(name) != data:
                    # The winner may still be syncing; the caller builds on what is there.
                    with _explained(f"syncing {name}"):
                        _sync(os.path.dirname(path))
                    raise AlreadyThere(name) from error
            except OSError as error:
                raise _unavailable(f"writing {name}", error) from error
            try:
                _sync(os.path.dirname(path))
            except OSError as error:
                failed = _unavailable(f"syncing {name}", error)
                raise WriteUncertain(failed.doing, failed.cause, errno=failed.errno) from error

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects below *prefix* that sort after *after*."""
        if prefix:
            if not prefix.endswith("/"):
                raise IllegalName(prefix)
            checked(prefix[:-1])
        with _explained(f"listing {prefix}"):
            yield from self._walk(prefix, after)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below *prefix*, after one directory read."""
        if prefix:
            checked(prefix.removesuffix("/"))
        with _explained(f"listing {prefix}"):
            try:
                with os.scandir(self._base + prefix) as found:
                    return sorted(
                        entry.name
                        for entry in found
                        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                    )
            except (FileNotFoundError, NotADirectoryError):
                return []

    def delete(self, name: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        path = self._base + checked(name)
        with _explained(f"deleting {name}"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
            self._prune(os.path.dirname(path))

    def create(self, name: str) -> "FileSink":
        """Begin a file that lies where it will stay."""
        path = self._base + checked(name)
        with _explained(f"creating {name}"):
            try:
                return FileSink(name, path, self._in_folder(path, _open_new))
            except FileExistsError as error:
                raise AlreadyThere(name) from error

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of the file from *start* up to *stop*."""
        return self.get(name, start, stop)

    def sync(self, names: Iterable[str]) -> None:
        """Return when these files and their folders are on the disk."""
        paths = [self._base + checked(name) for name in names]
        folders = {os.path.dirname(path) for path in paths}
        with _explained("writing blobs to the disk"):
            _sync_all(paths)
            _sync_all(folders)

    def path(self, name: str) -> Path:
        """Return the file that is the object."""
        return Path(self._base + checked(name))

    def sweep(self, before: float, /) -> int:
        """Remove the temporary files last written before *before*."""
        removed = 0
        with _explained("removing temporary files"):
            for folder, _, files in os.walk(self._base):
                for file in files:
                    path = os.path.join(folder, file)
                    # One that is gone by now was finished by its writer.
                    with contextlib.suppress(FileNotFoundError):
                        if file.startswith(TEMPORARY) and os.stat(path).st_mtime < before:
                            os.unlink(path)
                            removed += 1
        return removed

    @contextlib.contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[tuple[str, str]]:
        """Write and sync *data* to a temporary file; yield its path and the final one."""
        path = self._base + checked(name)
        temporary = f"{os.path.dirname(path)}/{TEMPORARY}{secrets.token_hex(8)}"
        with _explained(f"writing {name}"):
            fd = self._in_folder(temporary, _open_new)
        try:
            with _explained(f"writing {name}", path=temporary):
                try:
                    write_fully(fd, data, 0)
                    os.fsync(fd)
                finally:
                    os.close(fd)
            yield temporary, path
        finally:
            # On success it is gone, or a second name of the object.
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _appear(self, temporary: str, path: str) -> None:
        """Give the whole file its final name in one step; raise FileExistsError if it is taken."""
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            self._rename_new(temporary, path)

    def _rename_new(self, temporary: str, path: str) -> None:
        """Rename without replacing: what exFAT and other file systems without links can do."""
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if call is None:
            raise NoPutIfAbsent(self.url, "the file system has no hard links")
        names = (os.fsencode(temporary), os.fsencode(path))
        if call(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise NoPutIfAbsent(
                self.url, "the file system has neither hard links nor RENAME_NOREPLACE"
            )
        raise OSError(code, os.strerror(code), path)

    def _in_folder(self, path: str, open_it: Callable[[str], int]) -> int:
        for _ in range(ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return open_it(path)
            self._make_folder(os.path.dirname(path))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _make_folder(self, folder: str) -> None:
        """Make *folder* and what is missing above it, each durable in the one above."""
        missing = [folder]
        while not os.path.isdir(above := os.path.dirname(missing[-1])):
            missing.append(above)
        # A folder that another process removes meanwhile is the business of the next attempt. One
        # that is there by now is made durable all the same: who made it may not have come to that.
        with contextlib.suppress(FileNotFoundError):
            for folder in reversed(missing):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)
                _sync(os.path.dirname(folder))

    def _prune(self, folder: str) -> None:
        while len(folder) > len(self._base):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    return
                raise
            folder = os.path.dirname(folder)

    def _walk(self, prefix: str, after: str) -> Iterator[Listed]:
        try:
            with os.scandir(self._base + prefix) as found:
                # With the slash that follows a folder in the names of what is below it, the order
                # of the parts is the order of the whole names.
                names = sorted(
                    entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
                    for entry in found
                    if not entry.name.startswith(".")
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            whole = prefix + name
            if name.endswith("/"):
                if whole > after or after.startswith(whole):
                    yield from self._walk(whole, after)
            elif whole > after:
                # Gone since the folder was read: then it is not there.
                with contextlib.suppress(FileNotFoundError):
                    facts = os.stat(self._base + whole)
                    yield Listed(whole, facts.st_size, facts.st_mtime)


class FileSink:
    """A new file while it is being written."""

    def __init__(self, name: str, path: str, fd: int) -> None:
        """Take the empty file open as *fd*."""
        self._name = name
        self._path = path
        self._fd = fd
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; what a failed write left is overwritten by the next."""
        try:
            write_fully(self._fd, data, self._size)
        except OSError as error:
            raise _unavailable(f"writing {self._name}", error, path=self._path) from error
        self._size += len(data)

    def close(self) -> None:
        """Close the file, cut to what was written whole."""
        with _explained(f"closing {self._name}", path=self._path):
            fd, self._fd = self._fd, -1
            try:
                os.ftruncate(fd, self._size)
            finally:
                os.close(fd)

    def discard(self) -> None:
        """Remove the file."""
        with _explained(f"deleting {self._name}"):
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


def read_exactly(fd: int, start: int, length: int) -> bytes:
    """Return up to *length* bytes from *start*: fewer only where the file ends."""
    data = os.pread(fd, length, start)
    # One read gives at most 2 GiB, and can be cut short by a signal.
    while 0 < len(data) < length and (more := os.pread(fd, length - len(data), start + len(data))):
        data += more
    return data


def write_fully(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of *data* at *offset*."""
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


def _open_new(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_all(paths: Collection[str]) -> None:
    if len(paths) <= 1:
        for path in paths:
            _sync(path)
        return
    with ThreadPoolExecutor(SYNC_TOGETHER) as pool:
        for _ in pool.map(_sync, paths):
            pass


@contextlib.contextmanager
def _explained(
    doing: str, *, missing: str | None = None, path: str | None = None
) -> Iterator[None]:
    """Translate OSError to the store's errors."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        if missing is not None:
            raise ObjectMissing(missing) from error
        raise _unavailable(doing, error, path=path) from error
    except OSError as error:
        raise _unavailable(doing, error, path=path) from error


def _unavailable(doing: str, error: OSError, *, path: str | None = None) -> StoreUnavailable:
    code = errno.errorcode.get(error.errno or 0, "unknown")
    # The file tells which disk is full and which folder is not ours.
    named = error.filename if isinstance(error.filename, str) else path
    where = f"{named}: " if named else ""
    cause = f"{where}{error.strerror or error} ({code})"
    return StoreUnavailable(doing, cause, errno=error.errno, path=named)
