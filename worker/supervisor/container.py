"""What a command's container is: its image, its mounts, its user, and the arguments that make it.

Nothing here calls an engine; :mod:`worker.supervisor.engine` does.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from worker.errors import Invalid
from worker.spec.pipeline import User
from worker.supervisor.engine_output import Image
from worker.supervisor.tree import Identity, NotStarted

ROOT = Path("/pfs")
"""Where the inputs lie inside, always."""
REPORT = Path("/run/worker/report")
TRUST_STORE = Path("/run/worker/ca.pem")

# What a command in an image gets of the agent's environment: nothing that speaks of this machine's
# file system. PATH, HOME and the like are the image's.
PASSED = (
    "TZ",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)


@attrs.frozen
class Mount:
    """A file or folder of this machine that is seen inside."""

    source: Path
    target: Path
    writable: bool = False

    def __str__(self) -> str:
        # The engines read this as a row of CSV, so that is how a comma in a path is written.
        text = io.StringIO()
        row = ["type=bind", f"source={self.source}", f"target={self.target}"]
        csv.writer(text, lineterminator="").writerow(row if self.writable else [*row, "ro"])
        return text.getvalue()


@attrs.frozen
class Container:
    """A container that is to be made for one command."""

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
    """Variables whose values the engine's client finds in its own environment."""
    options: tuple[str, ...] = ()
    """What the configuration adds."""
    terminal: bool = False


def create_arguments(container: Container) -> tuple[str, ...]:
    """Return the arguments of ``docker`` or ``podman`` that make a container.

    The options of the configuration come after ours, and win where they say the same thing.
    """
    network = () if _chooses(container.options, "network", "net") else ("--network=host",)
    user = (f"--user={container.user}",) if container.user else ()
    directory = (f"--workdir={container.directory}",) if container.directory else ()
    env_file = (f"--env-file={container.env_file}",) if container.env_file else ()
    return (
        "create",
        f"--name={container.name}",
        *(f"--label={name}={value}" for name, value in container.labels.items()),
        # What is not there was looked for before; nothing is fetched behind the job's back.
        "--pull=never",
        # An init passes signals on: as PID 1, a shell would not even notice SIGTERM.
        "--init",
        # The agent has its own log, and the engine's would fill the disk.
        "--log-driver=none",
        "--interactive",
        *(("--tty",) if container.terminal else ()),
        *network,
        *user,
        *directory,
        *(f"--mount={mount}" for mount in container.mounts),
        *env_file,
        *(f"--env={name}" for name in container.inherited),
        *container.options,
        f"--entrypoint={container.argv[0]}",
        container.image.id,
        *container.argv[1:],
    )


def _chooses(options: Iterable[str], *names: str) -> bool:
    flags = [f"--{name}" for name in names]
    return any(option.partition("=")[0] in flags for option in options)


# --- the environment ------------------------------------------------------------------------------


@attrs.frozen
class PassedVariables:
    """How variables get into a container without standing on a command line."""

    lines: str = attrs.field(repr=False)
    """The content of an ``--env-file``."""
    inherited: Mapping[str, str] = attrs.field(repr=False)
    """What no line can hold, and therefore goes through the client's own environment."""


def split_variables(variables: Mapping[str, str], client: Mapping[str, str]) -> PassedVariables:
    """Split variables by how they get inside; *client* is the environment of the engine's client.

    Raises NotStarted for one that no line can hold and that would change the client itself.
    """
    lines, inherited = [], {}
    for name, value in variables.items():
        if not any(character in value for character in "\n\r") and len(value) < LINE:
            lines.append(f"{name}={value}\n")
        elif name in client or name.startswith(OF_ENGINES):
            raise NotStarted(
                f"{name}: its value has several lines or a very long one, and the engine itself "
                "reads this variable"
            )
        else:
            inherited[name] = value
    return PassedVariables("".join(lines), inherited)


LINE = 60_000
"""The engines read files of variables in lines of 64 KiB at most."""
OF_ENGINES = ("DOCKER_", "CONTAINER", "PODMAN_", "BUILDAH_", "REGISTRY_", "XDG_", "LD_", "GO")


# --- users ----------------------------------------------------------------------------------------


@attrs.frozen
class ContainerUser:
    """Whom a command runs as in its container, and who that is on this machine's disk."""

    name: str
    """For the engine's ``--user``; empty for the image's own user."""
    identity: Identity | None
    """None if files need no other owner, or can't be given one."""


def needs_passwd(wanted: User | None, image: Image) -> bool:
    """Whether only the image's passwd can tell who the user is."""
    if wanted is None:
        return bool(image.user) and re.fullmatch(r"\d+:\d+", image.user) is None
    return wanted.gid is None


def resolve_user(wanted: User | None, image: Image, passwd: str) -> ContainerUser:
    """Return whom the command runs as; *passwd* is the image's, or empty where it has none.

    A uid without a gid has the group that passwd says, or the group of its number: an engine would
    give it root's.
    """
    known = {row[0]: row for row in (line.split(":") for line in passwd.splitlines()) if row[6:]}
    by_uid = {row[2]: row for row in reversed(known.values())}
    if wanted is not None and wanted.uid is not None:
        uid = str(wanted.uid)
        gid = wanted.gid
        if gid is None:
            gid = int(by_uid[uid][3]) if uid in by_uid else wanted.uid
        return ContainerUser(f"{uid}:{gid}", _identity(wanted.uid, gid))
    name, _, group = (image.user if wanted is None else str(wanted)).partition(":")
    row = known.get(name) or by_uid.get(name)
    chosen = "" if wanted is None else name
    if row is not None:
        return ContainerUser(
            chosen, _identity(int(row[2]), int(group) if group.isdigit() else int(row[3]))
        )
    if name.isdigit():
        return ContainerUser(chosen, _identity(int(name), int(group) if group.isdigit() else 0))
    if name and wanted is not None:
        raise UserMissing(f"transform.user {name!r}: the image {image.name} has no such user")
    return ContainerUser(chosen, None)


class UserMissing(Invalid):
    """The image does not know the user that the job names."""


def _identity(uid: int, gid: int) -> Identity | None:
    return Identity(uid, gid, (gid,)) if uid else None
