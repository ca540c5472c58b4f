"""Specification of a command's container: image, mounts, user, and engine arguments.

Nothing here calls an engine; :mod:`worker.supervisor.engine` does.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from worker.errors import Invalid
from worker.spec.pipeline import MAX_UID, User
from worker.supervisor.engine_output import Image
from worker.supervisor.mounts import Mount
from worker.supervisor.users import Identity
from worker.text import parse_integer

ENV_FILE = "/dev/stdin"
"""No path of the machine: podman reads a comma as the end of a file's name."""


@attrs.frozen
class Container:
    """A container to be created for one command."""

    name: str
    image: Image
    argv: tuple[str, ...]
    labels: Mapping[str, str] = attrs.field(factory=dict)
    mounts: tuple[Mount, ...] = ()
    user: str = ""
    """Empty for the image's own."""
    directory: Path | None = None
    """None for the image's own."""
    mount_flags: tuple[str, ...] = ()
    """Further flags of each mount."""
    options: tuple[str, ...] = ()
    """Options of the configuration."""
    terminal: bool = False


def create_arguments(container: Container) -> tuple[str, ...]:
    """Return the arguments of ``docker`` or ``podman`` that create a container.

    The environment is read from standard input. The options of the configuration follow the
    worker's own and override them.
    """
    has_network = any(
        option.partition("=")[0] in ("--network", "--net") for option in container.options
    )
    return (
        "create",
        f"--name={container.name}",
        *(f"--label={name}={value}" for name, value in container.labels.items()),
        # The image was pulled before, with a log line; the engine must not pull another one.
        "--pull=never",
        # An init forwards signals; as PID 1, a shell would ignore SIGTERM.
        "--init",
        # The worker logs the output; a second copy in the engine's log would fill the disk.
        "--log-driver=none",
        # One of the image would run beside the command.
        "--no-healthcheck",
        "--interactive",
        *(("--tty",) if container.terminal else ()),
        *(() if has_network else ("--network=host",)),
        *((f"--user={container.user}",) if container.user else ()),
        *((f"--workdir={container.directory}",) if container.directory else ()),
        *(f"--mount={mount.option(*container.mount_flags)}" for mount in container.mounts),
        f"--env-file={ENV_FILE}",
        *container.options,
        # Remove the image's own: the words after the image are the command. Podman would read a
        # program's name that is a JSON array as several words.
        "--entrypoint=",
        "--",
        container.image.id,
        *container.argv,
    )


# --- mounts ---------------------------------------------------------------------------------------

KERNEL_FOLDERS = (Path("/proc"), Path("/sys"), Path("/dev"))
MOUNTED_BY_ENGINES = (
    *KERNEL_FOLDERS,
    Path("/etc/hostname"),
    Path("/etc/hosts"),
    Path("/etc/resolv.conf"),
    Path("/run/.containerenv"),
)
"""Paths that the engines themselves mount in each container."""


def is_free(target: Path, mounts: Iterable[Mount]) -> bool:
    """Whether a folder can be mounted at *target*, which covers none of the *mounts*.

    An engine reports the contrary as an error of its own, as if another try could succeed.
    """
    others = (*MOUNTED_BY_ENGINES, *(mount.target for mount in mounts))
    return not any(other.is_relative_to(target) for other in others) and not any(
        target.is_relative_to(folder) for folder in KERNEL_FOLDERS
    )


# --- users ----------------------------------------------------------------------------------------


class UserMissing(Invalid):
    """The image has no such user."""


@attrs.frozen
class ContainerUser:
    """User of a command in its container, and its identity on this machine."""

    user: str
    """The engine's ``--user``; empty for the image's own."""
    identity: Identity | None
    """The owner of the command's files; None for root, and if unknown."""


def needs_passwd(wanted: User | None, image: Image) -> bool:
    """Whether the user can only be resolved by the image's passwd."""
    if wanted is None:
        return bool(image.user) and re.fullmatch("[0-9]+:[0-9]+", image.user) is None
    return wanted.gid is None


def resolve_container_user(wanted: User | None, image: Image, passwd: str) -> ContainerUser:
    """Return the user that the command runs as; *passwd* is the image's, or empty without one.

    A uid without a gid gets the group of its passwd entry, or else the group with the same number;
    an engine would give it root's group. Raises UserMissing for an unknown name.
    """
    accounts = list(_accounts(passwd))
    if wanted is not None and wanted.uid is not None:
        gid = wanted.gid
        if gid is None:
            same = (each.gid for each in accounts if each.uid == wanted.uid)
            gid = next(same, wanted.uid)
        return ContainerUser(f"{wanted.uid}:{gid}", _identity(wanted.uid, gid))
    name, _, group = (image.user if wanted is None else str(wanted)).partition(":")
    option = "" if wanted is None else name
    uid, given = _parse_id(name), _parse_id(group)
    found = next((each for each in accounts if each.name == name), None) or next(
        (each for each in accounts if each.uid == uid), None
    )
    if found is not None:
        return ContainerUser(option, _identity(found.uid, found.gid if given is None else given))
    if uid is not None:
        return ContainerUser(option, _identity(uid, given or 0))
    if name and wanted is not None:
        raise UserMissing(f"transform.user {name!r}: the image {image.name} has no such user")
    return ContainerUser(option, None)


@attrs.frozen
class _Account:
    """An entry of passwd(5)."""

    name: str
    uid: int
    gid: int


def _accounts(passwd: str) -> Iterator[_Account]:
    """Yield the valid entries of an image's passwd; its author may have written anything."""
    for line in passwd.splitlines():
        row = line.split(":")
        if len(row) < 7 or not row[0]:
            continue
        uid, gid = _parse_id(row[2]), _parse_id(row[3])
        if uid is not None and gid is not None:
            yield _Account(row[0], uid, gid)


def _parse_id(text: str) -> int | None:
    number = parse_integer(text, digits=10)
    return number if number is not None and number <= MAX_UID else None


def _identity(uid: int, gid: int) -> Identity | None:
    return Identity(uid, gid, (gid,)) if uid else None
