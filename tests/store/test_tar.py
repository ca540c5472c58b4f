"""Tar archives of a commit."""

import io
import subprocess
import tarfile
from itertools import islice

import pytest
from builders import a_commit
from store.test_checkout import FILES, NOT_FILES

from worker.errors import NotFound
from worker.store import tar
from worker.store.backends.base import Damaged
from worker.store.checkout import select
from worker.store.tar import write_tar


def test_a_tar_has_every_key_unchanged(store):
    """Also keys that cannot be files."""
    files = {**FILES, **NOT_FILES, "deep/" * 60 + "file": b"11", "new\nline": b"12"}
    written = io.BytesIO()
    write_tar(store, a_commit(store, files), written)
    written.seek(0)
    with tarfile.open(fileobj=written) as archive:
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


def readers_fail(data: bytes) -> bool:
    """Whether neither tar nor Python takes *data* for a complete archive."""
    done = subprocess.run(["tar", "t"], input=data, capture_output=True, check=False)
    with pytest.raises(tarfile.ReadError), tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.getmembers()
    return done.returncode != 0


@pytest.mark.parametrize("after", [0, 1, 20, 21])
def test_an_archive_that_an_error_cuts_off_is_no_archive_for_its_reader(store, monkeypatch, after):
    """Where the list of files fails, the data ends between two members."""
    commit = a_commit(store, {f"{number:04}": b"x" * 512 for number in range(30)})

    def failing(*arguments):
        yield from islice(select(*arguments), after)
        raise Damaged("segments/x", "it is cut off")

    monkeypatch.setattr(tar, "select", failing)
    found = io.BytesIO()
    with pytest.raises(Damaged):
        write_tar(store, commit, found)

    assert readers_fail(found.getvalue())


def test_an_archive_with_a_damaged_file_is_no_archive_for_its_reader(local):
    commit = a_commit(local, {"a": b"1" * 512, "b": b"2" * 512})
    extent = local.tree(commit).entry("b").extents[0]
    with open(local.backend.path(f"blobs/{extent.blob}"), "r+b") as blob:
        blob.seek(extent.offset)
        blob.write(b"x")
    found = io.BytesIO()

    with pytest.raises(Damaged):
        write_tar(local, commit, found)

    assert readers_fail(found.getvalue())


@pytest.mark.parametrize(
    ("files", "path"),
    [({}, ""), ({"folder/": b"", "other": b"1"}, "folder"), ({"folder/": b""}, "folder/")],
    ids=["an empty commit", "an empty folder", "with a slash"],
)
def test_the_archive_of_no_file_is_valid(store, files, path):
    found = io.BytesIO()
    write_tar(store, a_commit(store, files), found, path=path)
    found.seek(0)

    with tarfile.open(fileobj=found) as archive:
        assert [] == archive.getnames()
