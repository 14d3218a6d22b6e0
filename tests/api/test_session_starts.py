"""Does what binds a caller bind every way in which it can start a session?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from eleagent.errors import Conflict, EleAgentError
from eleagent.permissions import Role
from eleagent.roles import KEY_GROUPS
from eleagent.wire.logins import Via
from eleagent.wire.projects import ProjectCreate
from eleagent.wire.sessions import Session, SessionCreate, SessionResume, State
from eleagent_daemon.api.identity import NOBODY, Caller
from eleagent_daemon.api.sessions import SessionHandlers
from eleagent_daemon.domain.limits import Allowance
from eleagent_daemon.sessions.purse import allowed_to
from eleagent_daemon.sessions.starter import Starter
from eleagent_daemon.store.apikeys import Bounds
from eleagent_daemon.store.registry import Registry

from .conftest import House

ENDED = Session(
    key="s-aaaaaaaaaa", name="n", state=State.SUCCEEDED, agent="command", owner="bob", created="", data=["/srv/reports"]
)


class Sessions:
    """Keeps what is started in a real registry, and starts nothing."""

    def __init__(self, registry: Registry, *, before: Session = ENDED) -> None:
        self.started: list[Starter] = []
        self._registry = registry
        self._before = before

    async def get(self, key: str) -> Session:
        return self._before

    async def find_first(self, owner: str, token: str) -> Session | None:
        first = await self._registry.find_first(owner, token)
        return first.session if first else None

    async def create(self, request: SessionCreate, *, by: Starter, project: str) -> Session:
        return await self._start(by, project)

    async def resume(self, key: str, asked: SessionResume, *, by: Starter) -> Session:
        return await self._start(by, self._before.project)

    async def _start(self, by: Starter, project: str) -> Session:
        session = Session(
            key="", name="", state=State.QUEUED, agent="command", owner=by.owner, created="", project=project,
            credential=by.credential,
        )  # fmt: skip
        request = SessionCreate(agent="command")
        record, fresh = await self._registry.create_session(
            session, request, by.identity, token=by.token, admit=by.admit
        )
        self.started += [by] if fresh else []
        return record.session


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    opened = await Registry.open(tmp_path / "session_registry.db")
    yield opened
    await opened.close()


def handlers_of(home: House, sessions: Sessions) -> SessionHandlers:
    return SessionHandlers(sessions=cast(Any, sessions), timelines=cast(Any, None), projects=home.identity.projects)


def call(body: SessionCreate | SessionResume, token: str | None = None, **bound: Any) -> Any:
    within = frozenset(bound["projects"]) if "projects" in bound else None
    caller = Caller(
        name="bob", role=Role.MEMBER, identity=NOBODY, via=Via.KEY, credential="AbC", scopes=KEY_GROUPS["ci_cd"],
        bounds=Bounds(scopes=KEY_GROUPS["ci_cd"], **bound), projects=frozenset({"apollo"}), within=within,
    )  # fmt: skip
    return SimpleNamespace(caller=caller, body=body, path={"key": ENDED.key}, token=token)


def program(project: str | None = None) -> SessionCreate:
    return SessionCreate(agent="command", argv=["true"], project=project)


def without_data() -> Session:
    return Session(key="s-aaaaaaaaaa", name="n", state=State.SUCCEEDED, agent="command", owner="bob", created="")


@pytest.mark.parametrize(
    ("bound", "before", "told"),
    [
        ({"agents": frozenset({"claude"})}, without_data(), "may start claude, not command"),
        ({"sessions": 0}, without_data(), "has 0 sessions alive and may have 0"),
        ({}, ENDED, "data names paths of the server"),
    ],
    ids=["agents", "sessions", "data"],
)
async def test_key_goes_on_with_no_session_that_it_might_not_start(
    home: House, registry: Registry, bound: dict[str, Any], before: Session, told: str
) -> None:
    sessions = Sessions(registry, before=before)
    with pytest.raises(EleAgentError, match=told):
        await handlers_of(home, sessions).resume(call(SessionResume(), **bound))
    assert sessions.started == []


async def test_key_starts_no_more_than_it_may_by_asking_at_once(home: House, registry: Registry) -> None:
    sessions = Sessions(registry, before=without_data())
    handlers = handlers_of(home, sessions)
    asked = [handlers.create(call(program(), sessions=2)) for _ in range(5)]
    asked += [handlers.resume(call(SessionResume(), sessions=2)) for _ in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert len(sessions.started) == 2
    assert sum(isinstance(one, Conflict) for one in answers) == 8


async def test_project_has_no_more_sessions_than_it_may_by_asking_at_once(home: House, registry: Registry) -> None:
    await home.identity.projects.create(ProjectCreate(name="apollo", sessions=3), "bob")
    sessions = Sessions(registry, before=without_data())
    handlers = handlers_of(home, sessions)
    answers = await asyncio.gather(
        *(handlers.create(call(program("apollo"))) for _ in range(20)), return_exceptions=True
    )
    told = [one.message for one in answers if isinstance(one, Conflict)]
    assert len(sessions.started) == 3
    assert told == ["project apollo has 3 sessions alive and may have 3: stop one first"] * 17


async def test_repeated_request_gets_its_first_session_where_there_is_no_room_for_another(
    home: House, registry: Registry
) -> None:
    sessions = Sessions(registry, before=without_data())
    handlers = handlers_of(home, sessions)
    first = await handlers.create(call(program(), token="once", sessions=1))
    again = await asyncio.gather(*(handlers.create(call(program(), token="once", sessions=1)) for _ in range(5)))
    assert {one.key for one in again} == {first.key}
    assert (await handlers.resume(call(SessionResume(), token="once", sessions=1))).key == first.key
    with pytest.raises(Conflict, match="may have 1"):
        await handlers.create(call(program(), token="another", sessions=1))
    assert len(sessions.started) == 1


async def test_key_learns_of_no_session_outside_its_projects_by_a_repeated_request(
    home: House, registry: Registry
) -> None:
    await home.identity.projects.create(ProjectCreate(name="apollo"), "bob")
    handlers = handlers_of(home, Sessions(registry, before=without_data()))
    await handlers.create(call(program(), token="once"))
    with pytest.raises(Conflict, match="does not know"):
        await handlers.create(call(program("apollo"), token="once", projects={"apollo"}))


async def test_sessions_of_a_key_are_held_to_its_money(home: House, registry: Registry) -> None:
    sessions = Sessions(registry, before=without_data())
    handlers = handlers_of(home, sessions)
    await handlers.create(call(program(), day_usd=2.5))
    await handlers.resume(call(SessionResume(), day_usd=2.5))
    assert [(one.credential, one.key_day_usd) for one in sessions.started] == [("AbC", 2.5)] * 2


@pytest.mark.parametrize(("own", "everybodys", "allowed"), [(0, 9, 9), (2.5, 0, 2.5), (2.5, 9, 2.5), (9, 2.5, 2.5)])
def test_nearest_limit_of_a_keys_day_holds(own: float, everybodys: float, allowed: float) -> None:
    session = Session(
        key="s-aaaaaaaaaa", name="n", state=State.RUNNING, agent="claude", owner="bob", created="", key_day_usd=own
    )
    found = allowed_to(cast(Any, SimpleNamespace(session=session)), Allowance(key_day_usd=everybodys))
    assert found.key_day_usd == allowed
