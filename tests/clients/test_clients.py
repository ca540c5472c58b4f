"""The clients that the tests install anyway, each as the command of a real job.

The others need environments of their own: ``python tests/clients/matrix.py`` has all of them.
"""

from pathlib import Path

import attrs
import pytest
from clients import scene
from clients.environments import Here
from clients.rows import MODES, ROWS, Mode, Row
from clients.running import Place, run

HERE = {"aws-1": "awscli", "boto3": "boto3", "obstore": "obstore"}
"""By row: the package that is installed beside the worker."""
PLACED = [attrs.evolve(row, needs=Here(HERE[row.name])) for row in ROWS if row.name in HERE]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One store and one input for all jobs."""
    place = Place.below(tmp_path_factory.mktemp("clients"))
    scene.make(place.input)
    return place


@pytest.mark.parametrize("mode", [MODES[0], MODES[-1]], ids=lambda mode: mode.name)
@pytest.mark.parametrize("row", PLACED, ids=lambda row: row.name)
def test_a_client_works_on_its_defaults(row: Row, mode: Mode, place: Place, tmp_path: Path):
    """It does what its users do, with no flag, and the output commit is what it wrote."""
    outcome = run(row, row.needs.prepare(tmp_path), mode, place)

    assert "" == outcome.reason
