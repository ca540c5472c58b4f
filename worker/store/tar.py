"""Write the files of a commit to a tar archive."""

import tarfile
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import BinaryIO, cast

from worker.model import Commit, Entry
from worker.store.blobs import BlobReader
from worker.store.checkout import Progress, select
from worker.store.repository import Store

INCOMPLETE = "INCOMPLETE"
"""The name of the member within which an archive ends that could not be completed."""


def write_tar(
    store: Store,
    commit: Commit,
    file: BinaryIO,
    *,
    path: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the files of *commit* to *file* as a tar archive (PAX) with every key unchanged.

    *path* selects and renames files as in ``get_directory``. Only ``file.write`` is called, so
    *file* can be a pipe. Keys can be absolute or contain ``..``: to unpack them safely is up to the
    reader of the archive. Raises PathMissing, Damaged and the errors of ``file.write``.

    An archive that an error cuts off ends within a member, so that its reader fails, too: the end
    of the data between two members would be the end of the archive for many readers.
    """
    sink = _Sink(file)
    try:
        reader = BlobReader(store.backend)
        # Of a file, tarfile in this mode calls only `write` and `tell`.
        given = cast("BinaryIO", sink)
        form = tarfile.PAX_FORMAT
        with closing(reader), tarfile.open(fileobj=given, mode="w", format=form) as tar:
            for name, entry in select(store.tree(commit), commit.name, path):
                tar.addfile(_member(name, entry), _Stream(reader.verified(entry.extents)))
                sink.end_member()
                if progress is not None:
                    progress(entry.key, entry.size)
    except BaseException:
        if sink.is_between_members():
            cut = tarfile.TarInfo(INCOMPLETE)
            cut.size = 1
            with suppress(OSError):
                sink.write(cut.tobuf(tarfile.PAX_FORMAT))
        raise


def _member(name: str, entry: Entry) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = entry.size
    member.mtime = entry.modified // 1000
    if "\0" in name:
        # The fixed header ends names at a NUL.
        member.pax_headers = {"path": name}
    if name.endswith("/") and entry.size == 0:
        member.type = tarfile.DIRTYPE
        member.mode = 0o755
    return member


class _Sink:
    """A file for tarfile that can only be written, without a buffer: what is written is known."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._member = 0

    def tell(self) -> int:
        return self._position

    def write(self, data: bytes, /) -> int:
        self._file.write(data)
        self._position += len(data)
        return len(data)

    def end_member(self) -> None:
        """Note that the last member is complete."""
        self._member = self._position

    def is_between_members(self) -> bool:
        return self._member == self._position


class _Stream:
    """Pieces of bytes as a file for tarfile, whose reads return fewer bytes only at the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = 1 << 20, /) -> bytes:
        taken = []
        while size:
            if not self._rest:
                self._rest = memoryview(next(self._pieces, b""))
                if not self._rest:
                    break
            taken.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(taken[-1])
        return b"".join(taken)
