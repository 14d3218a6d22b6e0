"""Does what binds a caller bind every way in which it can start a session?"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from eleagent.errors import Conflict, EleAgentError
from eleagent.permissions import Role
from eleagent.roles import KEY_GROUPS
from eleagent.wire.logins import Via
from eleagent.wire.sessions import Session, SessionCreate, SessionResume, State
from eleagent_daemon.api.identity import NOBODY, Caller
from eleagent_daemon.api.sessions import SessionHandlers
from eleagent_daemon.domain.limits import Allowance
from eleagent_daemon.sessions.purse import allowed_to
from eleagent_daemon.store.apikeys import Bounds

from .conftest import House

ENDED = Session(
    key="s-aaaaaaaaaa", name="n", state=State.SUCCEEDED, agent="command", owner="bob", created="", data=["/srv/reports"]
)


class Sessions:
    """Takes down what would be started."""

    def __init__(self, *, live: int = 0, before: Session = ENDED) -> None:
        self.started: list[dict[str, Any]] = []
        self._live = [SimpleNamespace(credential="AbC", project="default")] * live
        self._before = before

    async def get(self, key: str) -> Session:
        return self._before

    async def list_live(self) -> list[Any]:
        return self._live

    async def create(self, request: SessionCreate, **given: Any) -> Session:
        return await self._start(given)

    async def resume(self, key: str, asked: SessionResume, **given: Any) -> Session:
        return await self._start(given)

    async def _start(self, given: dict[str, Any]) -> Session:
        await asyncio.sleep(0.01)
        self._live.append(SimpleNamespace(credential="AbC", project="default"))
        self.started.append(given)
        return self._before


def call(body: SessionCreate | SessionResume, **bound: Any) -> Any:
    caller = Caller(
        name="bob", role=Role.MEMBER, identity=NOBODY, via=Via.KEY, credential="AbC", scopes=KEY_GROUPS["ci_cd"],
        bounds=Bounds(scopes=KEY_GROUPS["ci_cd"], **bound),
    )  # fmt: skip
    return SimpleNamespace(caller=caller, body=body, path={"key": ENDED.key}, token=None)


def without_data() -> Session:
    return Session(key="s-aaaaaaaaaa", name="n", state=State.SUCCEEDED, agent="command", owner="bob", created="")


@pytest.mark.parametrize(
    ("bound", "live", "before", "told"),
    [
        ({"agents": frozenset({"claude"})}, 0, without_data(), "may start claude, not command"),
        ({"sessions": 1}, 1, without_data(), "has 1 sessions alive and may have 1"),
        ({}, 0, ENDED, "data names paths of the server"),
    ],
    ids=["agents", "sessions", "data"],
)
async def test_key_goes_on_with_no_session_that_it_might_not_start(
    home: House, bound: dict[str, Any], live: int, before: Session, told: str
) -> None:
    sessions = Sessions(live=live, before=before)
    handlers = SessionHandlers(sessions=cast(Any, sessions), timelines=cast(Any, None), projects=home.identity.projects)
    with pytest.raises(EleAgentError, match=told):
        await handlers.resume(call(SessionResume(), **bound))
    assert sessions.started == []


async def test_key_starts_no_more_than_it_may_by_asking_at_once(home: House) -> None:
    sessions = Sessions(before=without_data())
    handlers = SessionHandlers(sessions=cast(Any, sessions), timelines=cast(Any, None), projects=home.identity.projects)
    asked = [handlers.create(call(SessionCreate(agent="command", argv=["true"]), sessions=2)) for _ in range(5)]
    asked += [handlers.resume(call(SessionResume(), sessions=2)) for _ in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert len(sessions.started) == 2
    assert sum(isinstance(one, Conflict) for one in answers) == 8


async def test_sessions_of_a_key_are_held_to_its_money(home: House) -> None:
    sessions = Sessions(before=without_data())
    handlers = SessionHandlers(sessions=cast(Any, sessions), timelines=cast(Any, None), projects=home.identity.projects)
    await handlers.create(call(SessionCreate(agent="command", argv=["true"]), day_usd=2.5))
    await handlers.resume(call(SessionResume(), day_usd=2.5))
    assert [(one["credential"], one["key_day_usd"]) for one in sessions.started] == [("AbC", 2.5)] * 2


@pytest.mark.parametrize(("own", "everybodys", "allowed"), [(0, 9, 9), (2.5, 0, 2.5), (2.5, 9, 2.5), (9, 2.5, 2.5)])
def test_nearest_limit_of_a_keys_day_holds(own: float, everybodys: float, allowed: float) -> None:
    session = Session(
        key="s-aaaaaaaaaa", name="n", state=State.RUNNING, agent="claude", owner="bob", created="", key_day_usd=own
    )
    found = allowed_to(cast(Any, SimpleNamespace(session=session)), Allowance(key_day_usd=everybodys))
    assert found.key_day_usd == allowed
