"""How does a sandbox's output get into the timeline?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from eleagent.wire.events import OutputGap, OutputText, Payload, Position
from eleagent_daemon.domain.spool import Frame
from eleagent_daemon.sessions.adapter import Preview, Send
from eleagent_daemon.sessions.intake import Intake, Taken
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.store.spoolreader import SpoolReader


class Reading:
    """One session's output, from `live.position` on. Events and how far reading got become durable together."""

    def __init__(self, *, live: Live, launcher: LauncherClient, pool: ThreadPoolExecutor, limit_bytes: int) -> None:
        self._live = live
        self._launcher = launcher
        self._pool = pool
        self._limit_bytes = limit_bytes
        self._full = False
        self._intake = Intake(adapter=live.adapter, position=live.position)
        self._spool = SpoolReader(folder=live.spool, offset=self._intake.offset)

    @property
    def offset(self) -> int:
        """How far the spool was read."""
        return self._spool.offset

    async def drain(self) -> list[Send]:
        """Read all that is there. Returns what the adapter wants written."""
        loop = asyncio.get_running_loop()
        sends: list[Send] = []
        while frames := await loop.run_in_executor(self._pool, self._spool.read):
            sends += await self._keep(self._taken(frames))
        return sends

    async def finish(self) -> None:
        """The output has ended: what still waited for its end is an event too."""
        await self._keep(self._intake.end())

    def _taken(self, frames: list[Frame]) -> Iterable[Taken]:
        for frame in frames:
            yield from self._intake.take(frame)

    async def _keep(self, taken: Iterable[Taken]) -> list[Send]:
        events: list[tuple[Payload, Position | None]] = []
        sends: list[Send] = []
        for item in taken:
            if isinstance(item, Send):
                sends.append(item)
            elif isinstance(item, Preview):
                self._live.previews.push(item.text)
            else:
                events += self._within_limit(item.payload, item.position)
        if events:
            await self._live.timeline.append(*events)
            self._live.position = events[-1][1]
            if self._live.position is not None:
                self._launcher.consumed(self._live.key, self._live.position.offset)
        return sends

    def _within_limit(self, payload: Payload, position: Position) -> list[tuple[Payload, Position | None]]:
        """What a session may keep of its output is bounded; the rest is read, left out, and said to be missing."""
        if not isinstance(payload, OutputText) or self._live.timeline.durable_bytes < self._limit_bytes:
            return [(payload, position)]
        if self._full:
            self._launcher.consumed(self._live.key, position.offset)
            return []
        self._full = True
        reason = f"the timeline holds {self._limit_bytes} bytes (session.output_bytes): output from here on is not kept"
        return [(OutputGap(reason=reason), position)]
