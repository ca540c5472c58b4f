"""The file ``/pfs/.env``: the variables of a command as assignments that a shell can source.

Pachyderm writes one for each datum, with all variables of the user's code; there, the values are
not quoted (``createEnvFile`` in ``src/server/worker/datum/datum.go``).
"""

import os
import shlex
from collections.abc import Mapping

import attrs

from worker.directories import Directory
from worker.spec.variables import is_variable

NAME = ".env"
READ_ONLY = ("BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID")
"""Variables of bash that cannot be assigned; a shell that tries ends."""


def assignments(variables: Mapping[str, str]) -> bytes:
    """Return a line ``NAME=value`` for each variable that a shell can assign, quoted for it."""
    return b"".join(
        os.fsencode(f"{name}={shlex.quote(value)}\n")
        for name, value in variables.items()
        if is_variable(name) and name not in READ_ONLY
    )


@attrs.frozen
class EnvFile:
    """The file with the variables of the command that runs, which may be secret."""

    folder: Directory
    """The root of the file inputs."""
    owner: tuple[int, int] | None = None
    """The uid and gid of the command's user; None for those of the worker."""

    def write(self, variables: Mapping[str, str]) -> bool:
        """Replace the file by one that only the command's user can read.

        Return False if the worker may not give files to that user: there is no file then.
        """
        # The command may have replaced it, for example by a link.
        self.folder.remove(NAME)
        descriptor = self.folder.create(NAME, 0o400)
        with open(descriptor, "wb") as file:
            file.write(assignments(variables))
            # Regardless of the umask.
            os.fchmod(descriptor, 0o400)
            if self.owner is not None:
                try:
                    os.fchown(descriptor, *self.owner)
                except PermissionError:
                    self.folder.remove(NAME)
                    return False
        return True
