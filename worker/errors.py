"""Errors by meaning, and what each means outside: cause of a failure, exit status, S3 error code.

Concrete classes derive from these and live beside the code that raises them. An error is
translated in two places only: into an S3 response (`s3_code_of`) and into an exit status
(`cause_of`).
"""

import enum
import errno


class WorkerError(Exception):
    """Base of all errors that are raised on purpose.

    ``str(error)`` is one or more sentences for the user: what was found, what was expected, where,
    and what to do.
    """


class Invalid(WorkerError):
    """A document, argument or value is invalid; repeating the request cannot succeed."""


class Misconfigured(Invalid):
    """The configuration of this worker is invalid or does not fit this machine."""


class NotFound(WorkerError):
    """A named resource does not exist."""


class Unrunnable(NotFound):
    """An input of the job does not exist or is the output of a failed job."""


class KeyMissing(NotFound):
    """The bucket has no object under this key."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"s3://{bucket}/{key}: no such object")
        self.key = key


class UploadMissing(NotFound):
    """The multipart upload does not exist: never created, aborted, or completed."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"no such multipart upload: {upload_id!r}")
        self.upload_id = upload_id


class Denied(WorkerError):
    """The operation is not permitted on an existing resource."""


class Conflict(WorkerError):
    """The operation conflicts with an existing resource or a concurrent writer."""


class Unavailable(WorkerError):
    """A required service or device failed or did not respond; a retry may succeed."""


class NotPublished(Unavailable):
    """The output of a job could not be committed; another run of the job can commit it."""


class DataLost(Unavailable):
    """Stored data is missing or does not match its digest."""


class OutputClosed(Unavailable):
    """The output no longer accepts this change: it is frozen, or the attempt has ended."""


class CommandFailed(WorkerError):
    """The user's command did not succeed."""


class Interrupted(WorkerError):
    """A signal stopped the operation before it was published."""


class Cause(enum.Enum):
    """Why a run or a command ended; each has one exit status."""

    PUBLISHED = "published"
    PUBLISHED_BEFORE = "published before"
    """The output commit of this job id existed already."""
    RECOVERED = "recovered"
    """A datum failed, and the error command accepted the failure."""
    DISCARDED = "discarded"
    """There was nothing to commit: a gateway, or a shell without ``--commit``."""
    COMMAND_FAILED = "command failed"
    DATUM_TIMEOUT = "datum timeout"
    JOB_TIMEOUT = "job timeout"
    OUT_OF_MEMORY = "out of memory"
    INVALID = "invalid"
    UNRUNNABLE = "unrunnable"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    NOT_PUBLISHED = "not published"
    STOPPED = "stopped"
    CONFIGURATION = "configuration"

    @property
    def exit_code(self) -> int:
        """The exit status of a process that ends for this cause; 0 only if the work was done."""
        return EXIT_CODES[self]

    @property
    def retryable(self) -> bool:
        """Whether running the same job again may succeed."""
        return self in RETRYABLE


EXIT_CODES = {
    Cause.PUBLISHED: 0,
    Cause.PUBLISHED_BEFORE: 0,
    Cause.RECOVERED: 0,
    Cause.DISCARDED: 0,
    Cause.COMMAND_FAILED: 10,
    Cause.DATUM_TIMEOUT: 11,
    Cause.JOB_TIMEOUT: 12,
    Cause.OUT_OF_MEMORY: 13,
    Cause.INVALID: 64,
    Cause.UNRUNNABLE: 66,
    Cause.UNAVAILABLE: 69,
    Cause.INTERNAL: 70,
    Cause.NOT_PUBLISHED: 73,
    Cause.STOPPED: 75,
    Cause.CONFIGURATION: 78,
}

RETRYABLE = frozenset({Cause.UNAVAILABLE, Cause.INTERNAL, Cause.NOT_PUBLISHED, Cause.STOPPED})

# The most specific class first; the first match decides. An error of the file system is that of a
# path which the user named: errors of other files are translated where they occur.
TABLE: tuple[tuple[type[BaseException], Cause, str], ...] = (
    (Misconfigured, Cause.CONFIGURATION, "InternalError"),
    (Invalid, Cause.INVALID, "InvalidRequest"),
    (KeyMissing, Cause.UNRUNNABLE, "NoSuchKey"),
    (UploadMissing, Cause.UNRUNNABLE, "NoSuchUpload"),
    (NotFound, Cause.UNRUNNABLE, "NoSuchKey"),
    (Denied, Cause.UNAVAILABLE, "AccessDenied"),
    (Conflict, Cause.NOT_PUBLISHED, "OperationAborted"),
    (NotPublished, Cause.NOT_PUBLISHED, "ServiceUnavailable"),
    # Not NoSuchKey: clients take that for an object that was never written, and continue.
    (DataLost, Cause.UNAVAILABLE, "InternalError"),
    # Not ServiceUnavailable: clients would retry what cannot succeed.
    (OutputClosed, Cause.UNAVAILABLE, "AccessDenied"),
    (Unavailable, Cause.UNAVAILABLE, "ServiceUnavailable"),
    (CommandFailed, Cause.COMMAND_FAILED, "InternalError"),
    (Interrupted, Cause.STOPPED, "InternalError"),
    (KeyboardInterrupt, Cause.STOPPED, "InternalError"),
    (FileNotFoundError, Cause.UNRUNNABLE, "InternalError"),
    (NotADirectoryError, Cause.UNRUNNABLE, "InternalError"),
    (IsADirectoryError, Cause.UNRUNNABLE, "InternalError"),
    (PermissionError, Cause.UNRUNNABLE, "InternalError"),
    (OSError, Cause.UNAVAILABLE, "InternalError"),
    (BaseException, Cause.INTERNAL, "InternalError"),
)

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_WRITABLE = DISK_FULL | {errno.EROFS, errno.EFBIG}


def is_disk_full(error: BaseException) -> bool:
    """Whether *error* reports a disk without free space or a quota that is used up."""
    return getattr(error, "errno", None) in DISK_FULL


def is_not_writable(error: BaseException) -> bool:
    """Whether *error* reports a disk that takes no more data: full, read-only, or at a limit."""
    return getattr(error, "errno", None) in NOT_WRITABLE


def cause_of(error: BaseException) -> Cause:
    """Return the cause that *error* gives a run or a command."""
    if is_not_writable(error):
        return Cause.NOT_PUBLISHED
    return next(cause for kind, cause, _ in TABLE if isinstance(error, kind))


def s3_code_of(error: BaseException) -> str:
    """Return the S3 error code that answers a request which *error* ended."""
    return next(code for kind, _, code in TABLE if isinstance(error, kind))
