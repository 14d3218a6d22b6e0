"""What does the daemon hold of a session while it lives?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from eleagent.errors import LimitReached
from eleagent.wire.approvals import ApprovalMode
from eleagent.wire.attestation import Report
from eleagent.wire.events import ApprovalAnswered, LimitMet, SessionEnded
from eleagent.wire.limits import OnLimit
from eleagent.wire.sessions import Session, State, Usage
from eleagent.wire.timeline import Position
from eleagent_daemon.domain.doors import ModelView, OpenDoors
from eleagent_daemon.domain.sandbox import Status
from eleagent_daemon.sessions.adapter import Adapter
from eleagent_daemon.sessions.claims import Claims
from eleagent_daemon.sessions.desk import Desk
from eleagent_daemon.sessions.outcome import Cause
from eleagent_daemon.sessions.previews import Previews
from eleagent_daemon.store.registry import Record, Registry
from eleagent_daemon.store.timeline import Timeline


@dataclass(kw_only=True)
class Live:
    """`held` are our own descriptors of the doors' listeners, for a launcher that lost its. `cause` is set once: why we
    end it. `started` is when its release was recorded, on the host's boot `boot_id`; `seen_until` the time of the last
    event of an earlier daemon. `stored` are artefacts that the timeline has, `exited` how the sandbox ended, `ended`
    its last event. `inputs` are the messages accepted so far, `answered` what its questions were answered, both by id.
    `paused_since` is when it was paused, `paused_s` how long it was before that. `stop_reason` is the model's last, as
    the door saw it, for a daemon that came back.
    `warned` are limits that were told to be near, `met` is one that a door has met since the runner looked last (`wake`
    makes it look), `raised` is set when limits were changed, `paused_at` is the limit that it was paused at.
    """

    record: Record
    timeline: Timeline
    adapter: Adapter
    registry: Registry
    spool: Path
    claims: Claims
    previews: Previews = field(default_factory=Previews)
    position: Position | None = None
    doors: OpenDoors | None = None
    held: dict[str, int] = field(default_factory=dict)
    report: Report | None = None
    usage_before: Usage = field(default_factory=Usage)
    stop_reason: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    answered: dict[str, ApprovalAnswered] = field(default_factory=dict)
    desk: Desk | None = None
    started: str | None = None
    boot_id: str = ""
    seen_until: str = ""
    stored: set[str] = field(default_factory=set)
    exited: Status | None = None
    ended: SessionEnded | None = None
    kept_until: str | None = None
    cause: Cause | None = None
    by: str = ""
    why: str = ""
    warned: frozenset[str] = frozenset()
    egress_bytes: int = 0
    raised: asyncio.Event = field(default_factory=asyncio.Event)
    met: LimitReached | None = None
    paused_at: LimitMet | None = None
    wake: Callable[[], None] = lambda: None
    paused_since: str = ""
    paused_s: float = 0.0

    @property
    def key(self) -> str:
        return self.record.session.key

    @property
    def session(self) -> Session:
        return self.record.session

    @property
    def model(self) -> ModelView:
        """What the model door sees, or saw before it was closed or an earlier daemon died."""
        return self.doors.model if self.doors else RecalledView(self.usage_before, self.stop_reason)

    @property
    def usage(self) -> Usage:
        return self.model.usage

    @property
    def awake(self) -> State:
        """What it is when it is not paused: at work, or waiting for a person's answer."""
        return State.WAITING if self.desk is not None and self.desk.open else State.RUNNING

    @property
    def asks_at_limits(self) -> bool:
        """Whether it stands still at a limit until a person says what then; who is never asked is stopped there."""
        return self.session.limits.on_limit is OnLimit.PAUSE and self.attended

    @property
    def attended(self) -> bool:
        return self.record.request.approvals is not ApprovalMode.DENY

    @property
    def unanswered(self) -> int:
        """Questions that were denied since nobody said anything."""
        return sum(answered.unanswered for answered in self.answered.values())

    def limits_changed(self) -> None:
        """Who waits for a limit to be raised looks again."""
        self.raised.set()
        self.raised = asyncio.Event()

    async def become(self, *, attempt: int | None = None, **changes: object) -> None:
        """Store what the session has become."""
        session = msgspec.structs.replace(self.session, **changes)
        self.record = msgspec.structs.replace(
            self.record, session=session, attempt=self.record.attempt if attempt is None else attempt
        )
        await self.registry.update(session, attempt=attempt)

    def paused(self, at: str) -> None:
        self.paused_since = self.paused_since or at

    def unpaused(self, at: str) -> None:
        """Its clock goes on."""
        if self.paused_since:
            self.paused_s += seconds_between(self.paused_since, at)
            self.paused_since = ""

    @property
    def timeout_s(self) -> float | None:
        return self.session.timeout_s or self.record.request.timeout_s

    def end_because(self, cause: Cause, by: str, why: str = "") -> bool:
        """Whether this is the first reason to end it."""
        if self.cause is not None:
            return False
        self.cause, self.by, self.why = cause, by, why
        return True

    async def close_doors(self) -> None:
        """Give up the listeners, the gateway's and our own: one that is held keeps its network namespace alive."""
        if self.doors is not None:
            self.usage_before, self.stop_reason = self.usage, ""
            await self.doors.close()
            self.doors = None
        while self.held:
            os.close(self.held.popitem()[1])


def seconds_between(first: str, second: str) -> float:
    """Of two times as they stand in a timeline; never less than 0, whatever the clock did."""
    return max(0.0, (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds())


@dataclass(frozen=True)
class RecalledView:
    """`domain.doors.ModelView` from the timeline."""

    usage: Usage
    stop_reason: str
    failure: str = ""
    traffic: int = 0

    @property
    def turn_over(self) -> bool:
        return self.stop_reason not in ("", "tool_use")
