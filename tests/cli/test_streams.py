"""Commands with unusual standard streams and working directories."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_commit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shell(place):
    """A function that runs a line of shell in which ``$WORKER`` is the command."""

    def run(line, **environment):
        return subprocess.run(
            ["sh", "-c", line],
            capture_output=True,
            check=False,
            cwd=place.parent,
            env={
                **os.environ,
                "WORKER": f"{sys.executable} -m worker",
                "PYTHONPATH": str(ROOT),
                **environment,
            },
        )

    return run


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_standard_streams_are_replaced(shell, store, tmp_path, closed):
    """No file of the store gets the descriptor of a standard stream."""
    (tmp_path / "a").write_bytes(b"1")
    found = shell(f"$WORKER put labresults:a a {closed}")

    assert (0, b"") == (found.returncode, found.stderr)
    entry = store.tree(store.resolve("labresults")).entry("a")
    assert b"1" == store.backend.get(f"blobs/{entry.extents[0].blob}")


def test_a_key_is_printable_in_any_encoding(shell, store):
    """Characters that the encoding lacks are escaped."""
    a_commit(store, {"é": b""})
    found = shell("$WORKER ls labresults", PYTHONIOENCODING="ascii")

    assert (0, True) == (found.returncode, found.stdout.endswith(b"\t\\xe9\n")), found.stderr


def test_a_signal_stops_a_command_that_waits_for_the_store(place):
    """A store that accepts connections and never responds does not delay the exit for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = f"endpoint={endpoint},region=r,access_key_id=a,secret_access_key=b,timeout=60s"
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "repos", "--store", "s3://bucket"],
            stderr=subprocess.PIPE,
            cwd=place.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), "WORKER_STORE_OPTIONS": options},
        )
        silent.accept()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert (75, True) == (process.returncode, err.lstrip().startswith(b"worker: stopped"))


def test_a_removed_working_directory_exits_with_66(shell):
    """The message names the working directory."""
    found = shell("mkdir gone && cd gone && rmdir ../gone && $WORKER repos")

    assert 66 == found.returncode
    assert b"the working directory" in found.stderr
