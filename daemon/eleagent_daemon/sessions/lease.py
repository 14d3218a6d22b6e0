"""Who may say something to a session now? One driver at a time, by a fenced lease; any number may watch.

It is the owner's until it is handed over: to one who shares the project, or to whoever of them speaks next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eleagent.errors import Conflict, Refused
from eleagent.wire.driving import SessionDriver
from eleagent_daemon.sessions.live import Live


class Lease:
    """One session's. What is said is written while the lease is held still, so that none is said under an old one."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._still = asyncio.Lock()

    @asynccontextmanager
    async def driving(self, by: str, number: int | None = None) -> AsyncIterator[None]:
        """`by` drives, taking a lease that nobody holds. Raises Conflict where somebody else does, or did since
        `number`.
        """
        async with self._still:
            session = self._live.session
            if number is not None and number != session.lease:
                raise Conflict(
                    f"session {session.key} changed hands since you last spoke (driver {session.driver or 'nobody'}): "
                    "read on, then say it again",
                    lease=session.lease,
                )
            self.check(by)
            if not session.driver:
                await self._give(by, by=by)
            yield

    def check(self, by: str) -> None:
        """Raises Conflict where somebody else drives."""
        session = self._live.session
        free = not session.driver and session.lease > 0
        if not free and by != (session.driver or session.owner):
            raise Conflict(
                f"session {session.key} is driven by {session.driver or session.owner}: they let you with "
                f"eleagent session handover {session.key} {by}, or its owner or an admin takes it over"
            )

    async def hand_over(self, to: str, *, by: str, may_take: bool) -> None:
        """Its driver gives it away; its owner and who `may_take` take it. Raises Refused."""
        async with self._still:
            session = self._live.session
            if by not in (session.driver, session.owner) and not may_take:
                raise Refused(f"{by} neither drives session {session.key} nor owns it")
            if to != session.driver:
                await self._give(to, by=by)

    async def _give(self, driver: str, *, by: str) -> None:
        """In the timeline first: who watches knows before anything is said."""
        lease = self._live.session.lease + 1
        await self._live.timeline.append(SessionDriver(driver=driver, lease=lease, by_user=by))
        await self._live.become(driver=driver, lease=lease)
