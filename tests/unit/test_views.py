"""Does an owner see who read a session, whether it lives or has ended, and is a page one reading?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from eleagent.wire.sessions import Session, SessionCreate, State, View
from eleagent_daemon.domain.access import Owned
from eleagent_daemon.sessions.views import LIMIT, Views, seen
from eleagent_daemon.store.registry import CallerIdentity, Registry

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
PLAIN = Session(key="", name="", state=State.QUEUED, agent="claude", owner="ada", created="2026-01-01T00:00:00Z")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    opened = await Registry.open(tmp_path / "registry.db")
    yield opened
    await opened.close()


async def _stored(registry: Registry) -> Session:
    caller = CallerIdentity(uid=1, gid=1, groups=[])
    return (await registry.create_session(PLAIN, SessionCreate(prompt="x"), caller, token=None))[0].session


async def test_reading_of_an_ended_session_is_kept_with_it(registry: Registry) -> None:
    session = await _stored(registry)
    await registry.update(msgspec.structs.replace(session, state=State.STOPPED))
    views = Views(registry=registry, find_live=lambda _: None)
    for _ in range(2):
        await views.note(Owned(id=session.key, owner="ada"), "olga", "session.read", " an incident ")
    after = (await registry.get(session.key)).session
    assert [(one.by_user, one.what, one.why) for one in after.views] == [("olga", "session.read", "an incident")]
    assert after.state is State.STOPPED


async def test_reading_of_a_live_session_is_stored_by_who_holds_it(registry: Registry) -> None:
    session = await _stored(registry)
    became: list[dict[str, Any]] = []

    async def become(**changes: Any) -> None:
        became.append(changes)

    live = cast(Any, SimpleNamespace(session=session, become=become))
    views = Views(registry=registry, find_live=lambda key: live if key == session.key else None)
    await views.note(Owned(id=session.key, owner="ada"), "olga", "artefact.get", "an incident")
    ((view,),) = [one["views"] for one in became]
    assert (view.what, (await registry.get(session.key)).session.views) == ("artefact.get", [])


def test_same_reading_is_told_once_an_hour_and_the_newest_are_kept() -> None:
    first = seen(PLAIN, by="olga", what="session.read", why="x", at=AT)
    assert first == [View("olga", "session.read", "x", "2026-01-31T12:00:00Z")]
    session = msgspec.structs.replace(PLAIN, views=first)
    assert seen(session, by="olga", what="session.read", why="x", at=AT + timedelta(minutes=59)) is None
    later = seen(session, by="olga", what="session.read", why="x", at=AT + timedelta(minutes=61))
    assert later is not None
    assert [one.at for one in later] == ["2026-01-31T13:01:00Z"]
    for number in range(LIMIT + 5):
        session = msgspec.structs.replace(
            session, views=seen(session, by="olga", what="session.read", why=str(number), at=AT) or []
        )
    assert (len(session.views), session.views[-1].why) == (LIMIT, str(LIMIT + 4))
