"""Specification of a command's container: image, mounts, user, environment, and engine arguments.

Nothing here calls an engine; :mod:`worker.supervisor.engine` does.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

from worker.errors import Invalid
from worker.spec.pipeline import User
from worker.supervisor.engine_output import Image
from worker.supervisor.mounts import Mount
from worker.supervisor.tree import NotStarted
from worker.supervisor.users import Identity


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
    env_file: Path | None = None
    inherited: tuple[str, ...] = ()
    """Names of variables that the engine's client reads from its own environment."""
    options: tuple[str, ...] = ()
    """Options of the configuration."""
    terminal: bool = False


def create_arguments(container: Container) -> tuple[str, ...]:
    """Return the arguments of ``docker`` or ``podman`` that create a container.

    The options of the configuration follow the worker's own and override them.
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
        "--interactive",
        *(("--tty",) if container.terminal else ()),
        *(() if has_network else ("--network=host",)),
        *((f"--user={container.user}",) if container.user else ()),
        *((f"--workdir={container.directory}",) if container.directory else ()),
        *(f"--mount={mount}" for mount in container.mounts),
        *((f"--env-file={container.env_file}",) if container.env_file else ()),
        *(f"--env={name}" for name in container.inherited),
        *container.options,
        f"--entrypoint={container.argv[0]}",
        container.image.id,
        *container.argv[1:],
    )


# --- the environment ------------------------------------------------------------------------------

MAX_ENV_FILE_VALUE = 60_000
"""Characters of a value in an ``--env-file``; engines read its lines into 64 KiB buffers."""
ENGINE_VARIABLES = (
    "DOCKER_",
    "CONTAINER",
    "PODMAN_",
    "BUILDAH_",
    "REGISTRY_",
    "XDG_",
    "LD_",
    "GO",
)
"""Prefixes of variables that change the behaviour of the engine's client."""


@attrs.frozen
class SplitEnvironment:
    """Environment of a container, split by how it is passed without a command line."""

    env_file: str = attrs.field(repr=False)
    """The content of an ``--env-file``."""
    inherited: Mapping[str, str] = attrs.field(repr=False)
    """Variables that no line can hold; they go through the environment of the engine's client."""


def split_environment(variables: Mapping[str, str], client: Mapping[str, str]) -> SplitEnvironment:
    """Split variables by how they are passed; *client* is the environment of the engine's client.

    Raises NotStarted for a variable that no line can hold and that would change the client itself,
    and for a name that would become another line, a comment, or a variable of the client's own.
    """
    lines, inherited = [], {}
    for name, value in variables.items():
        if not name or not name.isprintable() or name.startswith("#") or {"=", " "} & set(name):
            raise NotStarted(
                f"{name!r}: a variable of this name cannot be passed to a container; use letters, "
                "digits and _"
            )
        if not any(character in value for character in "\n\r") and len(value) < MAX_ENV_FILE_VALUE:
            lines.append(f"{name}={value}\n")
        elif name in client or name.startswith(ENGINE_VARIABLES):
            raise NotStarted(
                f"{name}: a value with several lines, or of {MAX_ENV_FILE_VALUE:,} characters or "
                "more, cannot be passed to a container, because the engine reads this variable"
            )
        else:
            inherited[name] = value
    return SplitEnvironment("".join(lines), inherited)


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
        return bool(image.user) and re.fullmatch(r"\d+:\d+", image.user) is None
    return wanted.gid is None


def resolve_container_user(wanted: User | None, image: Image, passwd: str) -> ContainerUser:
    """Return the user that the command runs as; *passwd* is the image's, or empty without one.

    A uid without a gid gets the group of its passwd entry, or else the group with the same number;
    an engine would give it root's group. Raises UserMissing for an unknown name.
    """
    by_name = {row[0]: row for row in (line.split(":") for line in passwd.splitlines()) if row[6:]}
    by_uid = {row[2]: row for row in reversed(by_name.values())}
    if wanted is not None and wanted.uid is not None:
        uid = str(wanted.uid)
        gid = wanted.gid
        if gid is None:
            gid = int(by_uid[uid][3]) if uid in by_uid else wanted.uid
        return ContainerUser(f"{uid}:{gid}", _identity(wanted.uid, gid))
    name, _, group = (image.user if wanted is None else str(wanted)).partition(":")
    option = "" if wanted is None else name
    if (row := by_name.get(name) or by_uid.get(name)) is not None:
        gid = int(group) if group.isdigit() else int(row[3])
        return ContainerUser(option, _identity(int(row[2]), gid))
    if name.isdigit():
        return ContainerUser(option, _identity(int(name), int(group) if group.isdigit() else 0))
    if name and wanted is not None:
        raise UserMissing(f"transform.user {name!r}: the image {image.name} has no such user")
    return ContainerUser(option, None)


def _identity(uid: int, gid: int) -> Identity | None:
    return Identity(uid, gid, (gid,)) if uid else None
