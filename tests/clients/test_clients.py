"""The clients that the tests install anyway, each as the command of a real job.

The others need environments of their own: ``python tests/clients/matrix.py`` has all of them.
"""

from pathlib import Path

import attrs
import pytest
from clients import scene
from clients.environments import Here
from clients.rows import MODES, ROWS
from clients.running import Place, run

ROW = {row.name: row for row in ROWS}
MODE = {mode.name: mode for mode in MODES}
CASES = (
    ("aws-1", "awscli", "http"),
    ("boto3", "boto3", "http"),
    ("boto3", "boto3", "https+sigv4"),
    ("obstore", "obstore", "https+sigv4"),
)
"""A row, the package that is installed beside the worker, and how the gateway is served."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One store and one input for all jobs."""
    place = Place.below(tmp_path_factory.mktemp("clients"))
    scene.make(place.input)
    return place


@pytest.mark.parametrize(("name", "package", "mode"), CASES)
def test_a_client_works_on_its_defaults(
    name: str, package: str, mode: str, place: Place, tmp_path: Path
):
    """It does what its users do, with no flag, and the output commit is what it wrote."""
    row = attrs.evolve(ROW[name], needs=Here(package))
    outcome = run(row, row.needs.prepare(tmp_path), MODE[mode], place)

    assert "" == outcome.reason
