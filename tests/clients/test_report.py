"""The table of clients, and what is remembered for it."""

import pytest
from clients.report import Line, page, recall, remember
from clients.rows import ROWS, SCRIPTS

DONE = Line("s3fs", "1.2", jobs={"http": "", "https": "why"}, proofs={"": True, "AWS_X": True})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_its_script(row):
    """A row names a script that is there."""
    names = [word.removeprefix("{scripts}/") for word in row.command if "{scripts}" in word]

    assert [True] == [(SCRIPTS / name).is_file() for name in names]


def test_what_came_of_a_client_is_added_to_what_came_of_it_before(tmp_path):
    """One run may take http, and the next https, of the same version."""
    remember(tmp_path, DONE)
    remember(tmp_path, Line("s3fs", "1.2", jobs={"https": ""}))

    assert {"http": "", "https": ""} == recall(tmp_path, "s3fs").jobs
    assert DONE.proofs == recall(tmp_path, "s3fs").proofs


def test_another_version_begins_anew(tmp_path):
    """What came of one version says nothing of another."""
    remember(tmp_path, DONE)
    remember(tmp_path, Line("s3fs", "1.3", jobs={"https": ""}))

    assert {"https": ""} == recall(tmp_path, "s3fs").jobs


def test_the_page_says_what_is_red_and_what_was_not_run():
    """A reader sees every way of serving, and who reads which variable."""
    told = page([DONE, Line("mc", skipped="no Go here")])

    assert "| s3fs | 1.2 | green | red | not run | not run |  |" in told
    assert "no Go here" in told
    assert "| `AWS_X` | s3fs |" in told
