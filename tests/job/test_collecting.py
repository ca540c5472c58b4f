import os
import socket
from pathlib import Path

import pytest
from builders import a_commit

from worker.job.files import InputFolders, NotAnOutput, collect, materialize
from worker.job.plan import choices, resolve
from worker.spec.pipeline import PfsInput
from worker.store.blobs import BlobReader, Stage
from worker.store.ingest import Ingest


@pytest.fixture
def scene(store, tmp_path):
    """An input laid out below a root beside an empty out."""
    commit = a_commit(store, {"a": b"1", "dir/b": b"2", "other/c": b"3"})
    spec = PfsInput("in", "default", "labresults", "master", None, glob="/", s3=False)
    resolved = resolve(store, spec)
    root = tmp_path / "pfs"
    (root / "out").mkdir(parents=True)
    materialize(store, choices(store, resolved)[0], root / "in", spool=tmp_path)
    return store, commit, root, InputFolders(store, root, {"in": resolved})


def collected(scene, tmp_path) -> dict[str, bytes]:
    store, _, root, inputs = scene
    stage = Stage(store.backend, "s", writer="w", scratch=tmp_path)
    reader = BlobReader(store.backend)
    with Ingest(stage, reader) as intake:
        found = {entry.key: entry for entry in collect(root / "out", inputs, intake)}
        return {key: b"".join(reader.pieces(found[key].extents)) for key in sorted(found)}


def test_files_become_entries(scene, tmp_path):
    """Folders are in their keys; empty folders are not kept."""
    out = scene[2] / "out"
    (out / "sub" / "empty").mkdir(parents=True)
    (out / "sub" / "f").write_bytes(b"x")
    (out / "Ünï").write_bytes(b"")

    assert {"sub/f": b"x", "Ünï": b""} == collected(scene, tmp_path)


def test_links_into_inputs_share_their_bytes(scene, tmp_path):
    """A file is a file, and a folder is all below it."""
    root = scene[2]
    (root / "out" / "file").symlink_to(root / "in" / "a")
    (root / "out" / "all").symlink_to(root / "in")
    (root / "out" / "relative").symlink_to("../in/dir/b")
    found = collected(scene, tmp_path)

    assert {
        "file": b"1",
        "relative": b"2",
        "all/a": b"1",
        "all/dir/b": b"2",
        "all/other/c": b"3",
    } == found


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "symbolic link to /etc/passwd"),
        (lambda path: path.symlink_to("../in/none"), "symbolic link"),
        (lambda path: path.symlink_to("../.."), "symbolic link"),
        (os.mkfifo, "it is a pipe"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "it is a socket"),
        (lambda path: Path(os.fsdecode(bytes(path) + b"\xff")).touch(), "not UTF-8"),
    ],
    ids=["link away", "broken link", "link up", "pipe", "socket", "name"],
)
def test_what_cannot_be_output_is_named(scene, tmp_path, monkeypatch, make, why):
    """Links that lead elsewhere, devices, and names that are no text."""
    monkeypatch.chdir(scene[2] / "out")
    make(Path("x"))

    with pytest.raises(NotAnOutput, match=why):
        collected(scene, tmp_path)
