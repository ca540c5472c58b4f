"""A store that fails while the command runs: the cause of the job is the store, not its command."""

import json

import pytest
from builders import a_commit, a_job

READ = "curl -sf -o got $S3_ENDPOINT/labresults/a"
WRITE = "head -c 300000 /dev/zero | curl -sf -T - $S3_ENDPOINT/out/a"
DATA = b"small"


@pytest.fixture
def run(site):
    """Return a function that runs a job of these lines, and returns its result."""
    a_commit(site.open(), {"a": DATA})

    def run(*lines, **changes):
        job = a_job(*lines, **{"datumTries": 1, **changes})
        done = site.worker("run", "--job", site.job(job), "--json", STORE=site.store)
        result = json.loads(done.out)
        assert done.status == result["exit_code"], done.err[-2000:]
        return result

    return run


@pytest.fixture
def lose(site):
    """Lines that replace the store by a file, and put it back."""
    store, kept = site.store, f"{site.store}.kept"
    return f"mv {store} {kept}; : > {store}", f"rm {store}; mv {kept} {store}"


@pytest.mark.parametrize("request_line", [READ, WRITE], ids=["read", "write"])
def test_a_command_that_fails_without_the_store_is_unavailable(run, site, lose, request_line):
    """Exit status 69: the job is worth a retry, whatever the exit code of the command."""
    away, back = lose

    result = run(away, f"{request_line} || {{ {back}; exit 22; }}")

    assert (69, "unavailable", True) == (
        result["exit_code"],
        result["cause"],
        result["worth_a_retry"],
    )
    reason = result["reason"]
    assert reason.startswith(f"the store {site.store} failed a request of the command: "), reason
    assert reason.endswith("; the command exited with code 22")


def test_a_command_that_fails_for_damaged_data_is_unavailable(run, site):
    store = site.open()
    name = next(listed.name for listed in store.backend.list_from("blobs/"))
    store.backend.put(name, b"2" + store.backend.get(name)[1:])

    result = run(READ)

    assert (69, "unavailable") == (result["exit_code"], result["cause"])
    assert name in result["reason"]


def test_a_store_that_is_back_is_not_the_cause(run, lose):
    """The last try counts."""
    away, back = lose
    first = f"if [ ! -e ../tried ]; then : > ../tried; {away}; {READ} || {{ {back}; exit 22; }}; fi"

    result = run(first, READ, "exit 3", datumTries=2)

    assert (10, "command failed", 3) == (
        result["exit_code"],
        result["cause"],
        result["command_code"],
    )
    assert 2 == result["datums"][0]["tries"]


def test_an_error_command_does_not_recover_from_a_lost_store(run, lose):
    """The output would be empty, although the command was not at fault."""
    away, back = lose
    job = a_job(away, f"{READ} || {{ {back}; exit 22; }}")
    job["transform"]["errCmd"] = ["true"]

    result = run(transform=job["transform"])

    assert (69, "failure") == (result["exit_code"], result["datums"][0]["state"])


def test_errors_of_the_command_are_not_those_of_the_store(run):
    """A missing key, a write to an input and an operation that does not exist."""
    result = run(
        "curl -s $S3_ENDPOINT/labresults/missing",
        "curl -s -T - $S3_ENDPOINT/labresults/a < /dev/null",
        "curl -s $S3_ENDPOINT/out?torrent",
        "exit 3",
    )

    assert (10, "command failed") == (result["exit_code"], result["cause"])
