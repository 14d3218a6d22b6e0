"""Does one drive at a time, and is what was said under an old lease refused?"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from eleagent.errors import Conflict, Refused
from eleagent.wire.driving import SessionDriver
from eleagent.wire.sessions import Session, State
from eleagent_daemon.sessions.lease import Lease


class Held:
    """What a lease needs of a live session."""

    def __init__(self) -> None:
        self.session = Session(
            key="s-a", name="", state=State.RUNNING, agent="claude", owner="ada", created="2026-01-01T00:00:00Z"
        )
        self.events: list[SessionDriver] = []
        self.timeline = self

    async def append(self, payload: SessionDriver) -> None:
        await asyncio.sleep(0)
        self.events.append(payload)

    async def become(self, **changes: Any) -> None:
        self.session = msgspec.structs.replace(self.session, **changes)


def held() -> tuple[Held, Lease]:
    session = Held()
    return session, Lease(cast(Any, session))


async def test_owner_drives_until_another_is_let() -> None:
    session, lease = held()
    with pytest.raises(Conflict, match="driven by ada"):
        async with lease.driving("bob"):
            pass
    async with lease.driving("ada"):
        assert (session.session.driver, session.session.lease) == ("ada", 1)
    async with lease.driving("ada", 1):
        pass
    with pytest.raises(Conflict, match="driven by ada"):
        async with lease.driving("bob"):
            pass
    assert session.events == [SessionDriver(driver="ada", lease=1, by_user="ada")]


async def test_first_to_say_something_drives_what_was_let_go_of() -> None:
    session, lease = held()
    async with lease.driving("ada"):
        pass
    await lease.hand_over("", by="ada", may_take=False)
    async with lease.driving("bob"):
        assert (session.session.driver, session.session.lease) == ("bob", 3)
    with pytest.raises(Conflict, match="driven by bob"):
        async with lease.driving("ada"):
            pass


async def test_of_many_who_begin_at_once_one_drives() -> None:
    session, lease = held()
    async with lease.driving("ada"):
        pass
    await lease.hand_over("", by="ada", may_take=False)
    session.events.clear()

    async def say(who: str) -> str:
        async with lease.driving(who):
            await asyncio.sleep(0)
            return who

    said = await asyncio.gather(*(say(f"u{number}") for number in range(5)), return_exceptions=True)
    assert [one for one in said if isinstance(one, str)] == [session.session.driver]
    assert len(session.events) == 1


async def test_driver_hands_over_and_the_old_lease_counts_no_more() -> None:
    session, lease = held()
    await lease.hand_over("bob", by="ada", may_take=False)
    async with lease.driving("bob"):
        pass
    await lease.hand_over("eve", by="bob", may_take=False)
    assert (session.session.driver, session.session.lease) == ("eve", 2)
    await lease.hand_over("bob", by="eve", may_take=False)
    with pytest.raises(Conflict, match="changed hands"):
        async with lease.driving("bob", 1):
            pass
    async with lease.driving("bob", 3):
        pass


async def test_handover_waits_for_what_is_being_said() -> None:
    session, lease = held()
    await lease.hand_over("bob", by="ada", may_take=False)
    async with lease.driving("bob"):
        handing = asyncio.ensure_future(lease.hand_over("eve", by="bob", may_take=False))
        await asyncio.sleep(0.01)
        assert session.session.driver == "bob"
    await handing
    assert session.session.driver == "eve"


async def test_only_driver_owner_and_administrators_change_the_driver() -> None:
    session, lease = held()
    await lease.hand_over("bob", by="ada", may_take=False)
    async with lease.driving("bob"):
        pass
    with pytest.raises(Refused, match="neither drives"):
        await lease.hand_over("mallory", by="mallory", may_take=False)
    await lease.hand_over("ada", by="ada", may_take=False)
    await lease.hand_over("root", by="root", may_take=True)
    await lease.hand_over("", by="root", may_take=False)
    assert session.session.driver == ""
