"""What can go wrong, by meaning; the concrete classes live beside the code that raises them."""


class WorkerError(Exception):
    """The base of every error that this program raises on purpose.

    ``str(error)`` is a sentence for a person: what was found, what was expected, and where.
    """


class Invalid(WorkerError):
    """What was asked for is wrong in itself; asking again will not help."""


class Misconfigured(Invalid):
    """What was chosen for this worker cannot be; the job has no part in it."""


class NotFound(WorkerError):
    """What was named is not there."""


class Denied(WorkerError):
    """What was asked for is there, and not allowed."""


class Conflict(WorkerError):
    """Somebody else was first, or what is there stands against it."""


class Unavailable(WorkerError):
    """A service or device that is needed did not answer; another try may succeed."""


class CommandFailed(WorkerError):
    """The user's command ended in a way that does not count as success."""


class Interrupted(WorkerError):
    """The run was asked to stop before it had published."""
