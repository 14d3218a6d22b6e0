"""What does each operation on approvals and grants do?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.approvals import APPROVAL_ANSWER, APPROVAL_GET, APPROVAL_LIST, GRANT_LIST, GRANT_REVOKE
from eleagent.wire.approvals import Approval, ApprovalList, Grant, GrantList
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.approvals import Approvals

_LIST_LIMIT: Final = 1000


class ApprovalHandlers:
    def __init__(self, *, approvals: Approvals) -> None:
        self._approvals = approvals

    def table(self) -> Handlers:
        return {
            APPROVAL_LIST: self.list_approvals,
            APPROVAL_GET: self.get,
            APPROVAL_ANSWER: self.answer,
            GRANT_LIST: self.list_grants,
            GRANT_REVOKE: self.revoke,
        }

    async def list_approvals(self, call: Call) -> ApprovalList:
        found = await self._approvals.list_approvals(
            everything=call.query.get("all", False),
            session=call.query.get("session"),
            limit=min(call.query.get("limit", _LIST_LIMIT), _LIST_LIMIT),
        )
        return ApprovalList(approvals=found)

    async def get(self, call: Call) -> Approval:
        return await self._approvals.get(call.path["id"])

    async def answer(self, call: Call) -> Approval:
        return await self._approvals.answer(call.path["id"], call.body, by=call.caller.name)

    async def list_grants(self, call: Call) -> GrantList:
        return GrantList(grants=await self._approvals.list_grants(everything=call.query.get("all", False)))

    async def revoke(self, call: Call) -> Grant:
        return await self._approvals.revoke(call.path["id"], by=call.caller.name)
