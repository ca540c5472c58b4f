"""The catalogue of errors, and what the program's own errors are to a client."""

import pytest

from worker.s3.error_codes import CATALOGUE, S3Error, invalid_argument


def test_takes_status_and_message_from_the_table():
    """A code has one status and one message, unless the raiser knows better."""
    error = S3Error("NoSuchKey", Key="a")

    assert 404 == error.status
    assert "The specified key does not exist." == error.message
    assert {"Key": "a"} == error.fields


def test_names_argument_and_value():
    """InvalidArgument says which argument it was and what it was."""
    error = invalid_argument("max-keys", "x", "not a number")

    assert {"ArgumentName": "max-keys", "ArgumentValue": "x"} == error.fields


def test_has_no_other_code_than_those_of_the_table():
    """A code without a row is a mistake of ours, found at once."""
    with pytest.raises(KeyError):
        S3Error("NoSuchCode")


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_row_is_an_error(code):
    """Every code of the table has a status of its kind and something to say."""
    status, message = CATALOGUE[code]

    assert 400 <= status < 600
    assert message
