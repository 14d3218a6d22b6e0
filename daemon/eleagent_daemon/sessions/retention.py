"""How long is kept what a session left, and how does it go?"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from eleagent.errors import Conflict, EleAgentError
from eleagent.wire.audit import Phase
from eleagent.wire.sessions import Session
from eleagent_daemon.domain.launch import Done, Remove
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.conversations import Conversations
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.registry import Registry
from eleagent_daemon.store.timeline import Timelines

log = logging.getLogger(__name__)

SWEEP_S: Final = 24 * 3600.0


class Retention:
    """`keep_days`: for so long after its end a session is kept; 0 is for ever."""

    def __init__(
        self,
        *,
        registry: Registry,
        timelines: Timelines,
        artefacts: Artefacts,
        conversations: Conversations,
        launcher: LauncherClient,
        ledger: Ledger,
        keep_days: float,
    ) -> None:
        self._registry = registry
        self._timelines = timelines
        self._artefacts = artefacts
        self._conversations = conversations
        self._launcher = launcher
        self._ledger = ledger
        self._keep_days = keep_days

    def announced(self, session: Session) -> Session:
        """With the time until which it is kept."""
        if not self._keep_days or session.ended is None:
            return session
        until = datetime.fromisoformat(session.ended) + timedelta(days=self._keep_days)
        return msgspec.structs.replace(session, deletion_due=until.isoformat().replace("+00:00", "Z"))

    async def remove(self, key: str) -> None:
        """All of it; its record last, so that it can be asked again after a crash. Raises Conflict while it lives."""
        session = (await self._registry.get(key)).session
        if not session.state.ended:
            raise Conflict(f"session {key} is {session.state}: stop it first (eleagent stop {key})")
        await self._launcher.ask(Remove(session=key, forget=True), Done)
        await self._conversations.remove(key)
        await self._artefacts.remove(key)
        await self._timelines.remove(key)
        await self._registry.forget(key)

    async def run(self) -> None:
        """Once a day: delete what has been kept long enough. Each deletion is in the audit log before it is done."""
        while True:
            if self._keep_days:
                before = datetime.now(UTC) - timedelta(days=self._keep_days)
                for key in await self._registry.ended_before(before.isoformat().replace("+00:00", "Z")):
                    try:
                        await self._expire(key)
                    except EleAgentError as err:
                        log.warning("session %s is kept for now: %s", key, err.message)
            await asyncio.sleep(SWEEP_S)

    async def _expire(self, key: str) -> None:
        said: dict[str, Any] = {"action": "session.remove", "actor": "eleagentd", "target": key, "session": key}
        rule = f"kept {self._keep_days:g} days"
        intent = await self._ledger.write(phase=Phase.INTENT, decision="allowed", rule=rule, **said)
        await self.remove(key)
        await self._ledger.write(
            phase=Phase.OUTCOME, decision="allowed", rule=rule, intent=intent, outcome="done", take_away=True, **said
        )
