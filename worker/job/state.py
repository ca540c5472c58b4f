"""States of a run and the transitions between them, and the progress that observers see."""

import enum
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from worker.errors import WorkerError
from worker.gateway.messages import BucketStatistics


class State(enum.Enum):
    """The state of a run; a final state never changes."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    FINISHING = "finishing"
    SUCCESS = "success"
    FAILURE = "failure"
    KILLED = "killed"
    UNRUNNABLE = "unrunnable"

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return self in FINAL


class Event(enum.Enum):
    """An event that changes the state of a run."""

    STARTED = "started"
    """The document is parsed and the inputs are being resolved."""
    INPUT_MISSING = "input missing"
    """The repo, branch or commit of an input does not exist or has failed."""
    FOUND = "found"
    """An earlier run made the output commit of this job id."""
    READY = "ready"
    """The gateway accepts requests, and the first datum starts."""
    SUCCEEDED = "succeeded"
    """Every datum was processed or recovered."""
    FAILED = "failed"
    """The command, the gateway, the store or the run itself failed."""
    STOPPED = "stopped"
    """A signal or the job's timeout ended the run before it could publish."""
    PUBLISHED = "published"
    """The output commit exists and is on its branch; or there is nothing to commit."""


TRANSITIONS = {
    (State.CREATED, Event.STARTED): State.STARTING,
    (State.CREATED, Event.STOPPED): State.KILLED,
    (State.CREATED, Event.FAILED): State.FAILURE,
    (State.STARTING, Event.INPUT_MISSING): State.UNRUNNABLE,
    (State.STARTING, Event.FOUND): State.FINISHING,
    (State.STARTING, Event.READY): State.RUNNING,
    (State.STARTING, Event.STOPPED): State.KILLED,
    (State.STARTING, Event.FAILED): State.FAILURE,
    (State.RUNNING, Event.SUCCEEDED): State.FINISHING,
    (State.RUNNING, Event.STOPPED): State.KILLED,
    (State.RUNNING, Event.FAILED): State.FAILURE,
    (State.FINISHING, Event.PUBLISHED): State.SUCCESS,
    (State.FINISHING, Event.STOPPED): State.KILLED,
    (State.FINISHING, Event.FAILED): State.FAILURE,
}

FINAL = frozenset({State.SUCCESS, State.FAILURE, State.KILLED, State.UNRUNNABLE})


class InvalidTransition(WorkerError):
    """An event occurred in a state that does not allow it: an internal error."""

    def __init__(self, event: Event, state: State) -> None:
        super().__init__(f"{event.name} while {state.name}")
        self.event = event
        self.state = state


@attrs.frozen
class Progress:
    """One step of a run, for observers."""

    state: State
    step: str
    """``resolve image serve run command traffic output drain publish report done``, or the value of
    an event."""
    datum: int = 0
    """The number of the datum, from 1; 0 if the step concerns none."""
    datums: int = 0
    attempt: int = 0
    failed: int = attrs.field(default=0, kw_only=True)
    """The number of datums that have failed."""
    report: Mapping[str, Any] = attrs.field(factory=dict)
    """For the step ``report``: the JSON object that the user's code reported."""
    buckets: Mapping[str, BucketStatistics] = attrs.field(factory=dict)
    """For the step ``traffic``: the traffic of each bucket so far."""
    unfinished: str = ""
    """For the step ``output``: the line that the command has printed without an end, such as a
    prompt or a progress bar; empty if there is none any more."""


Watch = Callable[[Progress], None]


def unwatched(_progress: Progress) -> None:
    """Ignore the progress of a run."""
