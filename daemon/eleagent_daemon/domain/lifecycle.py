"""From which state may a session come into which? The registry stores no other move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from eleagent.wire.states import State

_FAILURES: Final = frozenset(
    {State.FAILED, State.STOPPED, State.TIMED_OUT, State.BUDGET_EXCEEDED, State.ISOLATION_FAILED, State.LOST}
)
_ALIVE: Final = frozenset({State.STOPPING, State.SUCCEEDED}) | _FAILURES
"""Where a released agent may go at any moment."""

MOVES: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.QUEUED: frozenset({State.STARTING, State.STOPPED, State.FAILED, State.BUDGET_EXCEEDED}),
        State.STARTING: frozenset({State.RUNNING, State.STOPPING}) | _FAILURES,
        State.RUNNING: frozenset({State.WAITING, State.PAUSED}) | _ALIVE,
        State.WAITING: frozenset({State.RUNNING, State.PAUSED}) | _ALIVE,
        State.PAUSED: frozenset({State.RUNNING, State.WAITING}) | _ALIVE,
        State.STOPPING: _FAILURES,
    }
    | {state: frozenset[State]() for state in State if state.ended}
)


class IllegalMove(Exception):
    """A fault of ours: nobody outside can ask for a state."""


def check_move(before: State, after: State) -> None:
    """Staying is no move. Raises IllegalMove."""
    if after is not before and after not in MOVES[before]:
        raise IllegalMove(f"a session that is {before} can't become {after}")
