"""What does the audit log get of a session: its start, what passes its doors, and how it ended?"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from eleagent.wire.audit import Phase
from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding, SessionEnded
from eleagent_daemon.domain.doors import LOCAL, Attempt, Ruling, Wall
from eleagent_daemon.sessions.digest import Digest, Record
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.store.ledger import Ledger

log = logging.getLogger(__name__)

DAEMON = "eleagentd"


class Accounts:
    """Written for every session. Whose it is stands in `behalf`."""

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger

    async def starting(self, live: Live, *, attempt: int) -> int:
        """Before a sandbox is made. Raises AuditUnavailable: then nothing is started."""
        details = {"attempt": str(attempt), "image": str(live.session.image), "policy": live.session.policy}
        return await self._ledger.write(
            phase=Phase.INTENT, action="session.start", actor=DAEMON, decision="allowed", details=details, **_of(live)
        )

    async def started(self, live: Live, intent: int, outcome: str) -> None:
        await self._say(
            phase=Phase.OUTCOME, action="session.start", actor=DAEMON, decision="allowed", intent=intent,
            outcome=outcome, **_of(live),
        )  # fmt: skip

    async def ended(self, live: Live, ended: SessionEnded) -> None:
        """With the head of the timeline, which stands for all of it."""
        details = {"reason": ended.reason} | _head(live)
        await self._say(
            phase=Phase.EVENT, action="session.ended", actor=DAEMON, outcome=ended.state, details=details, **_of(live)
        )

    async def left(self, live: Live) -> None:
        """It asked at its own door to be ended."""
        await self._say(phase=Phase.EVENT, action="session.stop", actor=live.key, decision="allowed", **_of(live))

    async def anchor(self, live: Live) -> None:
        """The timeline of a session that goes on, so far."""
        await self._say(phase=Phase.EVENT, action="session.anchored", actor=DAEMON, details=_head(live), **_of(live))

    async def admit(self, live: Live, attempt: Attempt) -> int:
        """Before a byte leaves. Raises AuditUnavailable: then none does."""
        return await self._ledger.write(
            phase=Phase.INTENT,
            action=f"egress.{attempt.door}",
            actor=live.key,
            decision="allowed",
            rule=attempt.rule,
            target=attempt.target,
            details=_said(attempt),
            **_of(live),
        )

    async def settle(self, live: Live, intent: int, payload: EgressModel | EgressTunnel) -> None:
        """What came of an attempt that was admitted."""
        decision = "allowed" if payload.allowed else "refused"
        await self._say(
            phase=Phase.OUTCOME, action=payload.type, actor=live.key, decision=decision, rule=payload.rule,
            intent=intent, outcome=payload.reason or "done", details=_counts(payload), **_of(live),
        )  # fmt: skip

    async def refused(self, live: Live, payload: EgressModel | EgressTunnel | SecurityFinding) -> None:
        """An attempt that was not admitted, or something that a well-behaved agent does not do."""
        if isinstance(payload, SecurityFinding):
            details = {"kind": payload.kind, "detail": payload.detail, "count": str(payload.count)}
            await self._say(
                phase=Phase.EVENT, action="egress.finding", actor=live.key, decision="denied", details=details,
                **_of(live),
            )  # fmt: skip
        elif payload.rule != LOCAL:
            details = _counts(payload) | {"reason": payload.reason, "count": str(payload.count)}
            target = ""
            if isinstance(payload, EgressTunnel) and payload.host:
                target = f"{payload.host}:{payload.port}"
                details |= {"host": payload.host, "port": str(payload.port)}
            elif isinstance(payload, EgressModel):
                details |= {"method": payload.method, "path": payload.path}
            await self._say(
                phase=Phase.EVENT, action=payload.type, actor=live.key, decision="denied", rule=payload.rule,
                target=target, details=details, **_of(live),
            )  # fmt: skip

    def digest(self) -> Digest:
        """For one session's observations."""
        return Digest(seal=self._ledger.keys.seal)

    async def observed(self, live: Live, records: Iterable[Record]) -> None:
        """What the host saw inside."""
        for action, details in records:
            await self._say(phase=Phase.EVENT, action=action, actor=live.key, details=details, **_of(live))

    async def _say(self, **fields: object) -> None:
        await self._ledger.write_done(self._ledger.entry(**fields))  # type: ignore[arg-type]


class DoorSink:
    """The gateway's observations and questions of one session (`domain.doors.Sink`)."""

    def __init__(self, live: Live, *, accounts: Accounts) -> None:
        self._live = live
        self._accounts = accounts

    async def admit(self, attempt: Attempt) -> int:
        return await self._accounts.admit(self._live, attempt)

    async def settle(self, admitted: int, payload: EgressModel | EgressTunnel) -> None:
        await self._accounts.settle(self._live, admitted, payload)

    async def record(self, payload: EgressModel | EgressTunnel | SecurityFinding, *, admitted: bool) -> None:
        if not admitted:
            await self._accounts.refused(self._live, payload)
        await self._live.timeline.append(payload)

    async def ask(self, wall: Wall) -> Ruling:
        if self._live.desk is None:
            return Ruling(allowed=False, approval="", reason=f"{wall.kind} {wall.subject}: nobody can be asked now")
        return await self._live.desk.wall(wall)


def _of(live: Live) -> dict[str, Any]:
    return {"session": live.key, "behalf": live.session.owner}


def _head(live: Live) -> dict[str, str]:
    return {"timeline_head": live.timeline.head, "events": str(live.timeline.last_seq)}


def _said(attempt: Attempt) -> Mapping[str, str]:
    if attempt.door == "tunnel":
        return {"host": attempt.host, "port": str(attempt.port)}
    return {"host": attempt.host, "method": attempt.method, "path": attempt.path, "model": attempt.model}


def _counts(payload: EgressModel | EgressTunnel) -> dict[str, str]:
    found = {
        "bytes_up": str(payload.bytes_up),
        "bytes_down": str(payload.bytes_down),
        "duration_ms": str(payload.duration_ms),
    }
    if isinstance(payload, EgressTunnel):
        return found | {"address": payload.address}
    return found | {"status": str(payload.status), "model": payload.model}
