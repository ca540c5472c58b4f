import itertools

import pytest

from worker.job.state import (
    EXIT_CODES,
    FINAL,
    TRANSITIONS,
    Cause,
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


def test_the_exit_codes_are_those_of_the_reference():
    """Each cause has its exit code, and only what another try may change is worth one."""
    expected = {
        "published": (0, False),
        "published before": (0, False),
        "recovered": (0, False),
        "discarded": (0, False),
        "command failed": (10, False),
        "datum timeout": (11, False),
        "job timeout": (12, False),
        "out of memory": (13, False),
        "invalid": (64, False),
        "unrunnable": (66, False),
        "unavailable": (69, True),
        "internal": (70, True),
        "not published": (73, True),
        "stopped": (75, True),
        "configuration": (78, False),
    }

    assert expected == {cause.value: (cause.exit_code, cause.worth_a_retry) for cause in Cause}
    assert set(Cause) == set(EXIT_CODES)
