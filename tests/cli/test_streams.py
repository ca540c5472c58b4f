"""Commands with unusual standard streams and working directories."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
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


@pytest.fixture
def unread(store, place, tmp_path):
    """A function that starts a run of a line of shell, whose log is full and has no reader.

    It returns the process and the path of its result.
    """
    a_commit(store, {"a": b""})
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 4096)
    os.set_blocking(write_end, True)
    started = []

    def start(line):
        document = {
            "pipeline": {"name": "p"},
            "input": {"pfs": {"repo": "labresults", "glob": "/", "s3": True}},
            "transform": {"cmd": ["sh", "-c", line]},
            "datumTries": 1,
            "s3Out": True,
        }
        (tmp_path / "job.json").write_text(json.dumps(document))
        result = tmp_path / "result.json"
        options = ["--job", str(tmp_path / "job.json"), "--result", str(result)]
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run", *options],
            stderr=write_end,
            cwd=place.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process, result

    yield start
    for process in started:
        process.kill()
        process.wait()
    os.close(write_end)
    os.close(read_end)


def _wait(condition, process):
    while not condition():
        assert process.poll() is None
        time.sleep(0.05)


def test_a_signal_stops_a_run_whose_log_has_no_reader(unread, tmp_path):
    """As with a pager that waits for its user."""
    started = tmp_path / "started"
    process, result = unread(f"touch {started}; yes")
    _wait(started.exists, process)

    process.send_signal(signal.SIGTERM)

    assert 75 == process.wait(timeout=60)
    assert "stopped" == json.loads(result.read_text())["cause"]


def test_a_signal_ends_the_wait_for_the_reader_of_the_log_and_keeps_the_result(unread):
    """The exit status is that of the run, which has ended before."""
    process, result = unread("exit 3")
    _wait(lambda: result.exists() and json.loads(result.read_text())["cause"], process)

    while process.poll() is None:
        # It has no effect before the status is decided.
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)

    assert (10, "command failed") == (process.returncode, json.loads(result.read_text())["cause"])


def test_a_removed_working_directory_exits_with_66(shell):
    """The message names the working directory."""
    found = shell("mkdir gone && cd gone && rmdir ../gone && $WORKER repos")

    assert 66 == found.returncode
    assert b"the working directory" in found.stderr
