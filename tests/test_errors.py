"""Errors by meaning: causes, exit statuses, S3 error codes."""

import errno

import pytest

from worker.errors import (
    TABLE,
    Cause,
    CommandFailed,
    Conflict,
    DataLost,
    Denied,
    Interrupted,
    Invalid,
    KeyMissing,
    Misconfigured,
    NotFound,
    NotPublished,
    OutputClosed,
    Unavailable,
    Unrunnable,
    UploadMissing,
    WorkerError,
    cause_of,
    s3_code_of,
)


def test_exit_codes_are_those_of_the_reference():
    """Each cause has one exit code, and only a cause that may pass is retryable."""
    expected = {
        "published": (0, False),
        "published before": (0, False),
        "recovered": (0, False),
        "discarded": (0, False),
        "command failed": (10, False),
        "datum timeout": (11, False),
        "job timeout": (12, False),
        "out of memory": (13, False),
        "invalid": (64, False),
        "unrunnable": (66, False),
        "unavailable": (69, True),
        "internal": (70, True),
        "not published": (73, True),
        "stopped": (75, True),
        "configuration": (78, False),
    }

    assert expected == {cause.value: (cause.exit_code, cause.retryable) for cause in Cause}


@pytest.mark.parametrize(
    ("error", "exit_code", "s3_code"),
    [
        (Misconfigured(), 78, "InternalError"),
        (Invalid(), 64, "InvalidRequest"),
        (NotFound(), 66, "NoSuchKey"),
        (Unrunnable(), 66, "NoSuchKey"),
        (KeyMissing("out", "k"), 66, "NoSuchKey"),
        (UploadMissing("u"), 66, "NoSuchUpload"),
        (Denied(), 69, "AccessDenied"),
        (Conflict(), 73, "OperationAborted"),
        (Unavailable(), 69, "ServiceUnavailable"),
        (NotPublished(), 73, "ServiceUnavailable"),
        (DataLost(), 69, "InternalError"),
        (OutputClosed(), 69, "AccessDenied"),
        (CommandFailed(), 10, "InternalError"),
        (Interrupted(), 75, "InternalError"),
        (KeyboardInterrupt(), 75, "InternalError"),
        (WorkerError(), 70, "InternalError"),
        (ZeroDivisionError(), 70, "InternalError"),
        (FileNotFoundError(), 66, "InternalError"),
        (OSError(errno.EIO, ""), 69, "InternalError"),
        (OSError(errno.ENOSPC, ""), 73, "InternalError"),
        (OSError(errno.EROFS, ""), 73, "InternalError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_has_one_exit_code_and_one_s3_code(error, exit_code, s3_code):
    """Whichever command or request it ends."""
    assert (exit_code, s3_code) == (cause_of(error).exit_code, s3_code_of(error))


def test_no_row_of_the_table_is_shadowed():
    """A class comes before its base classes, so that each row can match."""
    for index, (kind, _, _) in enumerate(TABLE):
        assert not [base for base, _, _ in TABLE[:index] if issubclass(kind, base)]
