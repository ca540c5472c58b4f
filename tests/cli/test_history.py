"""``log``, ``show`` and ``repos``: commits, their provenance, and branches."""

import json

import attrs
import click
import pytest
from builders import a_commit, an_id

from worker.cli import terminal as output
from worker.model import BranchName, CommitName, InputRecord, Repo


@pytest.fixture
def history(store):
    """An input with two commits, and an output made from the second."""
    first = a_commit(store, {"a": b"1"})
    second = a_commit(store, {"a": b"1", "b": b"22"})
    record = InputRecord("labresults", second.name, branch="master", s3=True)
    output = a_commit(
        store,
        {"r": b"333"},
        repo="copy",
        inputs=(record,),
        job={"id": "f" * 32, "command": ["sh"]},
    )
    return first, second, output


def test_log_lists_the_newest_commit_first(worker, history):
    """A branch has all commits that have been its head."""
    first, second, _ = history

    done = worker("log", "labresults")

    assert [second.name.id, first.name.id] == [
        line.split("\t")[0] for line in done.out.splitlines()
    ]


def test_log_number_limits_the_list(worker, history):
    """``-n 1`` lists one commit."""
    done = worker("log", "--json", "-n", "1", "labresults")

    assert [str(history[1].name)] == [json.loads(line)["name"] for line in done.out.splitlines()]


@pytest.mark.usefixtures("history")
def test_log_rejects_a_path(worker):
    """It lists all commits of the branch, not those that change a file."""
    done = worker("log", "labresults:b")

    assert (64, "") == (done.status, done.out)
    assert "labresults:b has a path" in done.err


def test_show_prints_the_provenance_of_an_output(worker, history):
    """It has the input commit, its branch, and the job."""
    done = worker("show", "copy")

    assert f"labresults\t{history[1].name}\tmaster\tbucket\n" in done.out
    assert "f" * 32 in done.out


def test_show_lists_the_commits_made_from_a_commit(worker, history):
    """Provenance can be followed in both directions."""
    done = worker("show", f"labresults@{history[1].name.id}")
    before = worker("show", "labresults^")

    assert done.out.endswith(f"Derived commits\n{history[2].name}\n")
    assert before.out.endswith("Derived commits\nnone\n")


def test_show_json_prints_the_whole_commit(worker, history):
    """Names of commits are refs."""
    found = json.loads(worker("show", "--json", "copy").out)

    assert str(history[2].name) == found["name"]
    assert str(history[1].name) == found["inputs"][0]["commit"]
    assert {"id": "f" * 32, "command": ["sh"]} == found["job"]
    assert [] == found["made_from_it"]


@pytest.mark.usefixtures("history")
def test_show_with_a_path_prints_a_file(worker):
    """The file has its key and size."""
    found = json.loads(worker("show", "--json", "labresults:b").out)

    assert ("b", 2) == (found["key"], found["size"])
    assert "size" in worker("show", "labresults:b").out


@pytest.mark.usefixtures("history")
def test_repos_lists_each_branch_with_its_head(worker):
    """Each branch of each repo is one object."""
    found = [json.loads(line) for line in worker("repos", "--json").out.splitlines()]

    assert [("copy", "master", 1, 3), ("labresults", "master", 2, 3)] == [
        (each["repo"], each["branch"], each["files"], each["size"]) for each in found
    ]


def test_repos_of_a_missing_store_is_empty(worker):
    """A store that does not exist yet is no error, and is not created."""
    done = worker("repos")

    assert (0, "") == (done.status, done.out)


@pytest.mark.usefixtures("history")
def test_show_names_no_branch_of_the_kept_output_of_a_failed_job(worker, store):
    """It was made for a branch, and is on none."""
    kept = attrs.evolve(
        store.commit(store.head(BranchName(Repo("default", "copy"))).commit),
        name=CommitName(Repo("default", "copy"), an_id()),
        job={"id": "e" * 32, "state": "failure", "command": ["sh"]},
    )
    store.add_commit(kept)

    shown = worker("show", str(kept.name)).out
    found = json.loads(worker("show", "--json", str(kept.name)).out)

    assert "none: the kept output of a failed job" in shown
    assert "master" not in next(line for line in shown.splitlines() if line.startswith("branch"))
    assert found["branch"] is None


@pytest.mark.parametrize("on_terminal", [False, True], ids=["pipe", "terminal"])
def test_repos_says_that_a_mistyped_store_does_not_exist(
    worker, tmp_path, monkeypatch, on_terminal
):
    monkeypatch.setattr(output, "on_terminal", lambda: on_terminal)
    done = worker("repos", "--store", str(tmp_path / "mistyped"))

    assert 0 == done.status
    said = f"{tmp_path}/mistyped does not exist; the first `worker put` or job creates it"
    assert 1 == done.err.count(said)


LONG = "a_repo_with_a_name_that_is_long@a_branch"


@pytest.mark.parametrize("arguments", [("repos",), ("log", LONG)], ids=["repos", "log"])
def test_a_list_fits_the_80_columns_of_a_terminal(worker, tmp_path, monkeypatch, arguments):
    """So that no name and no id is wrapped."""
    (tmp_path / "a.txt").write_bytes(b"1" * 2000)
    message = "a message that is longer than a line " * 3
    put = worker("put", LONG, tmp_path / "a.txt", "-m", message)
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")

    lines = click.unstyle(worker(*arguments).out).splitlines()

    assert all(len(line) <= 80 for line in lines)
    shown = put.out.strip().partition("@")[2][:12] if arguments[0] == "log" else LONG.split("@")[0]
    assert shown in lines[1].split()
