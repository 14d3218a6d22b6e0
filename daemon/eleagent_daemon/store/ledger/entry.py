"""What does the daemon have to say for the audit log, before it is a record with a place in it?"""

from __future__ import annotations

from typing import Final

import msgspec

from eleagent.wire.audit import AuditRecord, Provenance
from eleagent_daemon.store.timeline import now

VALUE_LIMIT: Final = 4096
"""Characters of one value. A record stays far below the 65,535 bytes that an entry of a log may have."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an AuditRecord. `ts` is when it happened, which is before it was written."""

    ts: str = msgspec.field(default_factory=now)
    phase: str
    action: str
    actor: str
    behalf: str = ""
    decision: str = ""
    rule: str = ""
    target: str = ""
    organization: str = ""
    project: str = ""
    session: str = ""
    request: str = ""
    intent: int | None = None
    outcome: str = ""
    provenance: str = Provenance.OBSERVED
    details: dict[str, str] = {}

    def record(self, seq: int, prev: str) -> AuditRecord:
        return AuditRecord(
            seq=seq,
            ts=self.ts,
            phase=self.phase,
            action=self.action,
            actor=self.actor,
            behalf=self.behalf,
            decision=self.decision,
            rule=self.rule,
            object=self.target,
            organization=self.organization,
            project=self.project,
            session=self.session,
            request=self.request,
            intent=self.intent,
            outcome=self.outcome,
            provenance=str(self.provenance),
            details=self.details,
            prev=prev,
        )


def trimmed(text: str) -> str:
    """At most VALUE_LIMIT characters that JSON has; what was left out is counted."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}… ({len(text) - VALUE_LIMIT} more characters)"
