"""What holds a session still, and what do its limits do to it while it runs?"""

from __future__ import annotations

import contextlib
import time

from eleagent.errors import Conflict, EngineUnavailable, LauncherUnavailable, LimitReached, NotFound, StorageUnavailable
from eleagent.wire.approvals import Approval, ApprovalState
from eleagent.wire.events import LimitsChanged, SessionPaused, SessionUnpaused
from eleagent.wire.limits import LimitsUpdate, Raise
from eleagent.wire.sessions import State
from eleagent_daemon.domain.launch import Done, Inspected, Pause, Unpause
from eleagent_daemon.domain.limits import Resources, update_of
from eleagent_daemon.domain.sandbox import Phase
from eleagent_daemon.sessions.approvals import read_raise
from eleagent_daemon.sessions.keeper import Action, Keeper, Rules, changed
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live, seconds_between
from eleagent_daemon.sessions.outcome import Cause
from eleagent_daemon.sessions.progress import RunClock
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.stopping import DAEMON, Stopping
from eleagent_daemon.store.timeline import now

LOOK_S = 1.0
"""How often limits are looked at where output comes all the time."""

LIMIT = "limit"
"""The hold of a session that met a limit and may go on when it is raised."""

ALIVE = (Phase.RUNNING, Phase.PAUSED)
_CAUSES = {"timeout_s": Cause.TIMED_OUT, "idle_timeout_s": Cause.HUNG}


class Holding:
    """Limits are minded from `begin` on, which is when the session is first followed."""

    def __init__(
        self, *, live: Live, launcher: LauncherClient, stopping: Stopping, purses: Purses, rules: Rules
    ) -> None:
        self._live = live
        self._launcher = launcher
        self._stopping = stopping
        self._purses = purses
        self._rules = rules
        self._keeper: Keeper | None = None
        self._looked_at = 0.0

    def begin(self) -> None:
        """Its clocks go on from where an earlier daemon's stood. Idempotent."""
        if self._keeper is not None:
            return
        live = self._live
        ran_s = seconds_between(live.started, live.paused_since or now()) - live.paused_s if live.started else 0.0
        clock = RunClock(before=max(0.0, ran_s), paused=bool(live.paused_since))
        self._keeper = Keeper(live=live, purses=self._purses, rules=self._rules, clock=clock)

    @property
    def due_s(self) -> float | None:
        """When to look next even if nothing happens; 0 is now, and then its cpu must be known to judge it."""
        return self._keeper.due_s() if self._keeper is not None and self._live.cause is None else None

    async def mind(self, cpu_s: float | None, *, asked: bool) -> None:
        """Now and then, at once when a door met a limit or time is up."""
        live = self._live
        if self._keeper is None or live.cause is not None or live.started is None:
            return
        asked = asked or live.met is not None
        if not asked and time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        if (found := await self._keeper.look(cpu_s)) is not None:
            await self._at_limit(*found)

    async def _at_limit(self, met: LimitReached, action: Action) -> None:
        """What is paused has its time counted from when it goes on, which a person is asked for."""
        if action != "pause":
            await self._stopping.end(_CAUSES.get(met.limit, Cause.LIMIT), why=met.message)
            return
        try:
            await self.pause(LIMIT, by=DAEMON, detail=met.message)
        except Conflict:
            return  # it has just ended
        except (LauncherUnavailable, EngineUnavailable):
            self._live.met = met
            raise
        await self.ask_at_limit()

    async def ask_at_limit(self) -> None:
        """Put it to people whether a session that stands still at a limit may go on, where that was not done yet."""
        if LIMIT in self._live.session.paused_by and self._keeper is not None:
            await self._keeper.ask()

    async def tell_of(self, resources: Resources) -> None:
        """What the sandbox uses of its own, where it comes near to the end of it."""
        if self._keeper is not None:
            await self._keeper.tell_of(resources)

    async def keep_still(self, inspected: Inspected) -> None:
        """A pause is what the registry says, whoever died over it."""
        if self._live.cause is not None or inspected.draining:
            return
        wanted = Phase.PAUSED if self._live.session.paused_by else Phase.RUNNING
        if inspected.status.phase in ALIVE and inspected.status.phase is not wanted:
            await self._set_still(bool(self._live.session.paused_by))

    async def _set_still(self, still: bool) -> None:
        verb = Pause(session=self._live.key) if still else Unpause(session=self._live.key)
        with contextlib.suppress(NotFound, Conflict):  # it has ended: that is found out by itself
            await self._launcher.ask(verb, Done)

    async def pause(self, hold: str, *, by: str, detail: str = "") -> None:
        """Nothing in the sandbox runs until every hold on it is let go of. Done first and recorded then, since it only
        takes away. Raises Conflict where no agent runs, and what the launcher raises.
        """
        self._stopping.check_going()
        live, session = self._live, self._live.session
        if hold in session.paused_by:
            return
        if session.state not in (State.RUNNING, State.WAITING, State.PAUSED):
            raise Conflict(f"session {session.key} is {session.state}: only one that runs can be paused")
        await self._launcher.ask(Pause(session=live.key), Done)
        live.paused(now())
        if self._keeper is not None:
            self._keeper.clock.pause()
        with contextlib.suppress(StorageUnavailable):
            await live.timeline.append(SessionPaused(hold=hold, by_user=by, detail=detail))
        with contextlib.suppress(StorageUnavailable):
            await live.become(state=State.PAUSED, paused_by=[*session.paused_by, hold])

    async def unpause(self, hold: str, *, by: str) -> None:
        """Let go of one hold; the sandbox goes on when it was the last. Raises Conflict when there is no such hold, or
        it is being ended.
        """
        self._check_stays()
        live, session = self._live, self._live.session
        if hold not in session.paused_by:
            others = f": it is held by {', '.join(session.paused_by)}" if session.paused_by else ""
            raise Conflict(f"session {session.key} is {session.state}, not paused by {hold}{others}")
        holds = [other for other in session.paused_by if other != hold]
        await live.timeline.append(SessionUnpaused(hold=hold, by_user=by, running=not holds))
        if live.cause is not None:  # stopped meanwhile
            return
        await live.become(state=State.PAUSED if holds else live.awake, paused_by=holds)
        if not holds:
            live.unpaused(now())
            if self._keeper is not None:
                self._keeper.clock.unpause()
                self._keeper.progress.begin_anew()
            await self._set_still(False)

    async def set_limits(self, update: LimitsUpdate, *, by: str) -> None:
        """A session that a limit paused goes on. Raises Conflict when it is being ended."""
        self._check_stays()
        live = self._live
        if live.desk is not None:
            await live.desk.limit_set()
        await self._set_limits(update, by=by)

    def _check_stays(self) -> None:
        self._stopping.check_going()
        if self._live.cause is not None:
            raise Conflict(f"session {self._live.key} is already being ended: {self._live.cause}")

    async def decide(self, approval: Approval) -> None:
        """What was said of the limit that it was paused at: it goes on as far as that allows, or is stopped there."""
        wanted = read_raise(approval)
        if self._live.cause is not None or self._stopping.over:
            return
        if approval.state is ApprovalState.ALLOWED:
            update = LimitsUpdate() if wanted.day else update_of(wanted)
            await self._set_limits(update, by=approval.by_user, day_raise=wanted if wanted.day else None)
            return
        who = f" by {approval.by_user}" if approval.by_user else ""
        why = f"{approval.why}; more was denied{who}" + (f": {approval.comment}" if approval.comment else "")
        await self._stopping.end(_CAUSES.get(wanted.limit, Cause.LIMIT), by=approval.by_user or DAEMON, why=why)

    async def _set_limits(self, update: LimitsUpdate, *, by: str, day_raise: Raise | None = None) -> None:
        live = self._live
        limits = changed(live.session.limits, update)
        timeout_s = live.timeout_s if update.timeout_s is None else update.timeout_s
        raises = [*live.session.day_raises, *([day_raise] if day_raise is not None else [])]
        await live.timeline.append(LimitsChanged(by_user=by, limits=limits, timeout_s=timeout_s, day_raise=day_raise))
        await live.become(limits=limits, timeout_s=timeout_s, day_raises=raises)
        live.warned, live.met, live.paused_at = frozenset(), None, None
        if LIMIT in live.session.paused_by and live.cause is None:
            await self.unpause(LIMIT, by=by)
        live.limits_changed()
        live.wake()
