"""What a run is asked to do: the job, the store, and the limits that the operator has chosen."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from worker.config import Config
from worker.job.state import State
from worker.spec.pipeline import JobSpec


@attrs.frozen
class RunRequest:
    """A job to run, with the configuration to run it under."""

    spec: JobSpec
    config: Config
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The agent's own environment, of which the command gets what is on the allow-list."""


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
