"""The errors of the program by meaning, and what each one means to a shell and to an S3 client.

Concrete errors subclass one of these beside the code that raises them. They pass through all layers
unchanged and are translated in two places: the exit status of the process, and the S3 response.
Both use the one table below.
"""

import enum
import errno
from typing import NamedTuple


class WorkerError(Exception):
    """Base class of all errors that the program raises on purpose.

    ``str(error)`` is a message for the user: what was found, what was expected, and where.
    """


class Invalid(WorkerError):
    """The request itself is wrong; repeating it fails again."""


class Misconfigured(Invalid):
    """The configuration of this worker is wrong; the job document is not at fault."""


class NotFound(WorkerError):
    """The named thing does not exist."""


class KeyMissing(NotFound):
    """The bucket has no object under this key."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"s3://{bucket}/{key}: no such object")
        self.key = key


class UploadMissing(NotFound):
    """The multipart upload does not exist: never created, completed, or aborted."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"no such multipart upload: {upload_id!r}")
        self.upload_id = upload_id


class Denied(WorkerError):
    """The request is understood and not permitted."""


class Conflict(WorkerError):
    """The request conflicts with an existing object or with another writer."""


class KeyChanged(Conflict):
    """The object at the key of a multipart upload was written or deleted since the upload began."""


class NotPublished(WorkerError):
    """The output could not be committed. Running the same job again may succeed."""


class Unavailable(WorkerError):
    """A required service or device failed or did not respond. A retry may succeed."""


class DataLost(Unavailable):
    """Stored data is missing or does not match its digest."""


class OutputClosed(Unavailable):
    """The output accepts no more changes: it is frozen, or the attempt has ended."""


class CommandFailed(WorkerError):
    """The user's command ended with a status that does not count as success."""


class Interrupted(WorkerError):
    """A signal stopped the work before it was published."""


class Cause(enum.Enum):
    """Why a run or a command ended: the ``cause`` of a result, with its exit status."""

    exit_status: int
    """Exit status of the process."""
    retryable: bool
    """Whether the same job may succeed when it is run again."""

    def __new__(cls, value: str, exit_status: int, retryable: bool = False) -> "Cause":
        """Create a member whose value is the text *value*."""
        member = object.__new__(cls)
        member._value_ = value
        member.exit_status = exit_status
        member.retryable = retryable
        return member

    PUBLISHED = "published", 0
    PUBLISHED_BEFORE = "published before", 0
    """An earlier run with this job id has made the output commit."""
    RECOVERED = "recovered", 0
    """The command failed for a datum, and its error command (``errCmd``) succeeded."""
    DISCARDED = "discarded", 0
    """No commit was requested: ``gateway``, or ``shell`` without ``--commit``."""
    COMMAND_FAILED = "command failed", 10
    DATUM_TIMEOUT = "datum timeout", 11
    JOB_TIMEOUT = "job timeout", 12
    OUT_OF_MEMORY = "out of memory", 13
    INVALID = "invalid", 64
    UNRUNNABLE = "unrunnable", 66
    """An input repo, branch or commit is missing or failed; also any other missing name or path."""
    UNAVAILABLE = "unavailable", 69, True
    INTERNAL = "internal", 70, True
    NOT_PUBLISHED = "not published", 73, True
    STOPPED = "stopped", 75, True
    DENIED = "denied", 77
    """The store does not permit it: permissions of files, or credentials."""
    CONFIGURATION = "configuration", 78


NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk or an exceeded quota."""
NOT_WRITABLE = NO_SPACE | {errno.EROFS, errno.EFBIG}
"""Error numbers of a disk that takes no more data. Their cause is ``NOT_PUBLISHED``, whichever
class carries them."""


class Meaning(NamedTuple):
    """One row of the table: the meaning of an error class outside the program."""

    error: type[BaseException]
    cause: Cause
    s3_code: str


# The most specific class first: the first row that matches applies.
MEANINGS = (
    Meaning(Misconfigured, Cause.CONFIGURATION, "InternalError"),
    Meaning(Invalid, Cause.INVALID, "InvalidRequest"),
    Meaning(UploadMissing, Cause.UNRUNNABLE, "NoSuchUpload"),
    Meaning(KeyMissing, Cause.UNRUNNABLE, "NoSuchKey"),
    # Not NoSuchKey: the store lost something, and a client would take that for a missing object.
    Meaning(NotFound, Cause.UNRUNNABLE, "InternalError"),
    Meaning(Denied, Cause.DENIED, "AccessDenied"),
    Meaning(KeyChanged, Cause.NOT_PUBLISHED, "ConditionalRequestConflict"),
    Meaning(Conflict, Cause.NOT_PUBLISHED, "OperationAborted"),
    Meaning(NotPublished, Cause.NOT_PUBLISHED, "ServiceUnavailable"),
    Meaning(DataLost, Cause.UNAVAILABLE, "InternalError"),
    # Not ServiceUnavailable: a client would repeat a request that cannot succeed.
    Meaning(OutputClosed, Cause.UNAVAILABLE, "AccessDenied"),
    Meaning(Unavailable, Cause.UNAVAILABLE, "ServiceUnavailable"),
    Meaning(CommandFailed, Cause.COMMAND_FAILED, "InternalError"),
    Meaning(Interrupted, Cause.STOPPED, "InternalError"),
    Meaning(KeyboardInterrupt, Cause.STOPPED, "InternalError"),
    Meaning(OSError, Cause.UNAVAILABLE, "InternalError"),
    Meaning(BaseException, Cause.INTERNAL, "InternalError"),
)


def explain_os_error(error: OSError) -> str:
    """Return the message of *error* for the user, with its file and with a remedy if there is one.

    ``str(error)`` has the number, and the name as a Python literal.
    """
    text = error.strerror or str(error)
    if error.errno == errno.EMFILE:
        text += "; raise the limit of open files (ulimit -n)"
    return f"{error.filename}: {text}" if error.filename else text


def is_disk_full(error: BaseException) -> bool:
    """Whether *error* reports a full disk or an exceeded quota."""
    return getattr(error, "errno", None) in NO_SPACE


def is_not_writable(error: BaseException) -> bool:
    """Whether *error* reports a disk that takes no more data."""
    return getattr(error, "errno", None) in NOT_WRITABLE


def cause_of(error: BaseException) -> Cause:
    """Return the cause of a run or command that *error* ended."""
    if is_not_writable(error) and not isinstance(error, Denied):
        return Cause.NOT_PUBLISHED
    return _meaning(error).cause


def s3_code_of(error: BaseException) -> str:
    """Return the S3 error code that reports *error* to a client."""
    return _meaning(error).s3_code


def _meaning(error: BaseException) -> Meaning:
    return next(row for row in MEANINGS if isinstance(error, row.error))
