"""``log``, ``show`` and ``repos``: what was committed, when, from what, and what came of it."""

import json

import pytest
from builders import a_commit

from worker.model import InputRecord


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


def test_log_goes_back_by_parents(worker, history):
    """The newest commit of the branch comes first."""
    first, second, _ = history

    said = worker("log", "labresults")

    assert [second.name.id, first.name.id] == [
        line.split("\t")[0] for line in said.out.splitlines()
    ]


def test_log_stops_after_so_many(worker, history):
    """-n bounds the list."""
    said = worker("log", "--json", "-n", "1", "labresults")

    assert [str(history[1].name)] == [json.loads(line)["name"] for line in said.out.splitlines()]


def test_show_names_what_an_output_was_made_from(worker, history):
    """The input commit, its branch, and the job stand in the output."""
    said = worker("show", "copy")

    assert f"labresults\t{history[1].name}\tmaster\tbucket\n" in said.out
    assert "f" * 32 in said.out


def test_show_names_what_was_made_from_an_input(worker, history):
    """Provenance goes both ways."""
    said = worker("show", f"labresults@{history[1].name.id}")
    before = worker("show", "labresults^")

    assert said.out.endswith(f"Made from it\n{history[2].name}\n")
    assert before.out.endswith("Made from it\nnothing yet\n")


def test_show_in_json_is_the_whole_commit(worker, history):
    """Programs get all that the store knows, with names as refs."""
    found = json.loads(worker("show", "--json", "copy").out)

    assert str(history[2].name) == found["name"]
    assert str(history[1].name) == found["inputs"][0]["commit"]
    assert {"id": "f" * 32, "command": ["sh"]} == found["job"]
    assert [] == found["made_from_it"]


@pytest.mark.usefixtures("history")
def test_show_of_a_file_tells_its_facts(worker):
    """A ref with a path shows the file."""
    found = json.loads(worker("show", "--json", "labresults:b").out)

    assert ("b", 2) == (found["key"], found["size"])
    assert "size" in worker("show", "labresults:b").out


@pytest.mark.usefixtures("history")
def test_repos_lists_branches_with_their_heads(worker):
    """Each branch of each repo is a line."""
    found = [json.loads(line) for line in worker("repos", "--json").out.splitlines()]

    assert [("copy", "master", 1, 3), ("labresults", "master", 2, 3)] == [
        (each["repo"], each["branch"], each["files"], each["size"]) for each in found
    ]


def test_an_empty_store_has_no_repos(worker):
    """Looking into a store that is not there yet is no error and makes nothing."""
    said = worker("repos")

    assert (0, "") == (said.status, said.out)
