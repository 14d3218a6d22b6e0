"""Which silence counts as a hang?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import Usage
from eleagent.wire.states import State
from eleagent_daemon.domain.limits import Resources
from eleagent_daemon.sessions.keeper import Keeper, Rules
from eleagent_daemon.sessions.progress import Load, Progress, RunClock


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


async def test_processors_that_are_at_work_for_a_while_are_told_of_once() -> None:
    now = [0.0]
    live = SimpleNamespace(timeline=Timeline(), warned=frozenset())
    rules = Rules(warn_percent=80, on_hang="stop")
    keeper = Keeper(live=cast(Any, live), purses=cast(Any, None), rules=rules, clock=RunClock(clock=lambda: now[0]))
    keeper.load = Load(clock=lambda: now[0])

    async def look(at: float, cpu_s: float) -> int:
        now[0] = at
        await keeper.tell_of(Resources(cpu_s=cpu_s, cpus_limit=2))
        return len(live.timeline.events)

    assert await look(0, 0) == 0
    assert await look(10, 20) == 0, "a short load is none"
    assert await look(30, 40) == 0, "two thirds of them"
    assert await look(60, 88) == 1
    assert await look(90, 148) == 1
    (told,) = live.timeline.events
    assert (told.limit, told.used, told.allowed) == ("cpus", 1.6, 2)
    assert told.text == "1.60 cpus of 2.00 cpus: the sandbox's processors are nearly all at work: it may wait for them"


async def test_processors_without_a_limit_are_not_told_of() -> None:
    live = SimpleNamespace(timeline=Timeline(), warned=frozenset())
    rules = Rules(warn_percent=80, on_hang="stop")
    keeper = Keeper(live=cast(Any, live), purses=cast(Any, None), rules=rules, clock=RunClock())
    now = iter((0.0, 40.0))
    keeper.load = Load(clock=lambda: next(now))
    for cpu_s in (0, 400):
        await keeper.tell_of(Resources(cpu_s=cpu_s))
    assert live.timeline.events == []
