"""``ls`` and ``cat``: the files of a commit."""

import json

import pytest
from builders import a_commit

FILES = {
    "README.txt": b"hello\n",
    "a": b"1",
    "a/b": b"2",
    "a/c/d": b"3",
    "a/c/e": b"",
    "f\U0010ffff/g": b"4",
    "z zürich/ü.txt": b"5",
}


@pytest.fixture(autouse=True)
def commit(store):
    """A commit with files, folders, and a file that is called like a folder."""
    return a_commit(store, FILES)


def keys(said):
    return [line.split("\t")[2] for line in said.out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            ["labresults"],
            ["README.txt", "a", "a/", "f\U0010ffff/", "z zürich/"],
            id="one level",
        ),
        pytest.param(["labresults:a"], ["a", "a/b", "a/c/"], id="a file and a folder of a name"),
        pytest.param(["labresults:a/"], ["a/b", "a/c/"], id="the folder alone"),
        pytest.param(["labresults:a/c/d"], ["a/c/d"], id="a file"),
        pytest.param(["-r", "labresults"], sorted(FILES), id="all below"),
        pytest.param(["-r", "labresults:a/c"], ["a/c/d", "a/c/e"], id="all below a folder"),
    ],
)
def test_ls_lists_what_lies_below(worker, arguments, expected):
    """One level of a commit or a folder, or all below it, in the order of keys."""
    said = worker("ls", *arguments)

    assert expected == keys(said)
    assert 0 == said.status


def test_ls_in_json_is_a_file_a_line(worker):
    """Programs get each file as one JSON object."""
    said = worker("ls", "--json", "labresults:a")

    assert [
        {
            "type": "file",
            "key": "a",
            "size": 1,
            "etag": "c4ca4238a0b923820dcc509a6f75849b",
            "modified": 0.0,
        },
        {
            "type": "file",
            "key": "a/b",
            "size": 1,
            "etag": "c81e728d9d4c2f636f067f89cc14862c",
            "modified": 0.0,
        },
        {"type": "folder", "key": "a/c/"},
    ] == [json.loads(line) for line in said.out.splitlines()]


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("nothing", "nothing: the store has no such repo"),
        ("labresults@dev", "labresults@dev: the repo has no such branch"),
        ("labresults@master~3", "goes back only"),
        ("labresults:b", "labresults@master:b: the commit has no such file or folder"),
    ],
)
def test_what_is_not_there_is_named(worker, ref, says):
    """A missing repo, branch, ancestor or file is one sentence and status 66."""
    said = worker("ls", ref)

    assert says in said.err
    assert (66, "") == (said.status, said.out)


def test_a_ref_that_is_none_is_refused(worker):
    """What can't be a ref is answered by how one looks, with status 64."""
    said = worker("ls", "a/b/c")

    assert "expected [project/]repo[@branch-or-commit]" in said.err
    assert 64 == said.status


def test_cat_writes_the_bytes_of_a_file(worker):
    """Nothing but the file goes to standard output."""
    said = worker("cat", "labresults:README.txt")

    assert (0, "hello\n", "") == (said.status, said.out, said.err)


def test_cat_of_an_empty_file_writes_nothing(worker):
    """An empty file is no error."""
    said = worker("cat", "labresults:a/c/e")

    assert (0, "", "") == (said.status, said.out, said.err)


def test_cat_needs_a_path(worker):
    """A ref without a path names no file."""
    said = worker("cat", "labresults")

    assert "names no file; expected REF:PATH" in said.err
    assert 64 == said.status


def test_keys_cannot_drive_the_terminal(worker, store):
    """Control characters in a key are written out."""
    a_commit(store, {"a\x1b]0;title\x07\n": b""}, repo="odd")

    assert ["a\\x1b]0;title\\x07\\n"] == keys(worker("ls", "odd"))
