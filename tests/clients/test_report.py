"""The table of clients and the results stored for it."""

import re

import pytest
from clients.catalog import CLIENTS, SCRIPTS
from clients.report import Row, load, page, save
from clients.variables import HINTS

STORED = Row("s3fs", "1.2", jobs={"http": "", "https": "why"}, variables={"": True, "AWS_X": True})


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_client_has_its_script(client):
    """The command names a file in the folder of the scripts."""
    names = [word.removeprefix("{scripts}/") for word in client.command if "{scripts}" in word]

    assert [True] == [(SCRIPTS / name).is_file() for name in names]


def test_a_job_sets_the_variables_of_every_client_and_no_others():
    """Such as that by which rclone lists any key as it is."""
    assert HINTS == {name for client in CLIENTS for name in client.variables}
    assert "RCLONE_CONFIG_JOB_LIST_URL_ENCODE" in HINTS


def script_of(client):
    """Return all text that the client's command runs, on one line and without f-strings."""
    name = next(word for word in client.command if "{scripts}" in word).rpartition("/")[2]
    words = " ".join(word for word in client.command if "{scripts}" not in word)
    text = f"{words}\n{(SCRIPTS / name).read_text('utf-8')}"
    return re.sub(r"\s+", " ", text).replace('f"', '"')


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_code_of_the_page_is_that_of_the_script(client):
    """What the page promises is what has passed, also for the constructor without arguments."""
    # Flags of the command are passed to the script, which has them before the subcommand.
    opens = client.opens.replace(' --endpoint-url "$S3_ENDPOINT"', "")
    parts = [re.escape(part) for part in opens.split("…")]

    assert re.search(".{0,200}?".join(parts), script_of(client)), client.opens
    if opens != client.opens:
        assert '--endpoint-url "$S3_ENDPOINT"' in script_of(client)


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

    assert "| s3fs | 1.2 | `s3fs.S3FileSystem()` | passed | failed | not run | not run |  |" in text
    assert "go is not on the PATH" in text
    assert "| `AWS_X` | s3fs |" in text
