"""``put`` and ``get``: files of this machine into a commit, and out of one."""

import io
import json
import sys
import tarfile

import pytest
from builders import a_commit


@pytest.fixture
def folder(tmp_path):
    """A folder with two files."""
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"1")
    (folder / "below" / "ü b.txt").write_bytes(b"2")
    return folder


def content(store, ref):
    return [entry.key for entry in store.tree(store.resolve(ref)).entries()]


def test_put_makes_a_commit_of_a_folder_and_prints_its_name(worker, store, folder):
    """The repo and its branch are made by the first commit."""
    said = worker("put", "labresults", folder)

    assert f"{store.resolve('labresults').name}\n" == said.out
    assert ["a.txt", "below/ü b.txt"] == content(store, "labresults")
    assert 0 == said.status


def test_put_of_the_same_content_makes_no_commit(worker, store, folder):
    """Twice the same folder is one commit, and JSON says that nothing changed."""
    worker("put", "labresults", folder)
    again = json.loads(worker("put", "--json", "labresults", folder).out)

    assert again["changed"] is False
    assert 1 == len(list(store.commits(store.resolve("labresults").name.repo)))


def test_put_replaces_or_keeps_what_the_folder_does_not_have(worker, store, folder):
    """The commit becomes the folder; with --keep other files stay."""
    a_commit(store, {"old.txt": b"0"})
    worker("put", "labresults", folder, "--keep")
    assert ["a.txt", "below/ü b.txt", "old.txt"] == content(store, "labresults")

    worker("put", "labresults", folder)
    assert ["a.txt", "below/ü b.txt"] == content(store, "labresults")


def test_put_takes_a_file_and_a_stream(worker, store, folder, monkeypatch):
    """One file goes beside what is there; so does standard input, which needs a name."""
    worker("put", "labresults:x/y.txt", folder / "a.txt")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"streamed")))
    worker("put", "labresults:z.txt", "-", "-m", "from a stream")

    assert ["x/y.txt", "z.txt"] == content(store, "labresults")
    assert "from a stream" == store.resolve("labresults").message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["labresults^", "."], "is a commit, which cannot be changed; expected a branch"),
        (
            ["labresults@" + "a" * 32, "."],
            "is a commit, which cannot be changed; expected a branch",
        ),
        (["labresults", "-"], "standard input requires a path"),
    ],
)
def test_put_refuses_what_it_cannot_mean(worker, arguments, says):
    """A commit never changes, and a stream has no name of its own."""
    said = worker("put", *arguments)

    assert says in said.err
    assert 64 == said.status


def test_get_writes_the_files_of_a_commit(worker, store, tmp_path):
    """Folders are made, and names come back as they were."""
    a_commit(store, {"a.txt": b"1", "below/ü b.txt": b"2", "empty/": b""})

    said = worker("get", "labresults", tmp_path / "out")

    assert (0, "", "") == (said.status, said.out, said.err)
    assert b"1" == (tmp_path / "out" / "a.txt").read_bytes()
    assert b"2" == (tmp_path / "out" / "below" / "ü b.txt").read_bytes()
    assert (tmp_path / "out" / "empty").is_dir()


ODD = {"a": b"1", "a/b": b"2", "../up": b"3", "x" * 256: b"4", "fine": b"5"}


def test_get_names_each_key_that_cannot_be_a_file(worker, store, tmp_path):
    """All others are written, and the status is 1."""
    a_commit(store, ODD)

    said = worker("get", "labresults", tmp_path / "out")

    for key in ("a", "../up", "x" * 256):
        assert f"worker: {key}: " in said.err
    assert "3 keys cannot be files here" in said.err
    assert b"2" == (tmp_path / "out" / "a" / "b").read_bytes()
    assert b"5" == (tmp_path / "out" / "fine").read_bytes()
    assert not (tmp_path / "up").exists()
    assert 1 == said.status


def test_get_in_json_names_them_as_values(worker, store, tmp_path):
    """Programs get each key with its reason."""
    a_commit(store, ODD)

    said = worker("get", "--json", "labresults", tmp_path / "out")

    assert {"../up", "a", "x" * 256} == {json.loads(line)["key"] for line in said.out.splitlines()}
    assert 1 == said.status


def test_a_tar_takes_every_key(worker, store, tmp_path):
    """What can't be a file can be a member of a tar."""
    a_commit(store, ODD)

    said = worker("get", "labresults", "--tar", tmp_path / "all.tar")

    assert 0 == said.status
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert sorted(ODD) == tar.getnames()


@pytest.mark.parametrize("arguments", [[], ["out", "--tar", "x.tar"]], ids=["none", "both"])
def test_get_needs_one_place_to_write_to(worker, arguments):
    """A folder or a tar, not both and not neither."""
    said = worker("get", "labresults", *arguments)

    assert "expected either DIRECTORY or --tar FILE" in said.err
    assert 64 == said.status


def test_get_of_what_is_not_there_writes_nothing(worker, store, tmp_path):
    """A path without files is status 66."""
    a_commit(store, {"a": b"1"})

    said = worker("get", "labresults:b", tmp_path / "out")

    assert "no such file or folder" in said.err
    assert 66 == said.status
