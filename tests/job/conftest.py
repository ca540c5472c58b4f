"""Fixtures: a store, a log, and requests to run a job."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from worker.config import Address, Config, GatewayConfig
from worker.job.run import RunRequest
from worker.spec.parse import parse
from worker.store.opening import open_store
from worker.store.repository import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def logged() -> LogCapture:
    return LogCapture()


@pytest.fixture
def log(logged: LogCapture) -> Any:
    return structlog.wrap_logger(
        None, processors=[logged], wrapper_class=structlog.make_filtering_bound_logger(0)
    )


@pytest.fixture
def a_request(tmp_path: Path, store: Store) -> Callable[..., RunRequest]:
    """Return a request to run a document on the store, with its folders below tmp_path."""

    def make(document: dict[str, Any], **settings: Any) -> RunRequest:
        import json

        return RunRequest(
            spec=parse(json.dumps(document)),
            config=Config(
                store=Address(store.url),
                scratch=tmp_path / "scratch",
                gateway=GatewayConfig(processes=1),
                **{"grace": 5.0, "pfs_root": tmp_path / "pfs", **settings},
            ),
            environment=dict(os.environ),
        )

    return make
