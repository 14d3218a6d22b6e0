"""Does a session that waits for a person count as one that hangs?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import Usage
from eleagent.wire.states import State
from eleagent_daemon.sessions.keeper import Keeper, Rules
from eleagent_daemon.sessions.progress import Progress, RunClock


class Timeline:
    """As much of one as limits need."""

    last_seq = 7

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def append(self, payload: Any) -> None:
        self.events.append(payload)


@pytest.mark.parametrize(("state", "hangs"), [(State.RUNNING, True), (State.WAITING, False)])
async def test_session_that_waits_for_a_person_does_not_hang(state: State, hangs: bool) -> None:
    now = [0.0]
    live = SimpleNamespace(
        session=SimpleNamespace(limits=SessionLimits(idle_timeout_s=60)), usage=Usage(), egress_bytes=0, timeout_s=None,
        timeline=Timeline(), model=SimpleNamespace(traffic=0), met=None, warned=frozenset(), awake=state,
    )  # fmt: skip
    rules = Rules(warn_percent=80, on_hang="stop")
    keeper = Keeper(live=cast(Any, live), purses=cast(Any, None), rules=rules, clock=RunClock(clock=lambda: now[0]))
    keeper.progress = Progress(clock=lambda: now[0])
    assert await keeper.look(None) is None
    now[0] = 61
    met = await keeper.look(None)
    assert (met is not None) is hangs
    assert bool(live.timeline.events) is hangs
