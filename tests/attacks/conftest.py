"""Two gateways for all attacks: one that is open to anyone, one that takes signed requests only."""

from collections.abc import Iterator

import pytest
from attacks.family import Family, serving

from worker.gateway.messages import KeyPair

KEYS = KeyPair("AKIAJOB", "secret/of+the=job")


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """A gateway of two processes with ``labresults`` and ``out``, open to anyone."""
    with serving(tmp_path_factory.mktemp("open")) as family:
        yield family


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """The same for those only who sign with ``KEYS``."""
    with serving(tmp_path_factory.mktemp("locked"), processes=1, keys=KEYS) as family:
        yield family
