"""Gateways to ask: one that is open to all, one that wants signatures."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from gateways import Running, a_plan, serving

from worker.gateway.messages import KeyPair


@pytest.fixture
async def gateway(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Running]:
    """A gateway in this process, with ``labresults`` and an empty ``out``; anyone may use it."""
    running = await serving(a_plan(tmp_path), nursery)
    yield running
    running.index.close()


@pytest.fixture
async def locked(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Running]:
    """The same, for those only who sign with the key pair ``AKIA…`` and ``secret``."""
    running = await serving(a_plan(tmp_path, keys=KeyPair("AKIAJOB", "secret")), nursery)
    yield running
    running.index.close()
