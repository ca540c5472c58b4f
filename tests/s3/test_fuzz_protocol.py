"""A short run of the protocol fuzzer; ``fuzz_protocol.py`` runs longer."""

import pytest
from s3.fuzz_protocol import Fuzzer


@pytest.mark.parametrize("seed", range(5))
def test_mutated_input_is_accepted_or_rejected_with_an_s3_error(seed):
    fuzzer = Fuzzer(seed)
    for _ in range(100):
        fuzzer.round()

    assert fuzzer.outcomes["request accepted"]
    assert fuzzer.outcomes["request rejected"]
