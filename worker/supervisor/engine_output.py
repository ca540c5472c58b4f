"""Output of a container engine, parsed: errors, images, states, and labels of containers.

Nothing here calls an engine; :mod:`worker.supervisor.engine` does.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from worker.errors import Invalid, Misconfigured, Unavailable, WorkerError
from worker.redaction import redact
from worker.supervisor.tree import NotStarted

JOB_LABEL = "worker.job"
AGENT_LABEL = "worker.agent"


class EngineMissing(Misconfigured):
    """The engine of ``--runtime`` is not installed on this machine."""


class InvalidEngineOption(Misconfigured):
    """The engine rejects one of the options that the configuration gives it."""


class EngineFailed(Unavailable):
    """The engine failed for a reason of its own."""


class TooMuchOutput(Invalid):
    """The description of an image, or its passwd, is larger than any real one."""


class ImageMissing(Invalid):
    """The image of the job does not exist."""


class ImageDenied(Misconfigured):
    """The registry denies access to the image."""


@attrs.frozen
class Image:
    """An image that is present on this machine."""

    name: str
    """As in the job."""
    id: str
    digest: str
    """The digest in its registry, or else the image id: either identifies exactly this image."""
    user: str = ""
    """Its default user, if any: a name or a uid, either with ``:group``."""


@attrs.frozen
class ContainerState:
    """State of a container."""

    started: bool
    running: bool
    code: int
    out_of_memory: bool
    error: str = ""


def parse_state(output: str) -> ContainerState:
    """Parse the output of ``container inspect`` for one container."""
    found: dict[str, Any] = json.loads(output)[0]["State"]
    return ContainerState(
        # Both engines write Go's zero time for an event that did not happen.
        started=not str(found.get("StartedAt", "")).startswith("0001-"),
        running=bool(found.get("Running")),
        code=int(found.get("ExitCode", 0)),
        out_of_memory=bool(found.get("OOMKilled")),
        error=str(found.get("Error") or ""),
    )


def parse_image(name: str, output: str) -> Image:
    """Parse the output of ``image inspect``."""
    found: dict[str, Any] = json.loads(output)[0]
    image_id = str(found["Id"])
    digests = found.get("RepoDigests") or []
    digest = str(digests[0]) if digests else f"sha256:{image_id.removeprefix('sha256:')}"
    config = found.get("Config") or {}
    return Image(name, image_id, digest, str(config.get("User") or ""))


# --- errors ---------------------------------------------------------------------------------------

# Messages of the engines, their registries and OCI runtimes; the first match wins.
ErrorPatterns = tuple[tuple[str, type[WorkerError]], ...]
PULL_ERRORS: ErrorPatterns = (
    (r"connect to the docker daemon|docker daemon running|connection refused", EngineFailed),
    (r"unauthorized|authentication required|denied|forbidden|no basic auth", ImageDenied),
    (
        r"manifest unknown|not found|name unknown|does not exist|did not resolve"
        r"|no such image|invalid reference|invalid image name|must be lowercase",
        ImageMissing,
    ),
)
CREATE_ERRORS: ErrorPatterns = (
    (r"unknown (shorthand )?flag|invalid argument|flag needs an argument", InvalidEngineOption),
    (r"no such image|image not known|unable to find image", ImageMissing),
)
START_ERRORS: ErrorPatterns = (
    # The wording of runc, then that of crun.
    (r'exec: ".*": .*(not found|no such file|permission denied|is a directory)', NotStarted),
    (r"executable.*: (not found|no such file|permission denied)|exec format error", NotStarted),
    (r"executable file .* not found", NotStarted),
    (r"workdir|working directory|chdir|unable to find user|no matching entries", NotStarted),
)


def classify_error(patterns: ErrorPatterns, message: str, context: str) -> WorkerError:
    """Return the error for an engine's message; an unknown message is a failure of the engine."""
    for pattern, kind in patterns:
        if re.search(pattern, message, re.IGNORECASE):
            return kind(f"{context}: {last_line(message)}")
    return EngineFailed(f"{context}: {last_line(message)}")


def last_line(message: str) -> str:
    """Return the last line of an engine's message, which has the reason; progress precedes it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "the engine gave no reason"
    # Redacted before it is cut, so that no start of a secret is left.
    return redact(lines[-1].removeprefix("Error: "))[:1000]


# The init that an engine puts before a command reports a missing command by this line and an exit
# code. The engine itself reports nothing.
INIT_ERROR = re.compile(
    r"ERROR \(catatonit:\d+\): failed to exec pid1: (?P<catatonit>.+)"
    r"|\[FATAL\s+tini \(\d+\)\] exec .+ failed: (?P<tini>.+)"
)


def init_error(code: int, lines: Sequence[str]) -> str | None:
    """Return why the init could not start the command; None if the command itself exited.

    *code* is the exit code of the container, *lines* are the last ones of its standard error.
    """
    found = INIT_ERROR.fullmatch(lines[0].strip()) if len(lines) == 1 else None
    if found is None or code not in (1, 126, 127):
        return None
    return found["catatonit"] or found["tini"]


# --- abandoned containers -------------------------------------------------------------------------


@attrs.frozen
class AgentId:
    """Identity of a worker process that no later process shares."""

    machine: str
    """The boot of the machine, and the PID namespace."""
    pid: int
    start_time: int
    """In clock ticks since boot."""

    def __str__(self) -> str:
        return f"{self.machine}/{self.pid}/{self.start_time}"

    @classmethod
    def parse(cls, text: str) -> "AgentId | None":
        """Parse the value of a label; None if it has another form."""
        found = re.fullmatch(r"(.+)/(\d+)/(\d+)", text)
        return cls(found[1], int(found[2]), int(found[3])) if found else None


def container_name(job: str, agent: str, nonce: str | None = None) -> str:
    """Return a name for a container with these labels, which no other container has.

    An image can define any labels, and so mark containers of others as those of a worker that is
    gone. It defines no name, and a name contains a digest of the labels.
    """
    nonce = nonce or os.urandom(4).hex()
    digest = hashlib.sha256(f"{job}\n{agent}\n{nonce}".encode()).hexdigest()
    return f"worker-{job[:12]}-{nonce}{digest[:24]}"


@attrs.frozen
class WorkerContainer:
    """A container with the labels of a worker, as the engine lists it."""

    id: str
    name: str
    job: str
    agent: str
    running: bool

    @property
    def is_of_worker(self) -> bool:
        """Whether a worker has created it, and not another program from an image with labels."""
        nonce = self.name.rpartition("-")[2][:8]
        return self.name == container_name(self.job, self.agent, nonce)


def is_abandoned(
    container: WorkerContainer, *, job: str, machine: str, start_times: Mapping[int, int]
) -> bool:
    """Whether a worker has created a container and is gone.

    *start_times* has the start time of each process of this *machine*. Processes of another machine
    are not visible, so a container of theirs is abandoned only if it belongs to the same *job* and
    does not run.
    """
    if not container.is_of_worker:
        return False
    agent = AgentId.parse(container.agent)
    if agent is not None and agent.machine == machine:
        return start_times.get(agent.pid) != agent.start_time
    return container.job == job and not container.running


def parse_containers(output: str) -> tuple[WorkerContainer, ...]:
    """Parse the output of ``container inspect`` for several containers."""
    return tuple(
        WorkerContainer(
            id=str(each["Id"]),
            # Docker precedes it by a slash.
            name=str(each["Name"]).removeprefix("/"),
            job=str(each["Config"]["Labels"].get(JOB_LABEL, "")),
            agent=str(each["Config"]["Labels"].get(AGENT_LABEL, "")),
            running=bool(each["State"].get("Running")),
        )
        for each in json.loads(output or "[]")
    )
