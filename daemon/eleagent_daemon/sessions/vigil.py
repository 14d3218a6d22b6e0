"""What happens to running sandboxes while nothing can be recorded? They stand still after a grace, and go on after it.

The launcher is told every second that the audit log can be written; when it hears otherwise, or nothing from a daemon
that is connected, it pauses them by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from eleagent.errors import Conflict, EleAgentError
from eleagent_daemon.domain.launch import Heartbeat
from eleagent_daemon.sessions.accounts import DAEMON, Accounts
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.runner import Runner
from eleagent_daemon.store.ledger import Ledger

log = logging.getLogger(__name__)

HOLD: Final = "audit"
BEAT_S: Final = 1.0
ANCHOR_S: Final = 600.0
"""How often the timeline of a session that goes on is anchored in the audit log."""


class Vigil:
    """`run` has to run for as long as the daemon lives. `runners` are the sessions under way."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        launcher: LauncherClient,
        accounts: Accounts,
        runners: Callable[[], Iterable[Runner]],
        grace_s: float,
        pause_on_loss: bool,
    ) -> None:
        self._ledger = ledger
        self._launcher = launcher
        self._accounts = accounts
        self._runners = runners
        self._grace_s = grace_s
        self._pause_on_loss = pause_on_loss
        self._anchored: dict[str, tuple[float, int]] = {}

    async def run(self) -> None:
        well = time.monotonic()
        while True:
            trouble = self._ledger.trouble
            if not trouble:
                well = time.monotonic()
            beat = Heartbeat(recording=not trouble, grace_s=self._grace_s, pause_on_loss=self._pause_on_loss)
            self._launcher.beat(beat)
            if trouble and time.monotonic() - well >= self._grace_s:
                await self._hold(trouble)
            elif not trouble:
                await self._let_go()
                await self._anchor()
            await asyncio.sleep(BEAT_S)

    async def _hold(self, trouble: str) -> None:
        for runner in list(self._runners()):
            if HOLD in runner.live.session.paused_by:
                continue
            with contextlib.suppress(Conflict):  # no agent runs in it
                try:
                    await runner.holding.pause(HOLD, by=DAEMON, detail=trouble)
                except EleAgentError as err:
                    log.warning("session %s can't be paused: %s", runner.live.key, err.message)

    async def _let_go(self) -> None:
        for runner in list(self._runners()):
            if HOLD in runner.live.session.paused_by:
                try:
                    await runner.holding.unpause(HOLD, by=DAEMON)
                except EleAgentError as err:
                    log.warning("session %s does not go on yet: %s", runner.live.key, err.message)

    async def _anchor(self) -> None:
        at = time.monotonic()
        alive = {}
        for runner in list(self._runners()):
            live = runner.live
            when, seq = self._anchored.get(live.key, (at, 0))
            if at - when >= ANCHOR_S and live.timeline.last_seq != seq and live.ended is None:
                await self._accounts.anchor(live)
                when, seq = at, live.timeline.last_seq
            alive[live.key] = (when, seq)
        self._anchored = alive
