"""Fixtures: gateways in the process of the test, and a certificate."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from gateways import Running, a_plan, self_signed, serving

from worker.gateway.messages import Certificate, KeyPair


@pytest.fixture
async def gateway(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Running]:
    """A gateway without authentication, with the input ``labresults`` and an empty ``out``."""
    running = await serving(a_plan(tmp_path), nursery)
    yield running
    running.index.close()


@pytest.fixture
async def locked(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Running]:
    """The same with authentication, by the key pair ``AKIAJOB`` and ``secret``."""
    running = await serving(a_plan(tmp_path, keys=KeyPair("AKIAJOB", "secret")), nursery)
    yield running
    running.index.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """A certificate for 127.0.0.1 signed by itself."""
    return self_signed(tmp_path)
