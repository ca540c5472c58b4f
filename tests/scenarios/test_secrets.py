"""Secrets of a job are in no line that any process of the worker writes."""

import json

import pytest
from builders import a_commit, a_job, an_input

SECRET = 'hünter/"22"'
TOKEN = "tok-3n-value"


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_line_of_a_debug_log_has_a_secret(site, format_):
    """The command line, the output and what the command leaves running are redacted."""
    a_commit(site.open(), {"a": b"1"})
    job = a_job(
        "echo \"plain $PW\"; env; exec 3>&1; sh -c 'sleep 60; : ' $API_TOKEN & sleep 0.2; exit 3",
        inputs=(an_input(),),
        datumTries=1,
    )
    job["transform"] |= {"debug": True, "cmd": ["sh", "-s", TOKEN]}
    job["transform"]["secrets"] = [{"name": "db", "key": "password", "envVar": "PW"}]
    job["transform"]["env"] = {"API_TOKEN": TOKEN, "HARMLESS": "shown"}
    done = site.worker(
        "run", "--job", site.job(job), "--log-level", "debug", "--log-format", format_,
        "--auth", "sigv4", "--result", "r.json", WORKER_SECRET_DB_PASSWORD=SECRET,
    )  # fmt: skip
    result = (site.root / "r.json").read_text()

    assert 10 == done.status, done.err
    assert "command.starting" in done.err
    assert "shown" in done.err
    for secret in (SECRET, json.dumps(SECRET)[1:-1], TOKEN):
        assert secret not in done.err + done.out + result


def test_no_line_of_a_gateway_process_has_a_secret(site):
    """A gateway process redacts the secrets of the job, such as a key in a failed request."""
    a_commit(site.open(), {TOKEN: b"lost"})
    blobs = [path for path in (site.root / "store" / "blobs").rglob("*") if path.is_file()]
    for blob in blobs:
        blob.unlink()
    job = a_job("curl -s $S3_ENDPOINT/labresults/$API_TOKEN", inputs=(an_input(),), datumTries=1)
    job["transform"]["env"] = {"API_TOKEN": TOKEN}

    done = site.worker("run", "--job", site.job(job), "--log-format", "json")

    failed = [event for event in done.events if event["event"] == "gateway.failed"]
    assert "/labresults/***" == failed[0]["resource"]
    assert TOKEN not in done.err + done.out
