"""How is it recorded who was turned away, without letting them fill the audit log?"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import Final

from eleagent.errors import AuditUnavailable
from eleagent_daemon.store.ledger import Ledger

log = logging.getLogger(__name__)

WINDOW_S: Final = 1.0


class Refusals:
    """At most one record a window and actor, which counts what was refused since the one before."""

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger
        self._recorded: dict[str, float] = {}
        self._waiting: dict[str, int] = {}

    async def record(self, *, actor: str, action: str, why: str, request: str) -> None:
        """The first of a flood is recorded at once; the second waits for the window's end and counts the others.

        It never raises: who is refused stays so when it can't be recorded.
        """
        if actor in self._waiting:
            self._waiting[actor] += 1
            return
        loop = asyncio.get_running_loop()
        count = 1
        if (left := self._recorded.get(actor, -inf) + WINDOW_S - loop.time()) > 0:
            self._waiting[actor] = 1
            try:
                await asyncio.sleep(left)
            finally:
                count = self._waiting.pop(actor)
        at = loop.time()
        self._recorded = {who: when for who, when in self._recorded.items() if at - when < WINDOW_S} | {actor: at}
        try:
            await self._ledger.write(
                phase="event",
                action="caller.refused",
                actor=actor,
                decision="denied",
                target=action,
                request=request,
                details={"why": why, "count": str(count)},
            )
        except AuditUnavailable as err:
            log.warning("%s refusals of %s are not recorded: %s", count, actor, err.message)
