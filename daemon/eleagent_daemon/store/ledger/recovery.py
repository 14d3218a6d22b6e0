"""What was under way when a daemon ended? Each intent without an outcome is closed with what there is to see of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from eleagent.errors import AuditUnavailable, EleAgentError
from eleagent.wire.audit import AuditRecord, Phase
from eleagent_daemon.store.ledger.ledger import Ledger

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
Look = Callable[[AuditRecord], Awaitable[str]]
"""Says what there is to see of an act that was begun."""


async def take_up(ledger: Ledger, *, version: str, look: Look) -> None:
    """Record that the daemon started and how it found the log. Where nothing can be recorded now it is later."""
    entries = [_by_daemon(ledger, "daemon.started", version=version)]
    try:
        intents = await ledger.index.open_intents()
    except EleAgentError as err:
        log.warning("intents without an outcome were not looked for: %s", err.message)
        intents = []
    if intents or ledger.torn_bytes:
        torn = str(ledger.torn_bytes) if ledger.torn_bytes else ""
        entries.append(_by_daemon(ledger, "audit.recovered", torn_bytes=torn, open_intents=str(len(intents))))
    entries += [_closing(ledger, intent, await look(intent)) for intent in intents]
    try:
        await ledger.write_all(entries)
    except AuditUnavailable as err:
        log.warning("%s", err.message)
        for entry in entries:
            ledger.write_later(entry)


def _by_daemon(ledger: Ledger, action: str, **details: str) -> AuditRecord:
    return ledger.entry(phase=Phase.EVENT, action=action, actor="eleagentd", details=details)


def _closing(ledger: Ledger, intent: AuditRecord, found: str) -> AuditRecord:
    return ledger.entry(
        phase=Phase.OUTCOME,
        action=intent.action,
        actor=intent.actor,
        behalf=intent.behalf,
        decision=intent.decision,
        target=intent.object,
        session=intent.session,
        request=intent.request,
        intent=intent.seq,
        outcome=UNKNOWN,
        details={"found": found},
    )
