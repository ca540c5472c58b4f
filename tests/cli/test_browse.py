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
    """A commit with files, folders, and a file with the name of a folder."""
    return a_commit(store, FILES)


def keys(done):
    return [line.split("\t")[2] for line in done.out.splitlines()]


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
def test_ls_lists_a_folder_in_key_order(worker, arguments, expected):
    """One level of a commit or a folder, or everything below it."""
    done = worker("ls", *arguments)

    assert expected == keys(done)
    assert 0 == done.status


def test_ls_json_prints_one_object_per_entry(worker):
    """A folder has a type and a key; a file has size, ETag and time as well."""
    done = worker("ls", "--json", "labresults:a")

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
    ] == [json.loads(line) for line in done.out.splitlines()]


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("nothing", "no such repo; `worker repos` lists its repos"),
        ("labresult", "no such repo; did you mean labresults?"),
        ("labresults@ffff", "no such branch, and no commit whose id starts with ffff"),
        ("labresults@fff", "an abbreviated commit id has at least 4 digits"),
        ("labresults@mster", "no such branch; its branches: master"),
        ("labresults@dev", "labresults@dev: the repo has no such branch"),
        ("labresults@master~3", "goes back only 0 commits"),
        ("labresults@master~" + "9" * 10_000, "goes back only 0 commits"),
        ("labresults@master" + "~9" * 10_000, "~90000: its history goes back only 0 commits"),
        ("labresults@master" + "~" * 10_000, "~10000: its history goes back only 0 commits"),
        ("labresults:b", "labresults@master:b: the commit has no such file or folder"),
    ],
)
def test_a_missing_repo_branch_ancestor_or_file_exits_with_66(worker, ref, says):
    """The message names the ref and what is missing."""
    done = worker("ls", ref)

    assert says in done.err
    assert (66, "") == (done.status, done.out)


def test_a_history_of_two_commits_goes_back_one_commit(worker, store):
    a_commit(store, {"a": b"2"})

    assert worker("ls", "labresults@master~2").err.endswith("goes back only 1 commit\n")


def test_an_invalid_ref_exits_with_64(worker):
    """The message shows the syntax of a ref."""
    done = worker("ls", "a/b/c")

    assert "expected [project/]repo[@branch-or-commit]" in done.err
    assert 64 == done.status


def test_cat_writes_the_content_of_a_file(worker):
    """Standard output has nothing else."""
    done = worker("cat", "labresults:README.txt")

    assert (0, "hello\n", "") == (done.status, done.out, done.err)


def test_cat_of_an_empty_file_writes_nothing(worker):
    """An empty file is no error."""
    done = worker("cat", "labresults:a/c/e")

    assert (0, "", "") == (done.status, done.out, done.err)


def test_cat_requires_a_path(worker):
    """A ref without a path names no file."""
    done = worker("cat", "labresults")

    assert "has no path; expected REF:PATH" in done.err
    assert 64 == done.status


def test_keys_cannot_drive_the_terminal(worker, store):
    """Control characters in a key are escaped."""
    a_commit(store, {"a\x1b]0;title\x07\n": b""}, repo="odd")

    assert ["a\\x1b]0;title\\x07\\n"] == keys(worker("ls", "odd"))


@pytest.mark.parametrize("command", ["cat", "show"])
def test_a_folder_in_place_of_a_file_is_named(worker, store, command):
    a_commit(store, {"below/a": b"1", "x y/a": b"1"})

    for path, shown in (
        ("below", "labresults@master:below"),
        ("below/", "labresults@master:below/"),
        ("x y", "'labresults@master:x y'"),
    ):
        done = worker(command, f"labresults:{path}")

        assert 64 == done.status
        assert f"labresults@master:{path} is a folder; `worker ls {shown}`" in done.err


def test_an_abbreviated_id_names_its_commit(worker, store):
    """Unless it is that of several commits, or the name of a branch."""
    a_commit(store, {"a": b"1"}, named="abcd0000000000000000000000000001")
    a_commit(store, {"b": b"1"}, named="abcd1111111111111111111111111112")
    a_commit(store, {"c": b"1"}, branch="abcd1")

    assert "a\n" == worker("ls", "labresults@abcd0").out[-2:]
    assert "c\n" == worker("ls", "labresults@abcd1").out[-2:]
    ambiguous = worker("ls", "labresults@abcd")
    assert 64 == ambiguous.status
    assert "several commits have this id: labresults@abcd0000" in ambiguous.err
    assert 66 == worker("ls", "labresults@abcde").status
