"""Which silence counts as a hang?"""

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


@pytest.mark.parametrize(
    ("state", "cpu_s", "hangs"),
    [
        pytest.param(State.RUNNING, 0.0, True, id="does nothing"),
        pytest.param(State.WAITING, 0.0, False, id="a person is asked"),
        pytest.param(State.RUNNING, None, False, id="nobody can say whether it works"),
    ],
)
async def test_silence_is_a_hang_where_it_is_known_to_do_nothing(
    state: State, cpu_s: float | None, hangs: bool
) -> None:
    now = [0.0]
    live = SimpleNamespace(
        session=SimpleNamespace(limits=SessionLimits(idle_timeout_s=60)), usage=Usage(), egress_bytes=0, timeout_s=None,
        timeline=Timeline(), model=SimpleNamespace(traffic=0), met=None, warned=frozenset(), awake=state,
    )  # fmt: skip
    rules = Rules(warn_percent=80, on_hang="stop")
    keeper = Keeper(live=cast(Any, live), purses=cast(Any, None), rules=rules, clock=RunClock(clock=lambda: now[0]))
    keeper.progress = Progress(clock=lambda: now[0])
    assert await keeper.look(0.0) is None
    now[0] = 61
    met = await keeper.look(cpu_s)
    assert (met is not None) is hangs
    assert bool(live.timeline.events) is hangs
    if not hangs:
        assert keeper.due_s() == 60
