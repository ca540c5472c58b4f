"""The states of a run, what moves it from one to the next, as a table of transitions."""

import enum

from worker.errors import WorkerError


class State(enum.Enum):
    """Where a run stands; a final state never changes."""

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
        """Whether the run is over."""
        return self in FINAL


class Event(enum.Enum):
    """What happens to a run."""

    STARTED = "started"
    """The document is read and the inputs are being resolved."""
    INPUT_MISSING = "input missing"
    """An input's repo, branch or commit is not there or failed."""
    FOUND = "found"
    """The output commit of this job id is there already, made by an earlier run."""
    READY = "ready"
    """The buckets can be reached; the first datum begins."""
    SUCCEEDED = "succeeded"
    """Every datum was done or recovered."""
    FAILED = "failed"
    """The command, the gateway, the store or the run itself failed."""
    STOPPED = "stopped"
    """A signal or the job's own timeout ended the run before it could publish."""
    PUBLISHED = "published"
    """The output commit is there, and so is its branch; or there is nothing to commit."""


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


class TransitionRefused(WorkerError):
    """An event came in a state that knows no such event; a fault of this program."""

    def __init__(self, event: Event, state: State) -> None:
        super().__init__(f"{event.name} while {state.name}")
        self.event = event
        self.state = state


def after(state: State, event: Event) -> State:
    """Return the state that *event* leads to, or raise :class:`TransitionRefused`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionRefused(event, state) from None
