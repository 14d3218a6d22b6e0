"""When does the launcher pause sandboxes by itself? When what they do can't be recorded any more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from eleagent_daemon.domain.launch import Heartbeat

log = logging.getLogger(__name__)

SILENCE_S: Final = 5.0
"""A daemon that says nothing for so long is taken for one that can't record."""
LOOK_S: Final = 0.5
AGAIN_S: Final = 5.0
"""Between looks at what was paused: who else starts to run, or was let go by somebody else, is found by them."""


class Watchdog:
    """Who goes on afterwards is the daemon's to say: it knows what else a sandbox stands still for.

    A daemon that never sent a heartbeat (an older one) is not waited for.
    """

    def __init__(
        self,
        *,
        connected: Callable[[], bool],
        pause_all: Callable[[str], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connected = connected
        self._pause_all = pause_all
        self._clock = clock
        self._last: Heartbeat | None = None
        self._well = 0.0

    def beat(self, beat: Heartbeat) -> None:
        if beat.recording or self._last is None:
            self._well = self._clock()
        self._last = beat

    def why(self) -> str:
        """Why nothing may run now; empty while it may."""
        beat = self._last
        if beat is None:
            return ""
        unwell_s = self._clock() - self._well
        if not beat.recording:
            return "eleagentd can't record" if unwell_s > beat.grace_s else ""
        if not self._connected() and not beat.pause_on_loss:
            return ""
        return "eleagentd says nothing" if unwell_s > SILENCE_S + beat.grace_s else ""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            reason = self.why()
            stand_still = bool(reason) and await self._pause_all(reason)
            await asyncio.sleep(AGAIN_S if stand_still else LOOK_S)
