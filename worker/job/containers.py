"""What a command's container is: the arguments that make it, and what the engine's answers mean.

Nothing here calls an engine; :mod:`worker.job.engine` does.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from worker.errors import Denied, Invalid, Unavailable, WorkerError
from worker.job.process import Identity, NotStarted
from worker.spec.values import User

EngineName = Literal["docker", "podman"]

ROOT = Path("/pfs")
"""Where the inputs lie inside, always."""
REPORT = Path("/run/worker/report")
AUTHORITY = Path("/run/worker/ca.pem")
JOB_LABEL = "worker.job"
AGENT_LABEL = "worker.agent"

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


class EngineMissing(Invalid):
    """The engine of ``--runtime`` is not on this machine."""


class EngineOptionWrong(Invalid):
    """The engine does not know one of the options that the configuration gives it."""


class EngineFailed(Unavailable):
    """The engine did not do what it was asked for, for a reason of its own."""


class ImageMissing(Invalid):
    """No image has the name that the job gives."""


class ImageRefused(Denied):
    """The registry does not give this image to us."""


@attrs.frozen
class Image:
    """An image that is there, ready to be run."""

    name: str
    """As the job says it."""
    id: str
    digest: str
    """What names exactly this image: that of its registry, or else its id."""
    user: str = ""
    """Whom it runs commands as, if it says so: ``name``, ``uid``, either with ``:group``."""


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
class Handover:
    """How variables get into a container without standing on a command line."""

    lines: str = attrs.field(repr=False)
    """The content of an ``--env-file``."""
    inherited: Mapping[str, str] = attrs.field(repr=False)
    """What no line can hold, and therefore goes through the client's own environment."""


def hand_over(variables: Mapping[str, str], client: Mapping[str, str]) -> Handover:
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
    return Handover("".join(lines), inherited)


LINE = 60_000
"""The engines read files of variables in lines of 64 KiB at most."""
OF_ENGINES = ("DOCKER_", "CONTAINER", "PODMAN_", "BUILDAH_", "REGISTRY_", "XDG_", "LD_", "GO")


# --- users ----------------------------------------------------------------------------------------


@attrs.frozen
class Inside:
    """Whom a command runs as in its container, and who that is on this machine's disk."""

    user: str
    """For the engine; empty for the image's own."""
    identity: Identity | None
    """None if files need no other owner, or can't be given one."""


def needs_passwd(wanted: User | None, image: Image) -> bool:
    """Whether only the image's passwd can tell who the user is."""
    if wanted is None:
        return bool(image.user) and re.fullmatch(r"\d+:\d+", image.user) is None
    return wanted.gid is None


def inside(wanted: User | None, image: Image, passwd: str) -> Inside:
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
        return Inside(f"{uid}:{gid}", _identity(wanted.uid, gid))
    name, _, group = (image.user if wanted is None else str(wanted)).partition(":")
    row = known.get(name) or by_uid.get(name)
    chosen = "" if wanted is None else name
    if row is not None:
        return Inside(
            chosen, _identity(int(row[2]), int(group) if group.isdigit() else int(row[3]))
        )
    if name.isdigit():
        return Inside(chosen, _identity(int(name), int(group) if group.isdigit() else 0))
    if name and wanted is not None:
        raise UserMissing(f"transform.user {name!r}: the image {image.name} has no such user")
    return Inside(chosen, None)


class UserMissing(Invalid):
    """The image does not know the user that the job names."""


def _identity(uid: int, gid: int) -> Identity | None:
    return Identity(uid, gid, (gid,)) if uid else None


# --- what the engine answers ----------------------------------------------------------------------


@attrs.frozen
class State:
    """How a container stands."""

    started: bool
    running: bool
    code: int
    out_of_memory: bool
    error: str = ""


def read_state(answer: str) -> State:
    """Return what ``container inspect`` says."""
    found: dict[str, Any] = json.loads(answer)[0]["State"]
    return State(
        # Both engines write Go's zero time for what never happened.
        started=not str(found.get("StartedAt", "")).startswith("0001-"),
        running=bool(found.get("Running")),
        code=int(found.get("ExitCode", 0)),
        out_of_memory=bool(found.get("OOMKilled")),
        error=str(found.get("Error") or ""),
    )


def read_image(name: str, answer: str) -> Image:
    """Return what ``image inspect`` says."""
    found: dict[str, Any] = json.loads(answer)[0]
    number = str(found["Id"])
    plain = f"sha256:{number.removeprefix('sha256:')}"
    digests = found.get("RepoDigests") or []
    config = found.get("Config") or {}
    return Image(name, number, str(digests[0]) if digests else plain, str(config.get("User") or ""))


# What the engines and their registries say, in their own words; the first match wins.
Meanings = tuple[tuple[str, type[WorkerError]], ...]
OF_PULL: Meanings = (
    (r"connect to the docker daemon|docker daemon running|connection refused", EngineFailed),
    (r"unauthorized|authentication required|denied|forbidden|no basic auth", ImageRefused),
    (
        r"manifest unknown|not found|name unknown|does not exist|did not resolve"
        r"|no such image|invalid reference|invalid image name|must be lowercase",
        ImageMissing,
    ),
)
OF_CREATE: Meanings = (
    (r"unknown (shorthand )?flag|invalid argument|flag needs an argument", EngineOptionWrong),
    (r"no such image|image not known|unable to find image", ImageMissing),
)
OF_START: Meanings = (
    # As runc says it, and as crun does.
    (r'exec: ".*": .*(not found|no such file|permission denied|is a directory)', NotStarted),
    (r"executable.*: (not found|no such file|permission denied)|exec format error", NotStarted),
    (r"executable file .* not found", NotStarted),
    (r"workdir|working directory|chdir|unable to find user|no matching entries", NotStarted),
)


def error_of(meanings: Meanings, said: str, what: str) -> WorkerError:
    """Return the error that an engine's words mean; what is not known is a failure of its own."""
    for pattern, kind in meanings:
        if re.search(pattern, said, re.IGNORECASE):
            return kind(f"{what}: {brief(said)}")
    return EngineFailed(f"{what}: {brief(said)}")


def brief(said: str) -> str:
    """Return the last thing that an engine said, which is the one that says why."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ")[:1000] if lines else "it said nothing"


# The init of an engine says so and exits when there is no such command. Nothing else tells.
INIT_REFUSAL = re.compile(
    r"ERROR \(catatonit:\d+\): failed to exec pid1: (?P<why>.+)"
    r"|\[FATAL\s+tini \(\d+\)\] exec .+ failed: (?P<why_of_tini>.+)"
)


def refused_by_init(code: int, said: Iterable[str]) -> str | None:
    """Return why the command could not be begun, if that is how it ended."""
    lines = list(said)
    found = INIT_REFUSAL.fullmatch(lines[0].strip()) if len(lines) == 1 else None
    if found is None or code not in (1, 126, 127):
        return None
    return found["why"] or found["why_of_tini"]


# --- what was left behind -------------------------------------------------------------------------


@attrs.frozen
class Agent:
    """A worker's process, so named that none that comes later has the same name."""

    machine: str
    """The start of the machine, and the PID namespace."""
    pid: int
    born: int

    def __str__(self) -> str:
        return f"{self.machine}/{self.pid}/{self.born}"

    @classmethod
    def parse(cls, text: str) -> "Agent | None":
        """Read a label; None if no worker of this kind wrote it."""
        found = re.fullmatch(r"(.+)/(\d+)/(\d+)", text)
        return cls(found[1], int(found[2]), int(found[3])) if found else None


@attrs.frozen
class Seen:
    """A container of some worker, as the engine knows it."""

    id: str
    job: str
    agent: str
    running: bool


def abandoned(seen: Seen, *, job: str, machine: str, births: Mapping[int, int]) -> bool:
    """Whether nobody will ever come back for a container.

    *births* says when each process of this *machine* began. What an agent elsewhere left can only
    be judged when it stands still and is of our own *job*.
    """
    agent = Agent.parse(seen.agent)
    if agent is not None and agent.machine == machine:
        return births.get(agent.pid) != agent.born
    return seen.job == job and not seen.running


def read_containers(answer: str) -> tuple[Seen, ...]:
    """Return what ``container inspect`` says of several."""
    return tuple(
        Seen(
            id=str(each["Id"]),
            job=str(each["Config"]["Labels"].get(JOB_LABEL, "")),
            agent=str(each["Config"]["Labels"].get(AGENT_LABEL, "")),
            running=bool(each["State"].get("Running")),
        )
        for each in json.loads(answer or "[]")
    )
