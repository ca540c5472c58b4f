"""The state machine of a run."""

import itertools

import pytest
import structlog

from worker.job.result import RunRecord
from worker.job.state import FINAL, TRANSITIONS, Event, InvalidTransition, State, unwatched


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_exactly_the_final_states_have_no_transitions(state):
    """No other state is a dead end, and no final state changes."""
    events = {event for (source, event) in TRANSITIONS if source is state}

    assert (state in FINAL) == (not events)
    assert state.final == (state in FINAL)


def test_every_state_is_reachable():
    """Every state but the first is the target of a transition."""
    assert set(State) == {State.CREATED, *TRANSITIONS.values()}


def test_an_event_that_a_state_does_not_allow_is_named():
    """The error contains the event and the state."""
    state, event = next(pair for pair in itertools.product(State, Event) if pair not in TRANSITIONS)
    record = RunRecord("a" * 32, structlog.get_logger(), unwatched, state=state)

    with pytest.raises(InvalidTransition, match=f"{event.name} while {state.name}"):
        record.enter(event)
