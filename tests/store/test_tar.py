"""Tar archives of a commit."""

import io
import tarfile

import pytest
from builders import a_commit
from store.test_checkout import FILES, NOT_FILES

from worker.errors import NotFound
from worker.store.tar import write_tar


def test_a_tar_has_every_key_unchanged(store):
    """Also keys that cannot be files."""
    files = {**FILES, **NOT_FILES, "deep/" * 60 + "file": b"11", "new\nline": b"12"}
    tar = io.BytesIO()
    write_tar(store, a_commit(store, files), tar)
    tar.seek(0)
    with tarfile.open(fileobj=tar) as archive:
        members = archive.getmembers()
        found = [
            (member.name, archive.extractfile(member).read() if member.isfile() else b"")
            for member in members
        ]

    # tarfile removes the slash from the names of folders when it reads.
    expected = [(key if data else key.rstrip("/"), data) for key, data in files.items()]
    assert sorted(expected) == sorted(found)
    assert {"folder", ""} == {member.name for member in members if member.isdir()}


def test_a_tar_can_be_written_to_a_pipe(store):
    """Only ``write`` is called."""

    class Pipe:
        data = b""

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    write_tar(store, a_commit(store, FILES), pipe, path="a")  # type: ignore[arg-type]  # see above

    with tarfile.open(fileobj=io.BytesIO(pipe.data)) as archive:
        assert ["b c/ü%+~.csv", "empty"] == archive.getnames()


def test_a_missing_path_is_rejected(store):
    with pytest.raises(NotFound):
        write_tar(store, a_commit(store, {"a/b": b"1"}), io.BytesIO(), path="a/b/")
