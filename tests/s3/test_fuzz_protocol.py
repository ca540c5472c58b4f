"""The fuzzing of the protocol, for a moment; ``fuzz_protocol.py`` runs it for as long as wanted."""

import pytest
from s3.fuzz_protocol import Fuzzer


@pytest.mark.parametrize("seed", range(5))
def test_nothing_but_answers(seed):
    """Of a hundred wrong requests, bodies and documents each is answered or refused."""
    fuzzer = Fuzzer(seed)
    for _ in range(100):
        fuzzer.round()

    assert fuzzer.outcomes["request taken"]
    assert fuzzer.outcomes["request refused"]
