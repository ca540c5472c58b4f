"""What a run is asked to do: the job, the store, and the limits that the operator has chosen."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from worker.job.lifecycle import State
from worker.spec.values import JobSpec


@attrs.frozen
class Serving:
    """How the gateway of a run listens, and whom it lets in."""

    processes: int = 2
    host: str = "127.0.0.1"
    port: int = 0
    authenticated: bool = False
    """Whether requests must be signed with a key pair made for this job."""
    tls: Literal["off", "self-signed", "certificate"] = "off"
    certificate: Path | None = None
    key: Path | None = None
    drain: float = 30.0
    """Seconds that requests in flight have after the command has ended."""
    log_style: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How the gateway's processes log to standard error."""


@attrs.frozen
class Running:
    """How the command of a run is run."""

    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    runtime: Literal["process", "docker", "podman"] = "process"
    engine_arguments: tuple[str, ...] = ()
    """Global arguments of ``docker`` or ``podman``, before their own commands."""
    engine_options: tuple[str, ...] = ()
    """More options for each container, as of ``docker create`` or ``podman create``."""
    client_hints: bool = True
    """Whether the variables are set by which S3 clients find the gateway with no flag."""
    pass_environment: tuple[str, ...] = ()
    """More variables of the agent's that the command gets; ``*`` and ``?`` match."""
    secrets: Path | None = None
    """A folder with a folder for each secret, in which each key is a file."""
    keep_failed: bool = False
    """Whether what a failed job wrote is kept as a commit off every branch."""
    pfs_root: Path | None = None
    """Where file inputs lie; by default ``/pfs`` if it can be used, else scratch."""


@attrs.frozen
class RunRequest:
    """Everything that one run needs to know."""

    spec: JobSpec
    store: str
    """A directory, or the URL of an object store."""
    store_options: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    scratch: Path = Path("/tmp")
    """The folder in which the run makes, and removes, a directory of its own."""
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The agent's own environment, of which the command gets what is on the allow-list."""
    document: Mapping[str, Any] = attrs.field(factory=dict)
    """The document as it was read, for the provenance of the output."""
    serving: Serving = attrs.field(factory=Serving)
    running: Running = attrs.field(factory=Running)


@attrs.frozen
class Progress:
    """One step of a run, for whoever watches."""

    state: State
    step: str
    """``fetch resolve serve datum materialize command drain publish report done``."""
    datum: int = 0
    """Which datum, counted from 1; 0 when none is meant."""
    datums: int = 0
    attempt: int = 0
    report: Mapping[str, Any] = attrs.field(factory=dict)
    """For the step ``report``: what the user's code said, one JSON object."""


Watch = Callable[[Progress], None]


def unwatched(_progress: Progress) -> None:
    """Watch nothing."""
