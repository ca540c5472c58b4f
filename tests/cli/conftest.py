"""The command line in this process: a store in a directory, and a way to call ``worker``."""

import attrs
import pytest

from worker.cli.app import call
from worker.store.repository import open_store


@attrs.frozen
class Said:
    """What a command line answered."""

    status: int
    out: str
    err: str


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The directory of the store; no setting of this machine plays a part."""
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
def worker(place, capsys):  # noqa: ARG001
    """A function that calls ``worker`` with these arguments, in this process."""

    def run(*arguments):
        status = call([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return run
