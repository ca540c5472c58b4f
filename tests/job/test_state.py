import itertools

import pytest

from worker.job.state import (
    FINAL,
    TRANSITIONS,
    Event,
    State,
    TransitionRefused,
    after,
)


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_every_state_is_left_or_is_final(state):
    """No state is a dead end, and no final state changes."""
    leaves = {event for (source, event) in TRANSITIONS if source is state}

    assert (state in FINAL) == (not leaves)
    assert state.final == (state in FINAL)


def test_every_state_can_be_reached():
    """The table names no state that nothing leads to."""
    assert set(State) == {State.CREATED, *TRANSITIONS.values()}


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in itertools.product(State, Event) if pair not in TRANSITIONS],
    ids=lambda value: value.name,
)
def test_what_is_not_in_the_table_is_refused_by_name(state, event):
    """An event that a state does not know says so."""
    with pytest.raises(TransitionRefused, match=f"{event.name} while {state.name}"):
        after(state, event)
