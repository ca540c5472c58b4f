"""Check-in with *trust_mtime*: which files are compared by size and time, and which are read."""

import os
import time

import attrs
import pytest

from worker.directories import Directory
from worker.model import BranchName, Repo
from worker.store.blobs import BlobReader
from worker.store.checkin import put_directory
from worker.store.ingest import TRUST_MARGIN, Compared
from worker.store.trees import apply

LAB = BranchName(Repo("default", "lab"))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_text(f"{name} old")
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are opened."""
    names = []
    real = Directory.open

    def record(directory, name):
        names.append(name)
        return real(directory, name)

    monkeypatch.setattr(Directory, "open", record)
    return names


def set_clock(monkeypatch, seconds: float) -> None:
    """Set the clock of check-ins *seconds* ahead."""
    real = time.time_ns
    monkeypatch.setattr("worker.store.ingest.time.time_ns", lambda: real() + int(seconds * 1e9))


def contents(store):
    reader = BlobReader(store.backend)
    tree = store.tree(store.resolve("lab"))
    return {e.key: b"".join(reader.pieces(e.extents)).decode() for e in tree.entries()}


def test_files_older_than_their_entries_are_not_opened(store, folder, opened, monkeypatch):
    """Without *trust_mtime* all files are."""
    set_clock(monkeypatch, 60)
    put_directory(store, LAB, folder)
    (folder / "d").write_text("new")
    opened.clear()
    put_directory(store, LAB, folder, trust_mtime=True)
    assert ["d"] == opened

    opened.clear()
    found = []
    put_directory(store, LAB, folder, compared=lambda each: found.append(attrs.evolve(each)))
    assert ["a", "b", "c", "d"] == opened
    assert [Compared(4, 18)] == found


def test_a_file_that_changed_after_its_check_in_is_read(store, folder, monkeypatch):
    """Its ctime shows the change, even if its size and mtime do not."""
    set_clock(monkeypatch, -60)
    put_directory(store, LAB, folder)
    (folder / "a").write_text("a new")
    os.utime(folder / "a", (1, 1))
    put_directory(store, LAB, folder, trust_mtime=True)

    assert "a new" == contents(store)["a"]


def test_a_write_during_a_check_in_is_found_by_the_next(store, folder):
    """It is newer than the time of the entry, which is that before the first read."""

    def write(key, _size):
        if key == "a" and (folder / "a").read_text() == "a old":
            (folder / "a").write_text("a new")

    put_directory(store, LAB, folder, progress=write)
    assert "a old" == contents(store)["a"]
    put_directory(store, LAB, folder, trust_mtime=True)
    assert "a new" == contents(store)["a"]


@pytest.mark.parametrize(
    ("margin", "size", "read"),
    [
        (TRUST_MARGIN + 0.5, 5, False),
        (TRUST_MARGIN - 0.5, 5, True),
        (0.0, 5, True),
        (-60.0, 5, True),
        (60.0, 6, True),
    ],
    ids=["older", "within the margin", "equal", "newer", "other size"],
)
def test_a_file_must_be_older_than_its_entry_by_a_margin(store, folder, opened, margin, size, read):
    commit = put_directory(store, LAB, folder)
    tree = store.tree(commit)
    changed = os.stat(folder / "a").st_ctime
    run = attrs.evolve(tree.entry("a").extents[0], run_length=size, length=size)
    entry = attrs.evolve(
        tree.entry("a"), modified=int((changed + margin) * 1000), size=size, extents=(run,)
    )
    moved = apply(tree, [("a", entry)])
    new = attrs.evolve(
        commit,
        name=attrs.evolve(commit.name, id="ab" * 16),
        parent=commit.name.id,
        root=moved.root,
        digest=moved.digest,
        size=moved.size,
    )
    store.advance(LAB, store.add_commit(new))
    opened.clear()
    put_directory(store, LAB, folder, trust_mtime=True)

    assert read == ("a" in opened)
