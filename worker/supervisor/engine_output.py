"""What a container engine answers, and what that means: errors, images, states, what is left.

Nothing here calls an engine; :mod:`worker.supervisor.engine` does.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from worker.errors import Invalid, Misconfigured, Unavailable, WorkerError
from worker.supervisor.tree import NotStarted

JOB_LABEL = "worker.job"
AGENT_LABEL = "worker.agent"


class EngineMissing(Misconfigured):
    """The engine of ``--runtime`` is not on this machine."""


class EngineOptionWrong(Misconfigured):
    """The engine does not know one of the options that the configuration gives it."""


class EngineFailed(Unavailable):
    """The engine did not do what it was asked for, for a reason of its own."""


class ImageMissing(Invalid):
    """No image has the name that the job gives."""


class ImageRefused(Misconfigured):
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
