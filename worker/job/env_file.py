"""The file ``/pfs/.env``: the variables of a command as assignments that a shell can source.

Pachyderm writes one for each datum, with all variables of the user's code; there, the values are
not quoted (``createEnvFile`` in ``src/server/worker/datum/datum.go``).
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import attrs

from worker.job.scratch import remove_tree
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

    folder: Path
    """The root of the file inputs on this machine."""
    owner: tuple[int, int] | None = None
    """The uid and gid of the command's user; None for those of the worker."""

    def write(self, variables: Mapping[str, str]) -> bool:
        """Replace the file by one that only the command's user can read.

        Return False if the worker may not give files to that user: there is no file then.
        """
        path = self.folder / NAME
        # The command may have replaced it, for example by a link.
        remove_tree(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with open(descriptor, "wb") as file:
            if self.owner is not None:
                try:
                    os.fchown(descriptor, *self.owner)
                except PermissionError:
                    path.unlink()
                    return False
            # Regardless of the umask.
            os.fchmod(descriptor, 0o400)
            file.write(assignments(variables))
        return True
