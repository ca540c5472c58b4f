"""The table of clients and the results stored for it."""

import pytest
from clients.catalog import CLIENTS, SCRIPTS
from clients.report import Row, load, page, save

STORED = Row("s3fs", "1.2", jobs={"http": "", "https": "why"}, variables={"": True, "AWS_X": True})


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_client_has_its_script(client):
    """The command names a file in the folder of the scripts."""
    names = [word.removeprefix("{scripts}/") for word in client.command if "{scripts}" in word]

    assert [True] == [(SCRIPTS / name).is_file() for name in names]


def test_results_of_the_same_version_are_merged(tmp_path):
    """One run may use http, and the next one https."""
    save(tmp_path, STORED)
    save(tmp_path, Row("s3fs", "1.2", jobs={"https": ""}))

    assert {"http": "", "https": ""} == load(tmp_path, "s3fs").jobs
    assert STORED.variables == load(tmp_path, "s3fs").variables


def test_results_of_another_version_are_replaced(tmp_path):
    """Results of an earlier version do not apply."""
    save(tmp_path, STORED)
    save(tmp_path, Row("s3fs", "1.3", jobs={"https": ""}))

    assert {"https": ""} == load(tmp_path, "s3fs").jobs


def test_the_page_shows_failed_and_missing_jobs():
    """It has a cell for every mode, and the clients of each variable."""
    text = page([STORED, Row("mc", skipped="go is not on the PATH")])

    assert "| s3fs | 1.2 | passed | failed | not run | not run |  |" in text
    assert "go is not on the PATH" in text
    assert "| `AWS_X` | s3fs |" in text
