"""What is there to see of an act whose daemon died over it?"""

from __future__ import annotations

from eleagent.errors import NotFound
from eleagent.permissions import Reach
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.domain.access import Sight
from eleagent_daemon.store.registry import Registry

_LOOKED_AT = 1000


async def find_traces(registry: Registry, intent: AuditRecord) -> str:
    """In words, for the record that closes the intent."""
    if intent.action.startswith("egress."):
        return "it was broken off with the daemon"
    if intent.session:
        try:
            session = (await registry.get(intent.session)).session
        except NotFound:
            return f"there is no session {intent.session}"
        return f"session {session.key} is {session.state}"
    if intent.action == "session.create":
        theirs = Sight(reach=Reach.OWN, user=intent.actor)
        recent = await registry.list_sessions(theirs, live_only=False, limit=_LOOKED_AT)
        made = [one.key for one in recent if one.created >= intent.ts]
        return f"sessions of {intent.actor} since: {', '.join(made)}" if made else "no session was made"
    return "nothing is known of what came of it"
