"""Standard input as a document or a file, and signals while it is read."""

import json
import signal
import subprocess

from builders import a_commit, a_job
from scenarios.machines import files_of


def test_a_document_comes_from_standard_input(site):
    """`worker run --job -` reads the document, and the command has its own standard input."""
    a_commit(site.open(), {"a.txt": b"1"})

    said = site.worker(
        "run", "--job", "-", given=json.dumps(a_job("echo x | aws s3 cp - s3://out/x"))
    )

    assert 0 == said.status, said.err
    assert "x\n" == site.worker("cat", "copy:x").out


def test_a_put_that_is_stopped_leaves_nothing(site):
    """SIGTERM in the middle of a stream: exit 75, no commit, no blobs."""
    process = site.start("put", "labresults:big.bin", "-", stdin=subprocess.PIPE)
    process.stdin.write("x" * (16 << 20))
    process.stdin.flush()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    assert "worker: stopped by SIGTERM" in err
    assert 75 == process.returncode
    backend = site.open().backend
    assert [] == [*backend.list_from("blobs/"), *backend.list_from("repos/")]


def test_a_file_goes_in_and_comes_out(site, labresults, tmp_path):
    """`put` and `get` of the whole folder give the same bytes, and a tar holds them too."""

    assert 0 == site.worker("put", "labresults", labresults).status
    assert 0 == site.worker("get", "labresults", tmp_path / "got").status

    assert files_of(labresults) == files_of(tmp_path / "got")
