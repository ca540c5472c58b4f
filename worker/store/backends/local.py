"""The backend in a local directory: one file per object, atomic and durable."""

import contextlib
import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from worker.errors import Misconfigured
from worker.store.backends.base import (
    NOT_PERMITTED,
    AlreadyThere,
    Listed,
    NoPutIfAbsent,
    ObjectMissing,
    StoreDenied,
    StoreUnavailable,
    UnexpectedFile,
    WriteUncertain,
    checked,
    checked_prefix,
)

TEMPORARY = ".new-"
DEPTH = 9
"""Folders on the way to an object: a marker has eight."""
# A named pipe must not block.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Files that are synced at a time. Many cost little more than one.
SYNC_TOGETHER = 8
# How often a folder is created again that another process removes because it is empty.
ATTEMPTS = 100
# Errors of link(2) without hard links: EPERM on Linux, others on FUSE and network file systems.
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# From linux/fs.h. renameat2(2) is in glibc since 2.28 and in musl since 1.2.6, but not in Python.
AT_FDCWD = -100
RENAME_NOREPLACE = 1


class NotADirectory(Misconfigured):
    """The location of a store is not a directory."""

    def __init__(self, path: str) -> None:
        super().__init__(f"store: {path} is not a directory")
        self.path = path


class LocalBackend:
    """Objects as files below a directory, each under its own name."""

    def __init__(self, root: Path) -> None:
        """Use the directory *root*, which the first write creates."""
        self.root = root.absolute()
        self.url = os.fspath(self.root)
        self._base = self.url.rstrip("/") + "/"
        if self.root.exists() and not self.root.is_dir():
            raise NotADirectory(self.url)

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from *start* up to *stop* or the end."""
        with _translated(f"reading {name}", missing=name):
            fd = open_object(self._path(name), name)
            try:
                end = os.fstat(fd).st_size
                if stop is not None:
                    end = min(stop, end)
                return read_exactly(fd, start, max(0, end - start))
            finally:
                os.close(fd)

    def exists(self, name: str) -> bool:
        """Return whether there is a file; raise UnexpectedFile for a link or a special file."""
        path = self._path(name)
        with _translated(f"looking for {name}"):
            try:
                mode = os.lstat(path).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return False
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return stat.S_ISREG(mode)
        raise UnexpectedFile(name, _kind(mode))

    def put(self, name: str, data: bytes) -> None:
        """Store *data* as *name*, and replace an existing file."""
        with self._written(name, data) as (temporary, path), _translated(f"writing {name}"):
            os.replace(temporary, path)
            _sync(os.path.dirname(path))

    def put_new(self, name: str, data: bytes) -> None:
        """Store *data* as *name* if there is no such file."""
        with self._written(name, data) as (temporary, path):
            try:
                try:
                    os.link(temporary, path)
                except OSError as error:
                    if error.errno not in NO_HARD_LINKS:
                        raise
                    self._rename_new(temporary, path)
            except FileExistsError as error:
                if self.get(name, 0, len(data) + 1) != data:
                    # The winner may still be syncing, and the caller relies on the object.
                    with _translated(f"syncing {name}"):
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
        """Yield the objects below *prefix* that sort after *after*; raise UnexpectedFile."""
        with _translated(f"listing {prefix}"):
            self._folder(prefix)
            yield from self._walk(prefix, after)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below *prefix*, with one directory read.

        Also those of links and special files. What is below them cannot be read, which is not the
        same as nothing: to list them raises UnexpectedFile.
        """
        with _translated(f"listing {prefix}"):
            return sorted(
                entry.name
                for entry in _scanned(self._folder(prefix))
                if not entry.is_file(follow_symlinks=False)
            )

    def delete(self, name: str) -> None:
        """Remove the file, and the folders that are empty then."""
        path = self._path(name)
        with _translated(f"deleting {name}"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
            while len(path := os.path.dirname(path)) > len(self._base):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                        return
                    raise

    def create(self, name: str) -> "FileSink":
        """Create a file at its final path."""
        path = self._path(name)
        with _translated(f"creating {name}"):
            try:
                return FileSink(name, path, self._open_new(path))
            except FileExistsError as error:
                raise AlreadyThere(name) from error

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of the file from *start* up to *stop*."""
        return self.get(name, start, stop)

    def sync(self, names: Iterable[str]) -> None:
        """Sync these files, and then their folders."""
        paths = [self._path(name) for name in names]
        folders = {os.path.dirname(path) for path in paths}
        with _translated("writing blobs to the disk"):
            if len(paths) == 1:
                _sync(paths[0])
                _sync(*folders)
            elif paths:
                with ThreadPoolExecutor(SYNC_TOGETHER) as pool:
                    list(pool.map(_sync, paths))
                    list(pool.map(_sync, folders))

    def path(self, name: str) -> Path:
        """Return the file of the object."""
        return Path(self._path(name))

    def sweep(self, before: float, /) -> int:
        """Remove the temporary files last written before *before*."""
        removed = 0
        folders = [(self._base, 0)]
        with _translated("removing temporary files"):
            while folders:
                folder, depth = folders.pop()
                try:
                    found = os.scandir(folder)
                except (FileNotFoundError, PermissionError):
                    # It can vanish with its last file. One of another user, such as lost+found, is
                    # not part of the store.
                    continue
                with found:
                    for entry in found:
                        if entry.is_dir(follow_symlinks=False):
                            # No store has written a deeper one.
                            if depth < DEPTH:
                                folders.append((entry.path, depth + 1))
                        elif entry.name.startswith(TEMPORARY):
                            # It can vanish when its writer completes it.
                            with contextlib.suppress(FileNotFoundError):
                                if os.lstat(entry.path).st_mtime < before:
                                    os.unlink(entry.path)
                                    removed += 1
        return removed

    def _path(self, name: str) -> str:
        """Return the path of an object; raise IllegalName and UnexpectedFile."""
        folder, _, last = checked(name).rpartition("/")
        return self._folder(f"{folder}/" if folder else "") + last

    def _folder(self, prefix: str) -> str:
        """Return the path of a folder, with a slash; raise IllegalName and UnexpectedFile.

        A symbolic link on the way is an UnexpectedFile: what it leads to is not part of the store,
        and would be read, replaced or removed. So is a special file. Below a regular file, which is
        an object, and below a missing folder there is nothing.
        """
        folder = self._base
        for part in checked_prefix(prefix).split("/")[:-1]:
            folder += part
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                mode = os.lstat(folder).st_mode
                if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                    raise UnexpectedFile(folder.removeprefix(self._base), _kind(mode))
            folder += "/"
        return folder

    @contextlib.contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[tuple[str, str]]:
        """Write and sync *data* to a temporary file; yield its path and the final path."""
        path = self._path(name)
        temporary = f"{os.path.dirname(path)}/{TEMPORARY}{secrets.token_hex(8)}"
        with _translated(f"writing {name}"):
            fd = self._open_new(temporary)
        try:
            with _translated(f"writing {name}", path=temporary):
                try:
                    write_fully(fd, data, 0)
                    os.fsync(fd)
                finally:
                    os.close(fd)
            yield temporary, path
        finally:
            # After a success it was renamed, or is a second link to the object.
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _rename_new(self, temporary: str, path: str) -> None:
        """Rename without replacing, for exFAT and other file systems without hard links."""
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

    def _open_new(self, path: str) -> int:
        """Create the file and its missing folders, each durable; return the file descriptor."""
        for _ in range(ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            missing = [os.path.dirname(path)]
            while not os.path.isdir(parent := os.path.dirname(missing[-1])):
                missing.append(parent)
            # A folder that another process removes meanwhile is created by the next attempt. One
            # that another process created is synced too, as that process may not have done so yet.
            with contextlib.suppress(FileNotFoundError):
                for folder in reversed(missing):
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(folder)
                    _sync(os.path.dirname(folder))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _walk(self, prefix: str, after: str) -> Iterator[Listed]:
        if prefix.count("/") > DEPTH:
            raise UnexpectedFile(prefix, f"more than {DEPTH} folders, one in another")
        # With a slash after the names of folders, they sort as the names below them do.
        names = sorted(
            entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
            for entry in _scanned(self._base + prefix)
        )
        for name in names:
            whole = prefix + name
            if name.endswith("/"):
                if whole > after or after.startswith(whole):
                    yield from self._walk(whole, after)
            elif whole > after:
                # A file that was deleted after the folder was read is left out.
                with contextlib.suppress(FileNotFoundError):
                    found_file = os.lstat(self._base + whole)
                    yield Listed(whole, found_file.st_size, found_file.st_mtime)


@attrs.define(eq=False)
class FileSink:
    """A new file that is being written."""

    _name: str
    _path: str
    _fd: int
    """The descriptor of the empty file, which is closed by this object."""
    _size: int = attrs.field(default=0, init=False)

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*; the next write overwrites what a failed one left."""
        try:
            write_fully(self._fd, data, self._size)
        except OSError as error:
            raise _unavailable(f"writing {self._name}", error, path=self._path) from error
        self._size += len(data)

    def close(self) -> None:
        """Truncate the file to the data of successful writes, and close it."""
        with _translated(f"closing {self._name}", path=self._path):
            fd, self._fd = self._fd, -1
            try:
                os.ftruncate(fd, self._size)
            finally:
                os.close(fd)

    def discard(self) -> None:
        """Remove the file."""
        with _translated(f"deleting {self._name}"):
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


class Descriptor:
    """A file descriptor that is closed with its last reference.

    So one thread can drop it, for example from a cache, while another one still uses it.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def open_object(path: str | os.PathLike[str], name: str) -> int:
    """Open the file of the object *name* to read it; raise OSError and UnexpectedFile.

    A link would lead out of the store, and a pipe or a device could block or never end.
    """
    try:
        fd = os.open(path, OPEN_FILE)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            kind = "a symbolic link" if error.errno == errno.ELOOP else "a socket"
            raise UnexpectedFile(name, kind) from error
        raise
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise UnexpectedFile(name, _kind(mode))


def _kind(mode: int) -> str:
    """Return what a file is that is no object."""
    return "a symbolic link" if stat.S_ISLNK(mode) else "a special file"


def _scanned(path: str) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder, except for names that start with a dot; none without one."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as found:
        yield from (entry for entry in found if not entry.name.startswith("."))


def read_exactly(fd: int, start: int, length: int) -> bytes:
    """Return *length* bytes from *start*, fewer only at the end of the file."""
    data = os.pread(fd, length, start)
    # One read returns at most 2 GiB, and a signal can interrupt it.
    while 0 < len(data) < length and (more := os.pread(fd, length - len(data), start + len(data))):
        data += more
    return data


def write_fully(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of *data* at *offset*."""
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _translated(
    doing: str, *, missing: str | None = None, path: str | None = None
) -> Iterator[None]:
    """Translate OSError to StoreUnavailable, or to ObjectMissing for the object *missing*."""
    try:
        yield
    except OSError as error:
        if missing is not None and isinstance(
            error, FileNotFoundError | NotADirectoryError | IsADirectoryError
        ):
            raise ObjectMissing(missing) from error
        raise _unavailable(doing, error, path=path) from error


def _unavailable(doing: str, error: OSError, *, path: str | None = None) -> StoreUnavailable:
    code = errno.errorcode.get(error.errno or 0, "unknown")
    # The path shows which disk is full, or which folder cannot be written.
    named = error.filename if isinstance(error.filename, str) else path
    where = f"{named}: " if named else ""
    cause = f"{where}{error.strerror or error} ({code})"
    kind = StoreDenied if error.errno in NOT_PERMITTED else StoreUnavailable
    return kind(doing, cause, errno=error.errno, path=named)
