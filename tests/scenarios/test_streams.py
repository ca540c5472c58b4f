"""Standard input as a document or a file, and signals while it is read."""

import json
import signal
import subprocess

from builders import a_commit, a_job
from scenarios.sites import files_of


def test_a_document_can_be_standard_input(site):
    """The command has its own."""
    a_commit(site.open(), {"a.txt": b"1"})

    done = site.worker(
        "run", "--job", "-", given=json.dumps(a_job("echo x | aws s3 cp - s3://out/x"))
    )

    assert 0 == done.status, done.err
    assert "x\n" == site.worker("cat", "copy:x").out


def test_sigterm_during_a_put_leaves_nothing(site):
    """Exit status 75; no commit and no blob."""
    process = site.start("put", "labresults:big.bin", "-", stdin=subprocess.PIPE)
    process.stdin.write("x" * (16 << 20))
    process.stdin.flush()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    assert "worker: stopped by SIGTERM" in err
    assert 75 == process.returncode
    backend = site.open().backend
    assert [] == [*backend.list_from("blobs/"), *backend.list_from("repos/")]


def test_put_and_get_round_trip(site, labresults, tmp_path):
    """Also as a tar."""

    assert 0 == site.worker("put", "labresults", labresults).status
    assert 0 == site.worker("get", "labresults", tmp_path / "got").status

    assert files_of(labresults) == files_of(tmp_path / "got")
