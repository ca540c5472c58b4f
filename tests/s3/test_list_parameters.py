"""Parameters that several listings have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3.protocol_builders import raises_s3_error

from worker.s3.list_parameters import after, encoding_type, integer, past, start_of, token_of

ALPHABET = st.sampled_from("ab/é\ud7ff\U0010ffff")
KEYS = st.lists(st.text(ALPHABET, min_size=1, max_size=6), max_size=25, unique=True)


@given(key=st.text(ALPHABET, max_size=4), others=KEYS)
def test_after_and_past_are_the_smallest_greater_strings(key, others):
    for other in others:
        assert (other.encode() > key.encode()) == (other.encode() >= after(key).encode())
        limit = past(key)
        beyond = limit is not None and other.encode() >= limit.encode()
        assert beyond == (other.encode() > key.encode() and not other.startswith(key))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_tokens_round_trip(start):
    assert start == start_of(token_of(start))


@pytest.mark.parametrize("token", ["", "nonsense", "1€", "1_w"])
def test_an_incorrect_token_is_named_without_its_value(token):
    with raises_s3_error("InvalidArgument") as error:
        start_of(token)

    assert {"ArgumentName": "continuation-token"} == error().fields


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("", 7),
        ("0", 0),
        ("-0", 0),
        ("05", 5),
        ("-01", -1),
        ("0" * 5000 + "5", 5),
        ("00002147483647", 2**31 - 1),
        ("-2147483648", -(2**31)),
    ],
)
def test_numbers_have_any_number_of_leading_zeros(value, number):
    assert number == integer({"max-keys": value}, "max-keys", 7)


@pytest.mark.parametrize(
    "value", ["x", " 5", "+5", "5 ", "1.0", "--1", "٣", "2147483648", "-2147483649", "9" * 5000]
)
def test_a_number_must_have_32_bits(value):
    with raises_s3_error("InvalidArgument") as error:
        integer({"max-keys": value}, "max-keys", 7)

    assert {"ArgumentName": "max-keys", "ArgumentValue": value} == error().fields


def test_the_encoding_is_url_in_any_case():
    assert ("URL", None) == (encoding_type({"encoding-type": "URL"}), encoding_type({}))
