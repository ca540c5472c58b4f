"""A folder that files are written into, and nothing outside of it, whatever lies in the way."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from worker.errors import Unavailable
from worker.store.backends.local import write_fully

TEMPORARY = ".worker-"
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What the name or what lies there is to blame for. Anything else (a full disk, no permission)
# would be the same for the next file, and ends the whole.
IN_THE_WAY = {
    errno.ENOTDIR: "a file or a link is in the way",
    errno.ELOOP: "a link is in the way",
    errno.EEXIST: "a file or a link is in the way",
    errno.EISDIR: "a folder is in the way",
    errno.ENOTEMPTY: "a folder is in the way",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EINVAL: "this file system does not take the name",
    errno.EILSEQ: "this file system does not take the name",
}


class TargetUnavailable(Unavailable):
    """The folder to write into can't be written to."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"writing {path}: {error.strerror or error}")
        self.path = path
        self.errno = error.errno


class Target:
    """Writes below *directory*, which is made. A block, as it keeps folders open.

    Each folder on the way is opened from the one above and never through a link, so a name whose
    parts are plain names is a file below *directory*. Names come without ``.``, ``..`` and empty
    parts.
    """

    def __init__(self, directory: Path) -> None:
        """Take *directory*, which may itself be a link."""
        self._directory = directory
        self._open: list[tuple[str, int]] = []

    def __enter__(self) -> "Target":
        """Make and open the directory."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TargetUnavailable(os.fspath(self._directory), error) from error
        self._open = [("", fd)]
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open."""
        self._close_below(0)

    def write(self, name: str, pieces: Iterable[bytes], *, modified: int) -> str | None:
        """Write the file *name*, with *modified* in ns as its time; return why it can't be."""
        *folders, last = name.split("/")
        try:
            self._replace(self._folder(folders), last, pieces, modified)
        except OSError as error:
            return self._reason(name, error)
        return None

    def make_folder(self, name: str) -> str | None:
        """Make the folder *name*, if it is not there; return why it can't be."""
        try:
            self._folder(name.rstrip("/").split("/"))
        except OSError as error:
            return self._reason(name, error)
        return None

    def _replace(self, folder: int, last: str, pieces: Iterable[bytes], modified: int) -> None:
        temporary = TEMPORARY + secrets.token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o666, dir_fd=folder)
        try:
            try:
                position = 0
                for piece in pieces:
                    write_fully(fd, piece, position)
                    position += len(piece)
                os.utime(fd, ns=(modified, modified))
            finally:
                os.close(fd)
            # A link that has the name is itself replaced; what it leads to is not touched.
            os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise

    def _folder(self, parts: list[str]) -> int:
        """Return the folder open; those that it shares with the one before are open already."""
        shared = 0
        for (name, _), part in zip(self._open[1:], parts, strict=False):
            if name != part:
                break
            shared += 1
        self._close_below(shared + 1)
        for part in parts[shared:]:
            above = self._open[-1][1]
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=above)
            self._open.append((part, os.open(part, OPEN_FOLDER, dir_fd=above)))
        return self._open[-1][1]

    def _close_below(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])

    def _reason(self, name: str, error: OSError) -> str:
        if error.errno not in IN_THE_WAY:
            raise TargetUnavailable(f"{self._directory}/{name}", error) from error
        return IN_THE_WAY[error.errno]
