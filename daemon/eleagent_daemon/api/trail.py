"""How does a request get into the audit log: before it is done, and with what came of it?"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eleagent.errors import AuditUnavailable
from eleagent.operations.operation import Effect, Operation
from eleagent.wire.audit import Phase
from eleagent_daemon.api.identity import Caller
from eleagent_daemon.store.ledger import Ledger

if TYPE_CHECKING:
    from eleagent_daemon.api.pipeline import Call

log = logging.getLogger(__name__)

CONTENT_S: Final = 3600.0
"""Who reads the same thing again within it has been recorded."""
_READS: Final = 10_000
_DETAIL_CHARACTERS: Final = 500


@dataclass(frozen=True)
class Opened:
    """A request under way. `intent` is None where it could not be recorded, and is done all the same."""

    operation: Operation
    intent: int | None
    said: Mapping[str, Any]
    takes_away: bool


class Trail:
    """The records of requests. Reading metadata leaves none; reading content one a reader, object and hour."""

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reads: dict[tuple[str, str, str, str], float] = {}

    async def denied(self, operation: Operation, caller: Caller, *, target: str, request: str) -> None:
        """Raises AuditUnavailable."""
        await self._ledger.write(
            phase=Phase.EVENT,
            action=operation.audit,
            actor=caller.name,
            decision="denied",
            rule=f"{caller.role} lacks {operation.permission}",
            target=target,
            request=request,
        )

    async def begin(self, call: Call, request: str) -> Opened | None:
        """Durable before the act; raises AuditUnavailable when it can't be. What only takes away is done even then."""
        operation, caller = call.operation, call.caller
        if operation.effect in (Effect.READ, Effect.RECORDED):
            return None
        said: dict[str, Any] = {
            "action": operation.audit,
            "actor": caller.name,
            "rule": f"{caller.role} has {operation.permission}",
            "target": "/".join(call.path.values()),
            "session": call.path.get("key", ""),
            "request": request,
        }
        details = _details(call)
        if operation.effect is Effect.CONTENT:
            read = (caller.name, operation.audit, said["target"], str(details))
            if not self._recorded(read):
                await self._ledger.write(phase=Phase.EVENT, decision="allowed", details=details, **said)
                self._reads[read] = time.monotonic()
            return None
        takes_away = operation.effect is Effect.TAKE_AWAY or getattr(call.body, "takes_away", False)
        try:
            intent = await self._ledger.write(
                phase=Phase.INTENT, decision="allowed", take_away=takes_away, details=details, **said
            )
        except AuditUnavailable:
            if not takes_away:
                raise
            log.warning("request %s (%s) is done first and recorded when there is room", request, operation.id)
            said["details"] = details
            return Opened(operation, None, said, takes_away)
        return Opened(operation, intent, said, takes_away)

    async def finish(
        self,
        opened: Opened | None,
        outcome: str,
        *,
        noted: Mapping[str, str],
        decision: str = "allowed",
        session: str = "",
    ) -> None:
        """What came of it, and what the handler `noted`. It never raises: it is done; an intent without an outcome is
        closed at the next start.
        """
        if opened is None:
            return
        said = {**opened.said, "session": session or opened.said["session"], "decision": decision, "outcome": outcome}
        if noted:
            said["details"] = {**said.get("details", {}), **noted}
        phase = Phase.EVENT if opened.intent is None else Phase.OUTCOME
        record = self._ledger.entry(phase=phase, intent=opened.intent, **said)
        await self._ledger.write_done(record, take_away=opened.takes_away)

    def _recorded(self, read: tuple[str, str, str, str]) -> bool:
        at = time.monotonic()
        if len(self._reads) >= _READS:
            self._reads = {one: when for one, when in self._reads.items() if at - when < CONTENT_S}
            while len(self._reads) >= _READS:
                del self._reads[next(iter(self._reads))]
        return at - self._reads.get(read, -CONTENT_S) < CONTENT_S


def _details(call: Call) -> dict[str, str]:
    """What the operation says is to be recorded of what was asked."""
    found = {}
    for name in (*call.operation.recorded, *(["reason"] if call.operation.discloses else [])):
        value = call.query.get(name) if name in call.query else getattr(call.body, name, None)
        if value is not None:
            found[name] = str(value)[:_DETAIL_CHARACTERS]
    return found
