"""How does a sandbox's output get into the timeline?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from eleagent.wire.events import (
    AgentNotice,
    AgentTurnFinished,
    ApprovalRequested,
    OutputGap,
    OutputText,
    Payload,
)
from eleagent.wire.observations import FilesChanged, ObservationGap, ProgramExecuted
from eleagent.wire.timeline import Position
from eleagent_daemon.domain.spool import Frame, TornFrame
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.adapter import QUESTION_WITHDRAWN, Preview, Send
from eleagent_daemon.sessions.intake import Intake, Placed, Taken
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.store.spoolreader import SpoolReader
from eleagent_daemon.store.timeline import now

MARK_BYTES: Final = 16 << 20
"""Output that gives no event is marked as read this often, so that the spool can let go of it."""

_EVENTS_AT_ONCE: Final = 500


class Reading:
    """One session's output, from `live.position` on. Events and how far reading got become durable together.

    `turn_over` is set at the end of each of the agent's turns, for whoever reads it to reset. `overflowing`: an agent
    has said more than a timeline may hold. A program's text, and what the host saw, is only left out then.
    """

    def __init__(
        self,
        *,
        live: Live,
        launcher: LauncherClient,
        accounts: Accounts,
        pool: ThreadPoolExecutor,
        limit_bytes: int,
    ) -> None:
        self.overflowing = False
        self.turn_over = False
        self._live = live
        self._launcher = launcher
        self._accounts = accounts
        self._digest = accounts.digest()
        self._pool = pool
        self._limit_bytes = limit_bytes
        self._left_out: int | None = None
        self._unseen_since, self._unseen = "", 0
        self._intake = Intake(adapter=live.adapter, claims=live.claims, position=live.position)
        self._spool = SpoolReader(folder=live.spool, offset=self._intake.offset)
        self._lost = False

    @property
    def offset(self) -> int:
        """How far the spool was read; past every end where it is lost."""
        return sys.maxsize if self._lost else self._spool.offset

    async def drain(self) -> list[Send]:
        """Read all that is there. Returns what the adapter wants written."""
        sends: list[Send] = []
        while frames := await self._read():
            for frame in frames:
                sends += await self._keep(self._intake.take(frame))
            await self._mark()
        return sends

    async def finish(self) -> None:
        """The output has ended: what still waited for its end is an event too, and so is what was left out."""
        await self._keep(self._intake.end())
        if self._left_out is not None:
            await self._append([(self._gap(), self._intake.position)])
        if self._unseen:
            what = f"what went on inside: the timeline holds {self._limit_bytes} bytes (session.output_bytes)"
            gap = ObservationGap(begin=self._unseen_since, end=now(), what=what, missed=self._unseen)
            await self._append([(gap, self._intake.position)])
        await self._accounts.observed(self._live, self._digest.rest())

    async def _read(self) -> list[Frame]:
        if self._lost:
            return []
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._spool.read)
        except (TornFrame, OSError) as err:
            self._lost = True
            await self._live.timeline.append(OutputGap(reason=f"the spool can't be read any more: {err}"))
            return []

    async def _keep(self, taken: Iterable[Taken]) -> list[Send]:
        events: list[tuple[Payload, Position | None]] = []
        sends: list[Send] = []
        for item in taken:
            if isinstance(item, Send):
                sends.append(item)
            elif isinstance(item, Preview):
                self._live.previews.push(item.text)
            elif self._fits(item):
                self.turn_over = self.turn_over or isinstance(item.payload, AgentTurnFinished)
                events.append((item.payload, item.position))
                if len(events) == _EVENTS_AT_ONCE:
                    await self._append(events)
                    events = []
        if events:
            await self._append(events)
        else:
            await asyncio.sleep(0)  # a flood that means nothing lets the others run too
        return sends

    async def _append(self, events: list[tuple[Payload, Position | None]]) -> None:
        last = await self._live.timeline.append(*events)
        self._live.position = events[-1][1]
        if self._live.position is not None:
            self._launcher.consumed(self._live.key, self._live.position.offset)
        for seq, (payload, _) in enumerate(events, last - len(events) + 1):
            await self._put(payload)
            await self._accounts.observed(self._live, self._digest.take(payload, seq))

    async def _put(self, payload: Payload) -> None:
        """What is asked, once it is in the timeline, goes to the session's desk."""
        if self._live.desk is None:
            return
        match payload:
            case ApprovalRequested():
                await self._live.desk.requested(payload)
            case AgentNotice(kind=kind) if kind == QUESTION_WITHDRAWN:
                await self._live.desk.withdrawn(payload.detail)
            case _:
                pass

    def _fits(self, item: Placed) -> bool:
        """What a timeline may hold of a session's own words is bounded."""
        if self._live.timeline.durable_bytes < self._limit_bytes:
            return True
        if isinstance(item.payload, OutputText):
            self._left_out = (self._left_out or 0) + len(item.payload.text)
            return False
        if isinstance(item.payload, ProgramExecuted | FilesChanged):
            self._unseen_since = self._unseen_since or now()
            self._unseen += item.payload.count if isinstance(item.payload, ProgramExecuted) else 1
            return False
        self.overflowing = True
        return True

    async def _mark(self) -> None:
        """Make durable how far reading got, where no event did for a long while."""
        reached = self._intake.position
        behind = reached.offset - (self._live.position.offset if self._live.position else 0)
        if behind < MARK_BYTES:
            return
        silent = AgentNotice(kind="silent_output", detail=f"{behind} bytes of output that say nothing")
        await self._append([(silent if self._left_out is None else self._gap(), reached)])

    def _gap(self) -> OutputGap:
        reason = f"the timeline holds {self._limit_bytes} bytes (session.output_bytes): more is not kept"
        left_out, self._left_out = self._left_out, None
        return OutputGap(reason=reason, size_bytes=left_out)
