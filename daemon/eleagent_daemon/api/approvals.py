"""What does each operation on approvals do?"""

from __future__ import annotations

from eleagent.operations.approvals import APPROVAL_ANSWER
from eleagent.wire.sessions import Accepted
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.service import Sessions


class ApprovalHandlers:
    def __init__(self, *, sessions: Sessions) -> None:
        self._sessions = sessions

    def table(self) -> Handlers:
        return {APPROVAL_ANSWER: self.answer}

    async def answer(self, call: Call) -> Accepted:
        key = call.path["key"]
        state = await self._sessions.answer(
            key, call.path["id"], allow=call.body.allow, by=call.caller.name, comment=call.body.comment
        )
        return Accepted(key=key, state=state)
