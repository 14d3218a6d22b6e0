"""What may a session still spend? Money is reserved before a request is sent, and settled when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import msgspec

from eleagent.errors import LimitReached, StorageUnavailable
from eleagent.wire.events import UsageEstimated, UsageUnpriced
from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.doors import Grant
from eleagent_daemon.domain.limits import MICRO, Allowance, Ask, Measure, grant, raised, reached
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.store.usage import Account, UsageStore

log = logging.getLogger(__name__)


class Purses:
    """One a daemon. `allowance` holds the operator's limits of a day, for every session."""

    def __init__(self, *, store: UsageStore, allowance: Allowance) -> None:
        self._store = store
        self._allowance = allowance
        self._settled = asyncio.Event()

    def of(self, live: Live) -> SessionPurse:
        return SessionPurse(purses=self, live=live)

    async def recover(self, timelines: dict[str, Live]) -> None:
        """What an earlier daemon had under way counts as all that it may have cost, and its sessions are told."""
        for left in await self._store.settle_left():
            log.warning("a request of %s was under way when the daemon died: %s", left.session, left.usage)
            if (live := timelines.get(left.session)) is not None:
                with contextlib.suppress(StorageUnavailable):
                    await live.timeline.append(UsageEstimated(usage=left.usage))
                live.usage_before = live.usage_before.plus(left.usage)

    async def check_user(self, owner: str) -> None:
        """Raises LimitReached when the user's money of today is used up: a session would only meet that wall."""
        totals = await self._store.totals(Account(session="", user=owner, agent=""), today())
        allowed, used = self._allowance.user_day_usd, totals.user_day.used / MICRO
        if 0 < allowed <= used:
            raise reached("user_day_usd", used, allowed)

    async def measures(self, live: Live) -> list[Measure]:
        """Its money of today, beside what its own timeline tells."""
        totals, allowance = await self._store.totals(account(live), today()), allowed_to(live, self._allowance)
        days = (
            ("user_day_usd", allowance.user_day_usd, totals.user_day),
            ("key_day_usd", allowance.key_day_usd, totals.key_day),
            ("project_day_usd", allowance.project_day_usd, totals.project_day),
        )
        return [Measure(name, total.used / MICRO, allowed) for name, allowed, total in days]

    async def reserve(self, live: Live, ask: Ask) -> Grant:
        """Waits for requests under way where they alone leave no room. Raises LimitReached."""
        while True:
            settled = self._settled
            allowance = allowed_to(live, self._allowance)
            decided = await self._store.reserve(account(live), today(), ask, partial(grant, ask, allowance))
            if decided is not None:
                return Grant(*decided)
            await settled.wait()

    async def settle(self, reserved: Grant, usage: Usage, *, estimated: bool) -> None:
        try:
            await self._store.settle(reserved.id, usage, estimated=estimated)
        except StorageUnavailable as err:
            log.warning("reservation %d is settled at the next start: %s", reserved.id, err.message)
        self._settled.set()
        self._settled = asyncio.Event()


class SessionPurse:
    """One session's (`domain.doors.Purse`)."""

    def __init__(self, *, purses: Purses, live: Live) -> None:
        self._purses = purses
        self._live = live
        self._unpriced: set[str] = set()

    async def reserve(self, ask: Ask) -> Grant:
        """A session that is paused at a limit keeps its request waiting until the limit is raised."""
        if ask.price is None and ask.model not in self._unpriced:
            self._unpriced.add(ask.model)
            await self._live.timeline.append(UsageUnpriced(model=ask.model))
        while True:
            change = self._live.raised
            try:
                return await self._purses.reserve(self._live, ask)
            except LimitReached as limit:
                self._meet(limit)
                if not self._live.asks_at_limits:
                    raise
            await change.wait()

    async def settle(self, grant: Grant, usage: Usage, *, estimated: bool) -> None:
        await self._purses.settle(grant, usage, estimated=estimated)
        self._live.wake()

    async def send(self, count: int) -> None:
        """As with money: what does not fit waits where a person is asked."""
        self._live.egress_bytes += count
        while (allowed := self._live.session.limits.max_egress_bytes) and self._live.egress_bytes > allowed:
            change = self._live.raised
            limit = reached("max_egress_bytes", self._live.egress_bytes, allowed)
            self._meet(limit)
            if not self._live.asks_at_limits:
                raise limit
            await change.wait()

    def _meet(self, limit: LimitReached) -> None:
        self._live.met = limit
        self._live.wake()


def measured(live: Live, *, idle_s: float, running_s: float) -> Iterator[Measure]:
    """How much of its own limits a session has used."""
    limits, usage = live.session.limits, live.usage
    yield Measure("max_cost_usd", usage.cost_microusd / MICRO, limits.max_cost_usd or 0)
    yield Measure("max_tokens", usage.tokens, limits.max_tokens or 0)
    yield Measure("max_turns", usage.turns, limits.max_turns or 0)
    yield Measure("max_egress_bytes", live.egress_bytes, limits.max_egress_bytes or 0)
    yield Measure("idle_timeout_s", idle_s, limits.idle_timeout_s or 0)
    yield Measure("timeout_s", running_s, live.timeout_s or 0)


def allowed_to(live: Live, of_the_day: Allowance) -> Allowance:
    """The nearest of what the operator set and what the session itself is held to; one of its key's counts too."""
    limits, key_day_usd = live.session.limits, live.session.key_day_usd
    if key_day_usd:
        nearest = min(key_day_usd, of_the_day.key_day_usd or key_day_usd)
        of_the_day = msgspec.structs.replace(of_the_day, key_day_usd=nearest)
    return msgspec.structs.replace(
        raised(of_the_day, live.session.day_raises, today()),
        max_cost_usd=limits.max_cost_usd or 0,
        max_tokens=limits.max_tokens or 0,
        max_turns=limits.max_turns or 0,
    )


def account(live: Live) -> Account:
    session = live.session
    return Account(
        session=session.key,
        user=session.owner,
        agent=session.agent,
        scripted=session.scripted,
        project=session.project,
        api_key=session.credential,
    )


def today() -> str:
    return datetime.now(UTC).date().isoformat()
