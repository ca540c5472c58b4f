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


class Denied(WorkerError):
    """The request is understood and not permitted."""


class Conflict(WorkerError):
    """The request conflicts with an existing object or with another writer."""


class NotPublished(WorkerError):
    """The output could not be committed. Running the same job again may succeed."""


class Unavailable(WorkerError):
    """A required service or device failed or did not respond. A retry may succeed."""


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
    Meaning(NotFound, Cause.UNRUNNABLE, "NoSuchKey"),
    Meaning(Denied, Cause.UNAVAILABLE, "AccessDenied"),
    Meaning(Conflict, Cause.NOT_PUBLISHED, "OperationAborted"),
    Meaning(NotPublished, Cause.NOT_PUBLISHED, "ServiceUnavailable"),
    Meaning(Unavailable, Cause.UNAVAILABLE, "ServiceUnavailable"),
    Meaning(CommandFailed, Cause.COMMAND_FAILED, "InternalError"),
    Meaning(Interrupted, Cause.STOPPED, "InternalError"),
    Meaning(KeyboardInterrupt, Cause.STOPPED, "InternalError"),
    Meaning(OSError, Cause.UNAVAILABLE, "InternalError"),
    Meaning(BaseException, Cause.INTERNAL, "InternalError"),
)


def cause_of(error: BaseException) -> Cause:
    """Return the cause of a run or command that *error* ended."""
    if getattr(error, "errno", None) in NOT_WRITABLE:
        return Cause.NOT_PUBLISHED
    return _meaning(error).cause


def s3_code_of(error: BaseException) -> str:
    """Return the S3 error code that reports *error* to a client."""
    return _meaning(error).s3_code


def _meaning(error: BaseException) -> Meaning:
    return next(row for row in MEANINGS if isinstance(error, row.error))
