"""The clients that are installed with the tests, each as the command of a job.

``python tests/clients/matrix.py`` runs the others, which need environments of their own.
"""

from pathlib import Path

import attrs
import pytest
from clients import dataset
from clients.catalog import CLIENTS, MODES
from clients.environments import Beside
from clients.jobs import Site, run

CLIENT = {client.name: client for client in CLIENTS}
MODE = {mode.name: mode for mode in MODES}
CASES = (
    ("aws-1", "awscli", "http"),
    ("boto3", "boto3", "http"),
    ("boto3", "boto3", "https+sigv4"),
    ("obstore", "obstore", "https+sigv4"),
)
"""A client, its package in the test environment, and a mode of the gateway."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return the folders that all jobs share."""
    site = Site.create(tmp_path_factory.mktemp("clients"))
    dataset.write(site.input)
    return site


@pytest.mark.parametrize(("name", "package", "mode"), CASES)
def test_a_client_works_without_flags(
    name: str, package: str, mode: str, site: Site, tmp_path: Path
):
    """Its usual operations succeed, and the output commit has what it wrote."""
    client = attrs.evolve(CLIENT[name], environment=Beside(package))
    result = run(client, client.environment.install(tmp_path), MODE[mode], site)

    assert "" == result.reason
