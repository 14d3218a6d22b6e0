"""What does each operation on the audit log do?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.audit import AUDIT_LIST
from eleagent.wire.system import AuditList
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.store.ledger import Ledger

_LIST_LIMIT: Final = 1000


class AuditHandlers:
    def __init__(self, *, sessions: Sessions, ledger: Ledger) -> None:
        self._sessions = sessions
        self._ledger = ledger

    def table(self) -> Handlers:
        return {AUDIT_LIST: self.list_records}

    async def list_records(self, call: Call) -> AuditList:
        session = call.query.get("session", "")
        if session:
            session = await self._sessions.resolve(session, owner=call.caller.name)
        limit = min(call.query.get("limit", _LIST_LIMIT), _LIST_LIMIT)
        return await self._ledger.list_records(
            after=call.query.get("after", 0),
            limit=max(1, limit),
            session=session,
            newest=call.query.get("newest", False),
        )
