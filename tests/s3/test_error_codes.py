"""The catalogue of S3 error codes."""

import pytest

from worker.s3.error_codes import CATALOGUE, MAX_TEXT, S3Error, invalid_argument


def test_status_and_message_default_to_the_catalogue():
    error = S3Error("NoSuchKey", Key="a")

    assert 404 == error.status
    assert "The specified key does not exist." == error.message
    assert {"Key": "a"} == error.fields


def test_invalid_argument_has_the_name_and_value_of_the_argument():
    error = invalid_argument("max-keys", "x", "not a number")

    assert {"ArgumentName": "max-keys", "ArgumentValue": "x"} == error.fields


def test_an_unknown_code_raises_key_error():
    with pytest.raises(KeyError):
        S3Error("NoSuchCode")


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_has_an_error_status_and_a_message(code):
    status, message = CATALOGUE[code]

    assert 400 <= status < 600
    assert message


def test_texts_of_errors_are_bounded():
    """Most contain what a client has sent, some in several forms."""
    sent = "a" * 1_000_000

    error = S3Error("InvalidArgument", sent, fields={"StringToSign": sent}, Key=sent)

    assert all(len(text) < MAX_TEXT + 50 for text in (error.message, *error.fields.values()))
    assert error.fields["Key"].endswith("aa… and 983,616 characters more")
    assert "a" * MAX_TEXT == S3Error("InvalidArgument", "a" * MAX_TEXT).message
