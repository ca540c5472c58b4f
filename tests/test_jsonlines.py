import itertools
import json
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import jsonlines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_values_survive_framing_wherever_the_stream_is_split(values, cuts):
    stream = b"".join(map(jsonlines.encode, values))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder: jsonlines.Decoder = jsonlines.Decoder()
    received: list = []
    for start, end in itertools.pairwise(edges):
        received += decoder.feed(stream[start:end])

    assert values == received


def test_an_incomplete_line_is_withheld():
    decoder: jsonlines.Decoder = jsonlines.Decoder()

    assert [] == decoder.feed(b'{"a"')
    assert [] == decoder.feed(b": 1}")
    assert [{"a": 1}, 2] == decoder.feed(b"\n2\n3")


def test_a_line_is_decoded_by_the_given_function():
    assert [b"a", b"", b"b"] == jsonlines.Decoder(bytes).feed(b"a\n\nb\n")


def test_an_error_of_the_decoding_function_passes_through():
    with pytest.raises(json.JSONDecodeError):
        jsonlines.Decoder().feed(b"{\n")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_without_an_end_is_an_error(size):
    """It is not collected without a limit; lines up to the limit are read."""
    decoder = jsonlines.Decoder(bytes, max_line=10)

    assert [b"x" * 10, b"y" * 10] == decoder.feed(b"x" * 10 + b"\n" + b"y" * 10 + b"\n")
    with pytest.raises(jsonlines.LineTooLong, match="more than 10 bytes"):
        deque(map(decoder.feed, [b"x" * size] * 20), maxlen=0)
