"""What does each operation on what sessions reach for do?"""

from __future__ import annotations

from typing import Final

from eleagent.errors import Refused
from eleagent.operations.egress import EGRESS_LIST, EGRESS_TOP
from eleagent.permissions import Permission, Reach
from eleagent.wire.egress import EgressList, EgressTop
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.store.egress import Egress

_LIST_LIMIT: Final = 1000
_TOP_LIMIT: Final = 20


class EgressHandlers:
    def __init__(self, *, sessions: Sessions, egress: Egress) -> None:
        self._sessions = sessions
        self._egress = egress

    def table(self) -> Handlers:
        return {EGRESS_LIST: self.list_decisions, EGRESS_TOP: self.top}

    async def list_decisions(self, call: Call) -> EgressList:
        query = call.query
        return await self._egress.list_decisions(
            after=query.get("after", 0),
            before=query.get("before"),
            limit=_bounded(query.get("limit", _LIST_LIMIT)),
            newest=query.get("newest", False),
            session=await self._session(call),
            owner=_own(call),
            text=query.get("text", ""),
            refused=query.get("refused", False),
        )

    async def top(self, call: Call) -> EgressTop:
        return await self._egress.top(
            since=call.query.get("since", ""),
            limit=_bounded(call.query.get("limit", _TOP_LIMIT)),
            session=await self._session(call),
            owner=_own(call),
        )

    async def _session(self, call: Call) -> str:
        text = call.query.get("session", "")
        if not text and call.caller.within is not None:
            raise Refused("this API key is bound to projects: name the session (--session KEY) whose egress to see")
        return (await self._sessions.find(text, call.caller.sight(Permission.SESSION_READ))).id if text else ""


def _bounded(limit: int) -> int:
    return max(1, min(limit, _LIST_LIMIT))


def _own(call: Call) -> str | None:
    """Whose sessions' decisions the caller may see; None for everybody's."""
    return None if call.caller.reach(Permission.EGRESS_READ) is Reach.ANY else call.caller.name
