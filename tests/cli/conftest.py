"""The command line in this process, on a store in a temporary directory."""

import attrs
import pytest

from worker.cli.app import call
from worker.store.opening import open_store


@attrs.frozen
class Completed:
    """The exit status and output of a command line."""

    status: int
    out: str
    err: str


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The directory of the store. No configuration of this machine applies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WORKER_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("WORKER_LOG_FORMAT", "console")
    return tmp_path / "store"


@pytest.fixture
def store(place):
    """The store that the command line uses."""
    return open_store(place)


@pytest.fixture
def worker(place, capsys):  # noqa: ARG001 - it sets the environment
    """A function that runs ``worker`` with the given arguments, in this process."""

    def run(*arguments):
        status = call([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Completed(status, captured.out, captured.err)

    return run
