"""The environment of a container: how its variables pass the engine unchanged and unseen.

Each other way has a flaw:

- ``--env=NAME=value`` shows the value to all users of the machine, in the list of processes.
- ``--env=NAME`` takes the value from the environment of the engine's client. Its loader, its
  libraries, and the programs that it calls would obey a variable of the job, such as LD_PRELOAD,
  STORAGE_OPTS or https_proxy, and no list of names is complete.
- ``--env-file`` has one line for each variable and no escapes. Its readers end lines at 64 KiB, end
  values at a line feed, and docker's rejects what is not UTF-8.
- The engine's API has none of these limits, but does not take the options of the configuration.

So a variable is a line of ``--env-file`` if a line can hold it. The others are assignments of a
shell script in further variables, escaped, and ``/bin/sh`` of the image executes it before the
command. An image needs a shell only for such variables.
"""

from collections.abc import Mapping

import attrs

from worker.spec.variables import is_variable
from worker.supervisor.tree import NotStarted

MAX_LINE = 60_000
"""Bytes of a value in a line of the file; engines read lines into buffers of 64 KiB."""
SHELL = "/bin/sh"


@attrs.frozen
class ContainerEnvironment:
    """The environment of a container."""

    file: bytes = attrs.field(repr=False)
    """The content of an ``--env-file``."""
    shell: tuple[str, ...] = ()
    """The command line, without values, that sets further variables and executes its arguments."""
    set_by_shell: tuple[str, ...] = ()
    """The names of these variables."""


def container_environment(variables: Mapping[str, str]) -> ContainerEnvironment:
    """Return how *variables* are passed to a container.

    Raises NotStarted for a name that would become another line, a comment, or another variable.
    """
    lines: list[bytes] = []
    others: dict[str, bytes] = {}
    for name, value in variables.items():
        data = value.encode(errors="surrogateescape")
        if not name or not name.isprintable() or name.startswith("#") or {"=", " "} & set(name):
            raise _unusable(name, "a variable of this name cannot be passed to a container")
        if _fits_line(data):
            lines.append(name.encode() + b"=" + data + b"\n")
        elif is_variable(name):
            others[name] = data
        else:
            raise _unusable(name, "such a variable must be one line of UTF-8 in a container")
    if not others:
        return ContainerEnvironment(b"".join(lines))
    script = _escaped(b"".join(_assignment(name, value) for name, value in others.items()))
    pieces = [script[start : start + MAX_LINE] for start in range(0, len(script), MAX_LINE)]
    prefix = "WORKER_ENVIRONMENT_"
    while any(name.startswith(prefix) for name in variables):
        prefix += "_"
    carriers = [f"{prefix}{number}" for number in range(len(pieces))]
    lines += [f"{name}={piece}\n".encode() for name, piece in zip(carriers, pieces, strict=True)]
    joined = "".join(f"${{{name}}}" for name in carriers)
    program = f'eval "$(printf %b "{joined}")"; unset {" ".join(carriers)}; exec "$@"'
    return ContainerEnvironment(
        b"".join(lines), shell=(SHELL, "-c", program, SHELL), set_by_shell=tuple(others)
    )


def _unusable(name: str, reason: str) -> NotStarted:
    return NotStarted(f"{name!r}: {reason}; use letters, digits and _")


def _fits_line(value: bytes) -> bool:
    if len(value) > MAX_LINE or b"\n" in value or b"\r" in value:
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _assignment(name: str, value: bytes) -> bytes:
    """Return a line of a shell script that sets a variable (POSIX, "Single-Quotes")."""
    return b"export %b='%b'\n" % (name.encode(), value.replace(b"'", b"'\\''"))


def _escaped(script: bytes) -> str:
    r"""Return *script* as an argument of ``printf %b`` (POSIX, "printf"): octal escapes.

    What remains are letters, digits and _, which no reader of an ``--env-file`` interprets.
    """
    return "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\0{byte:03o}" for byte in script
    )
