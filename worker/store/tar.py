"""Write the files of a commit to a tar archive."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from worker.model import Commit
from worker.store.blobs import BlobReader
from worker.store.checkout import Progress, select
from worker.store.repository import Store


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
    reader of the archive. Raises PathMissing and Damaged.
    """
    reader = BlobReader(store.backend)
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, entry in select(store.tree(commit), commit.name, path):
            member = tarfile.TarInfo(name)
            member.size = entry.size
            member.mtime = entry.modified // 1000
            if "\0" in name:
                # The fixed header ends names at a NUL.
                member.pax_headers = {"path": name}
            if name.endswith("/") and entry.size == 0:
                member.type = tarfile.DIRTYPE
                member.mode = 0o755
            tar.addfile(member, _Stream(reader.verified(entry.extents)))
            if progress is not None:
                progress(entry.key, entry.size)
    reader.close()


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
