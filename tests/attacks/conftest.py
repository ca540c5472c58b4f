"""Fixtures: a gateway without authentication, and one with; and the command line."""

from collections.abc import Iterator

import pytest
from attacks.running_gateway import RunningGateway, serving
from cli.conftest import place, store, worker  # noqa: F401 - fixtures of these tests too

from worker.gateway.messages import KeyPair

KEYS = KeyPair("AKIAJOB", "secret/of+the=job")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway of two processes with ``labresults`` and ``out``, without authentication."""
    with serving(tmp_path_factory.mktemp("open")) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def signed_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The same with authentication by ``KEYS``."""
    with serving(tmp_path_factory.mktemp("signed_gateway"), processes=1, keys=KEYS) as gateway:
        yield gateway
