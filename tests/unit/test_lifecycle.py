"""Does a session only ever move as its table says, and can each be ended?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.wire.states import STATES, Group, State
from eleagent_daemon.domain.lifecycle import MOVES, IllegalMove, check_move

LIVE = [state for state in State if not state.ended]


def reachable(start: State) -> set[State]:
    found, waiting = {start}, [start]
    while waiting:
        new = MOVES[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_table_has_every_state_once() -> None:
    assert set(MOVES) == set(STATES) == set(State)
    assert reachable(State.QUEUED) == set(State)


@given(st.lists(st.sampled_from(list(State)), max_size=30))
def test_lifecycle_walk_of_any_wishes_stays_in_the_table(wishes: list[State]) -> None:
    """Whatever is asked for in whatever order: an end is final, and what is being stopped never works again."""
    walked = [State.QUEUED]
    for wish in wishes:
        try:
            check_move(walked[-1], wish)
        except IllegalMove:
            continue
        walked.append(wish)
    ends = [at for at, state in enumerate(walked) if state.ended]
    assert not ends or set(walked[ends[0] :]) == {walked[ends[0]]}
    if State.STOPPING in walked:
        assert {State.STOPPING, State.SUCCEEDED}.isdisjoint(MOVES[State.STOPPING])
        assert all(state.ended or state is State.STOPPING for state in walked[walked.index(State.STOPPING) :])
    if State.RUNNING in walked:
        assert State.STARTING in walked[: walked.index(State.RUNNING)], "nothing runs that was not attested"


@pytest.mark.parametrize("state", LIVE)
def test_lifecycle_every_live_state_can_be_stopped_and_can_fail(state: State) -> None:
    assert MOVES[state] & {State.STOPPING, State.STOPPED}
    assert State.FAILED in MOVES[state]
    check_move(state, state)


@pytest.mark.parametrize("state", [state for state in State if state.ended])
def test_lifecycle_an_end_is_final(state: State) -> None:
    assert MOVES[state] == frozenset()
    with pytest.raises(IllegalMove, match=f"that is {state} can't become running"):
        check_move(state, State.RUNNING)


def test_states_have_a_group_and_ended_ones_an_exit_code() -> None:
    for state in State:
        assert state.ended == (state.group in (Group.DONE, Group.FAILED))
        assert STATES[state].meaning
