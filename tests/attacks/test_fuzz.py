"""The fuzzing of a gateway, for a moment; ``fuzz.py`` runs it for as long as wanted."""

import pytest
from attacks.fuzz import fuzz


@pytest.mark.timeout(120)
def test_nothing_but_answers():
    """Of what is sent wrongly for three seconds, all is answered as it should be."""
    assert [] == fuzz(seconds=3, seed=1, clients=1)
