"""Is every request counted once, whoever dies over it, and is a day's money that of all of a user's sessions?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import LimitReached
from eleagent.wire.limits import UsageBy, UsageReport
from eleagent.wire.sessions import Session, SessionCreate, Usage
from eleagent.wire.states import State
from eleagent_daemon.domain.limits import MICRO, Allowance, Ask, Sum, Totals, grant
from eleagent_daemon.domain.prices import Price
from eleagent_daemon.store.registry import CallerIdentity, Registry
from eleagent_daemon.store.usage import Account, UsageStore

PRICE = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75, cache_write_1h=6.0)
ASK = Ask(model="m", input_tokens=1000, output_tokens=32_000, least_output_tokens=1, price=PRICE)
DAY = "2026-01-31"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    opened = await Registry.open(tmp_path / "registry.db")
    yield opened
    await opened.close()


@pytest.fixture
def store(registry: Registry) -> UsageStore:
    connection, lock = registry.shared()
    return UsageStore(connection=connection, lock=lock)


async def an_account(registry: Registry, user: str, *, scripted: bool = False, project: str = "") -> Account:
    session = Session(key="", name="", state=State.QUEUED, agent="claude", owner=user, created="2026-01-01T00:00:00Z")
    caller = CallerIdentity(uid=1, gid=1, groups=[])
    record, _ = await registry.create_session(session, SessionCreate(prompt="x"), caller, token=None)
    return Account(session=record.session.key, user=user, agent="claude", scripted=scripted, project=project)


async def spend(store: UsageStore, account: Account, usd: float, *, model: str = "m", day: str = DAY) -> None:
    reserved = await store.reserve(account, day, msgspec.structs.replace(ASK, model=model), lambda totals: 10)
    assert reserved is not None
    usage = Usage(requests=1, turns=1, input_tokens=7, output_tokens=3, cost_microusd=int(usd * MICRO))
    await store.settle(reserved[0], usage, estimated=False)


async def report(store: UsageStore, by: UsageBy, *, user: str | None = None) -> UsageReport:
    return await store.report(by, since="2026-01-01", until=DAY, user=user, prices="p")


async def test_usage_of_requests_at_once_stays_within_the_budget(registry: Registry, store: UsageStore) -> None:
    account = await an_account(registry, "ada")
    decide = partial(grant, ASK, Allowance(max_cost_usd=1.0))
    found = await asyncio.gather(*(store.reserve(account, DAY, ASK, decide) for _ in range(20)))
    granted = [one for one in found if one is not None]
    assert len(granted) == 2, "0.49 USD each"
    for reservation, _ in granted:
        await store.settle(reservation, Usage(requests=1, cost_microusd=1000), estimated=False)
    assert (await store.totals(account, DAY)).session == Sum(2000, 0)
    assert await store.reserve(account, DAY, ASK, decide) is not None


async def test_usage_settles_once(registry: Registry, store: UsageStore) -> None:
    account = await an_account(registry, "ada")
    reserved = await store.reserve(account, DAY, ASK, lambda totals: 10)
    assert reserved is not None
    for _ in range(2):
        await store.settle(reserved[0], Usage(requests=1, cost_microusd=5), estimated=False)
    assert (await report(store, UsageBy.SESSION)).rows[0].requests == 1


async def test_usage_that_is_refused_reserves_nothing(registry: Registry, store: UsageStore) -> None:
    account = await an_account(registry, "ada")

    def refuse(totals: Totals) -> int:
        raise LimitReached("no", limit="max_turns", used=1, allowed=1)

    with pytest.raises(LimitReached):
        await store.reserve(account, DAY, ASK, refuse)
    assert await store.reserve(account, DAY, ASK, lambda totals: None) is None
    assert (await store.totals(account, DAY)) == Totals()


async def test_usage_of_a_day_is_that_of_all_sessions_but_rehearsals(registry: Registry, store: UsageStore) -> None:
    one, two = await an_account(registry, "ada", project="p"), await an_account(registry, "ada")
    other = await an_account(registry, "bob", project="p")
    rehearsal = await an_account(registry, "ada", scripted=True)
    for account, usd in ((one, 1), (two, 2), (other, 4), (rehearsal, 8)):
        await spend(store, account, usd)
    await spend(store, one, 16, day="2026-01-30")
    totals = await store.totals(one, DAY)
    assert (totals.user_day.used, totals.project_day.used, totals.session.used) == (3 * MICRO, 5 * MICRO, 17 * MICRO)
    assert (await store.totals(rehearsal, DAY)).user_day == Sum()


async def test_usage_under_way_when_the_daemon_died_counts_as_all_of_it(registry: Registry, store: UsageStore) -> None:
    account = await an_account(registry, "ada")
    await store.reserve(account, DAY, ASK, lambda totals: 2000)
    (left,) = await store.settle_left()
    assert (left.session, left.usage.cost_microusd) == (account.session, ASK.ceiling(2000))
    assert await store.settle_left() == []
    total = (await report(store, UsageBy.USER)).total
    assert (total.requests, total.estimated, total.input_tokens) == (1, 1, 3000)


async def test_usage_is_told_by_anything_dearest_first_and_to_a_member_his_own(
    registry: Registry, store: UsageStore
) -> None:
    ada, bob = await an_account(registry, "ada", project="p"), await an_account(registry, "bob")
    await spend(store, ada, 1, model="small")
    await spend(store, bob, 2, model="big")
    await spend(store, ada, 4, model="big")
    by_user = await report(store, UsageBy.USER)
    assert [(row.name, row.cost_usd, row.sessions) for row in by_user.rows] == [("ada", 5.0, 1), ("bob", 2.0, 1)]
    assert (by_user.total.cost_usd, by_user.total.sessions, by_user.total.output_tokens) == (7.0, 2, 9)
    assert [row.name for row in (await report(store, UsageBy.MODEL)).rows] == ["big", "small"]
    assert [row.name for row in (await report(store, UsageBy.PROJECT)).rows] == ["p", ""]
    assert [row.name for row in (await report(store, UsageBy.USER, user="bob")).rows] == ["bob"]
    assert [row.name for row in (await report(store, UsageBy.DAY)).rows] == [DAY]
    empty = await store.report(UsageBy.USER, since="2025-01-01", until="2025-01-02", user=None, prices="p")
    assert (empty.rows, empty.total.cost_usd) == ([], 0.0)
