"""Options of the test suite, signals as on a terminal, and isolation of the log between tests."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from worker import redaction
from worker.redaction import Redactor


def pytest_addoption(parser):
    """Choose how much is tried in ``tests/faults``, and on which server."""
    parser.addoption("--exhaustive", action="store_true", help="inject every fault everywhere")
    parser.addoption("--server", default="moto", help="moto, minio or versitygw")


def pytest_configure():
    """Set no deadline for examples of Hypothesis; receive signals that the parent has ignored."""
    # The machine may be busy; pytest-timeout ends a test that hangs.
    settings.register_profile("worker", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("worker")
    # A shell ignores SIGINT and SIGQUIT in a background job, and nohup ignores SIGHUP.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_registered_secrets(monkeypatch):
    """Redact nothing that another test has registered as secret."""
    monkeypatch.setattr(redaction._Secrets, "values", frozenset())
    monkeypatch.setattr(redaction._Secrets, "redactor", Redactor(()))


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that every user can reach.

    The folders of ``tmp_path`` are closed to other users, also again by other runs of pytest.
    """
    with tempfile.TemporaryDirectory(prefix="worker-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder).resolve()
