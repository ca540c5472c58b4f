"""The table of errors: cause, exit status and S3 code of each meaning."""

import errno

import pytest

from worker import errors
from worker.errors import Cause, cause_of, s3_code_of
from worker.store.backends.base import StoreDenied


def test_each_cause_has_the_exit_status_of_the_reference():
    """The exit statuses and the causes that are worth a retry are a public interface."""
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
        "denied": (77, False),
        "configuration": (78, False),
    }

    assert expected == {cause.value: (cause.exit_status, cause.retryable) for cause in Cause}


def test_an_error_of_the_system_has_its_file_and_its_remedy():
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")
    exhausted = OSError(errno.EMFILE, "Too many open files")

    assert "/x: No such file or directory" == errors.explain_os_error(missing)
    assert "ulimit -n" in errors.explain_os_error(exhausted)


class Special(errors.Conflict):
    """An error as a package defines it."""


@pytest.mark.parametrize(
    ("error", "cause", "s3_code"),
    [
        (errors.Misconfigured("x"), Cause.CONFIGURATION, "InternalError"),
        (errors.Invalid("x"), Cause.INVALID, "InvalidRequest"),
        (errors.KeyMissing("out", "k"), Cause.UNRUNNABLE, "NoSuchKey"),
        (errors.UploadMissing("u"), Cause.UNRUNNABLE, "NoSuchUpload"),
        (errors.NotFound("x"), Cause.UNRUNNABLE, "InternalError"),
        (errors.DataLost("x"), Cause.UNAVAILABLE, "InternalError"),
        (errors.OutputClosed("x"), Cause.UNAVAILABLE, "AccessDenied"),
        (errors.Denied("x"), Cause.DENIED, "AccessDenied"),
        (StoreDenied("writing", "x", errno=errno.EROFS), Cause.DENIED, "AccessDenied"),
        (StoreDenied("writing", "x", errno=errno.EACCES), Cause.DENIED, "AccessDenied"),
        (errors.Conflict("x"), Cause.NOT_PUBLISHED, "OperationAborted"),
        (Special("x"), Cause.NOT_PUBLISHED, "OperationAborted"),
        (errors.NotPublished("x"), Cause.NOT_PUBLISHED, "ServiceUnavailable"),
        (errors.Unavailable("x"), Cause.UNAVAILABLE, "ServiceUnavailable"),
        (errors.CommandFailed("x"), Cause.COMMAND_FAILED, "InternalError"),
        (errors.Interrupted("x"), Cause.STOPPED, "InternalError"),
        (errors.WorkerError("x"), Cause.INTERNAL, "InternalError"),
        (OSError(errno.EIO, "x"), Cause.UNAVAILABLE, "InternalError"),
        (KeyError("x"), Cause.INTERNAL, "InternalError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_has_a_cause_and_an_s3_code_by_its_class(error, cause, s3_code):
    """A subclass that a package defines has the meaning of its base class."""
    assert (cause, s3_code) == (cause_of(error), s3_code_of(error))


@pytest.mark.parametrize("number", sorted(errors.NOT_WRITABLE), ids=errno.errorcode.get)
def test_a_full_disk_is_not_published_whichever_class_carries_it(number):
    """A retry on another disk may succeed, also where the store reported the error."""

    class Failed(errors.Unavailable):
        errno = number

    assert {Cause.NOT_PUBLISHED} == {cause_of(OSError(number, "x")), cause_of(Failed("x"))}
