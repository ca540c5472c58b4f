"""A short run of the gateway fuzzer; ``fuzz.py`` runs longer."""

import pytest
from attacks.fuzz import fuzz


@pytest.mark.timeout(120)
def test_mutated_requests_have_valid_responses():
    assert [] == fuzz(seconds=3, seed=1, clients=1)
