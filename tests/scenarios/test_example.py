"""The example of the README: the AWS CLI copies a folder through a job."""

import json
import shutil
from pathlib import Path

import pytest
from builders import a_commit
from scenarios.sites import EXAMPLES, files_of

VERBATIM = Path(__file__).parent / "verbatim.json"
FIXED_FOLDER = Path("/tmp/result")


def test_the_example_copies_every_file(site, labresults, tmp_path):
    """The output has the same bytes and its provenance."""
    done = site.worker(
        "run",
        "--job",
        EXAMPLES / "labresults.json",
        "--input",
        f"labresults={labresults}",
        "--result",
        "result.json",
    )
    assert 0 == done.status, done.err
    output = done.out.strip()
    assert output.startswith("s3_protocol_enabled_pipeline@")

    assert 0 == site.worker("get", output, tmp_path / "got").status
    expected = files_of(labresults)
    assert expected == files_of(tmp_path / "got")

    result = json.loads((tmp_path / "result.json").read_text())
    assert (output, 0, "success") == (result["output"], result["exit_code"], result["state"])
    assert [] == site.left_over()

    check_provenance(site, output)
    check_second_run(site, labresults)


def test_the_folder_of_the_example_covers_pages_parts_and_unusual_names(labresults):
    found = files_of(labresults)

    assert len(found) >= 1200
    assert max(map(len, found.values())) > 9 * 1024 * 1024
    assert any(" " in name for name in found)
    assert any(not name.isascii() for name in found)


def check_provenance(site, output):
    """`worker show` names input, pipeline, command and job."""
    found = json.loads(site.worker("show", "--json", output).out)
    size = sum(entry.size for entry in site.open().tree(site.open().resolve(output)).entries())
    job = found["job"]
    assert str(site.open().resolve("labresults").name) == found["inputs"][0]["commit"]
    assert ("s3_protocol_enabled_pipeline", ["sh"]) == (job["pipeline"], job["command"])
    assert output.partition("@")[2] == job["id"]
    assert size == job["buckets"]["labresults"]["bytes_read"]
    assert size == job["buckets"]["out"]["bytes_written"]

    text = site.worker("show", output).out
    for part in (found["inputs"][0]["commit"], job["id"], "aws --endpoint-url", str(size)):
        assert part in text
    assert output in site.worker("show", "labresults").out.partition("Derived commits")[2]


def check_second_run(site, labresults):
    """The same folder makes no new input commit, and the output has the same digest."""
    before = site.open().resolve("labresults").name
    first = site.open().resolve("s3_protocol_enabled_pipeline")

    done = site.worker(
        "run", "--job", EXAMPLES / "labresults.json", "--input", f"labresults={labresults}"
    )

    assert 0 == done.status, done.err
    assert before == site.open().resolve("labresults").name
    second = site.open().resolve("s3_protocol_enabled_pipeline")
    assert first.digest == second.digest
    assert first.name.id == second.parent


@pytest.fixture
def fixed_folder():
    """The folder that the spec names by its path; an existing one is not used."""
    if FIXED_FOLDER.exists():
        pytest.skip(f"{FIXED_FOLDER} is there already")
    yield FIXED_FOLDER
    shutil.rmtree(FIXED_FOLDER, ignore_errors=True)


@pytest.mark.usefixtures("fixed_folder")
def test_a_spec_of_pachyderm_runs_unchanged(site):
    """The S3 example of Pachyderm's documentation."""
    a_commit(site.open(), {"a.csv": b"1", "below/b c.csv": b"2"})

    done = site.worker("run", "--job", VERBATIM)

    assert 0 == done.status, done.err
    store = site.open()
    output = store.resolve("s3_protocol_enabled_pipeline")
    assert ["a.csv", "below/b c.csv"] == [entry.key for entry in store.tree(output).entries()]
