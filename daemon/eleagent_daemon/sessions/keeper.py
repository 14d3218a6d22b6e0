"""Which limits does a session come near to or meet, and what is done then?"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from eleagent.errors import LimitReached, StorageUnavailable
from eleagent.wire.events import LimitMet, LimitNear
from eleagent.wire.limits import LimitsUpdate, SessionLimits
from eleagent.wire.states import State
from eleagent_daemon.domain.limits import Measure, Resources, first_reached, near, near_text, raise_of
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.progress import Load, Progress, RunClock
from eleagent_daemon.sessions.purse import Purses, measured, today

OnHang = Literal["stop", "pause", "tell"]
Action = Literal["stop", "pause", "tell"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """`warn_percent` of a limit is told of; `on_hang` is what happens to a session that makes no progress."""

    warn_percent: int
    on_hang: OnHang


class Keeper:
    """One session's limits. It looks, tells, and says what to do; the runner does it."""

    def __init__(self, *, live: Live, purses: Purses, rules: Rules, clock: RunClock) -> None:
        self.clock = clock
        adopted = clock.seconds > 1
        self.progress = Progress(cpu_s=None if adopted else 0.0)
        self.load = Load()
        self._resources = None if adopted else Resources()
        self._live = live
        self._purses = purses
        self._rules = rules

    def due_s(self) -> float | None:
        """Until time alone meets a limit, if nothing else happens."""
        if self.clock.paused:
            return None
        idle_limit = self._live.session.limits.idle_timeout_s
        left = [
            *([self._live.timeout_s - self.clock.seconds] if self._live.timeout_s else []),
            *([idle_limit - self.progress.idle_s] if idle_limit else []),
        ]
        return max(0.0, min(left)) if left else None

    async def look(self, cpu_s: float | None) -> tuple[LimitReached, Action] | None:
        """The limit that is met, and what to do; it is in the timeline then. Nothing is met while it is paused.

        `cpu_s` is None where nobody could say: the engine is away, or its last program has just ended. Then silence
        proves nothing, and is counted anew.
        """
        live = self._live
        self.progress.look(events=live.timeline.last_seq, traffic=live.model.traffic, cpu_s=cpu_s)
        unjudged = cpu_s is None and self.progress.idle_s >= (live.session.limits.idle_timeout_s or math.inf)
        if live.awake is State.WAITING or unjudged:  # while a person is asked, that has a limit of its own
            self.progress.begin_anew()
        if self.clock.paused:
            return None
        own = list(measured(live, idle_s=self.progress.idle_s, running_s=self.clock.seconds))
        met, live.met = live.met or first_reached(own), None
        if met is not None:
            action = self._action(met)
            told = LimitMet(limit=met.limit, used=met.used, allowed=met.allowed, action=action, text=met.message)
            live.paused_at = told if action == "pause" else None
            await self._tell(told)
            if action == "tell":
                self.progress.begin_anew()
                return None
            return met, action
        of_the_day = await self._purses.measures(live) if live.usage.requests else []
        await self._warn([*own, *of_the_day])
        return None

    async def tell_of(self, resources: Resources) -> None:
        """Where the sandbox came up against its ends, or near to them. The first look at one that was adopted tells
        nothing of what it met: that was told then.
        """
        before, self._resources = self._resources, resources
        for one, text in resources.met(before) if before is not None else ():
            await self._tell(LimitMet(limit=one.limit, used=one.used, allowed=one.allowed, action="tell", text=text))
        at_work = self.load.look(resources.cpu_s)
        cpus = [] if at_work is None else [Measure("cpus", at_work, resources.cpus_limit)]
        await self._warn([*resources.measures(), *cpus])

    async def _warn(self, measures: Iterable[Measure]) -> None:
        """Once of each."""
        for one in near(measures, percent=self._rules.warn_percent, warned=self._live.warned):
            self._live.warned |= {one.limit}
            await self._tell(LimitNear(limit=one.limit, used=one.used, allowed=one.allowed, text=near_text(one)))

    async def ask(self) -> None:
        """Put to people whether it may go on past the limit that it was paused at, once."""
        met, desk = self._live.paused_at, self._live.desk
        if met is None or desk is None:
            return
        step = self._live.session.limits.max_cost_usd or met.allowed
        wanted = raise_of(met.limit, used=met.used, allowed=met.allowed, step=step, day=today())
        await desk.limit(wanted, met.text)

    def _action(self, met: LimitReached) -> Action:
        if met.limit != "idle_timeout_s":
            return "pause" if self._live.asks_at_limits else "stop"
        return "stop" if self._rules.on_hang == "pause" and not self._live.attended else self._rules.on_hang

    async def _tell(self, payload: LimitNear | LimitMet) -> None:
        with contextlib.suppress(StorageUnavailable):
            await self._live.timeline.append(payload)
        self.progress.told(self._live.timeline.last_seq)


def effective(asked: SessionLimits, defaults: SessionLimits) -> SessionLimits:
    """What holds for a session: what it asked for, else the daemon's settings."""
    given = {name: getattr(asked, name) for name in SessionLimits.__struct_fields__}
    return msgspec.structs.replace(defaults, **{name: value for name, value in given.items() if value is not None})


def changed(limits: SessionLimits, update: LimitsUpdate) -> SessionLimits:
    given = {name: getattr(update, name) for name in LimitsUpdate.__struct_fields__ if name != "timeout_s"}
    return msgspec.structs.replace(limits, **{name: value for name, value in given.items() if value is not None})
