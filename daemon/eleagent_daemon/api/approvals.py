"""What does each operation on approvals and grants do?"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from eleagent.errors import NotFound
from eleagent.operations.approvals import APPROVAL_ANSWER, APPROVAL_GET, APPROVAL_LIST, GRANT_LIST, GRANT_REVOKE
from eleagent.permissions import Reach
from eleagent.wire.approvals import Approval, ApprovalList, Grant, GrantList
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.service import Sessions

_LIST_LIMIT: Final = 1000
_LOOKED_AT: Final = 10_000


class ApprovalHandlers:
    def __init__(self, *, approvals: Approvals, sessions: Sessions) -> None:
        self._approvals = approvals
        self._sessions = sessions

    def table(self) -> Handlers:
        return {
            APPROVAL_LIST: self.list_approvals,
            APPROVAL_GET: self.get,
            APPROVAL_ANSWER: self.answer,
            GRANT_LIST: self.list_grants,
            GRANT_REVOKE: self.revoke,
        }

    async def list_approvals(self, call: Call) -> ApprovalList:
        sight = call.caller.sight(call.operation.permission)
        found = await self._approvals.list_approvals(
            everything=call.query.get("all", False), session=call.query.get("session"), limit=_LOOKED_AT
        )
        limit = min(call.query.get("limit", _LIST_LIMIT), _LIST_LIMIT)
        return ApprovalList(approvals=[one for one in found if sight.reaches(self._asked(one))][:limit])

    async def find(self, identifier: str, sight: Sight) -> Owned:
        """Raises NotFound."""
        with suppress(NotFound):
            if sight.reaches(thing := self._asked(await self._approvals.get(identifier))):
                return thing
        raise NotFound(f"no approval {identifier!r}: eleagent approval ls lists them")

    async def find_grant(self, identifier: str, sight: Sight) -> Owned:
        """Raises NotFound."""
        for grant in await self._approvals.list_grants(everything=True):
            if grant.id == identifier and sight.reaches(thing := _granted(grant)):
                return thing
        raise NotFound(f"no grant {identifier!r}: eleagent approval grants lists them")

    async def get(self, call: Call) -> Approval:
        return await self._approvals.get(call.path["id"])

    async def answer(self, call: Call) -> Approval:
        caller, identifier = call.caller, call.path["id"]
        if call.body.allow and caller.bounds is not None:
            asked = await self._approvals.get(identifier)
            caller.check_bounds(await self._sessions.get(asked.session))
        operator = caller.reach(call.operation.permission) is Reach.ANY
        return await self._approvals.answer(
            identifier, call.body, by=caller.name, operator=operator, key=bool(caller.key)
        )

    async def list_grants(self, call: Call) -> GrantList:
        sight = call.caller.sight(call.operation.permission)
        found = await self._approvals.list_grants(everything=call.query.get("all", False))
        return GrantList(grants=[one for one in found if sight.reaches(_granted(one))])

    async def revoke(self, call: Call) -> Grant:
        return await self._approvals.revoke(call.path["id"], by=call.caller.name)

    def _asked(self, approval: Approval) -> Owned:
        return Owned(id=approval.id, owner=approval.owner, driver=self._approvals.driver(approval))


def _granted(grant: Grant) -> Owned:
    return Owned(id=grant.id, owner=grant.owner)
