"""How is a session ended before it ends by itself, and when is it too late for that?"""

from __future__ import annotations

import contextlib

from eleagent.errors import Conflict, EngineUnavailable, LauncherUnavailable, NotFound, StorageUnavailable
from eleagent.wire.events import SessionStopping
from eleagent.wire.sessions import State
from eleagent_daemon.domain.launch import Done, Stop
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.outcome import Cause

DAEMON = "eleagentd"
"""Who ends, or pauses, a session where no person does."""


class Stopping:
    """`over` is set once it is decided what came of the session. `grace_s` is what the last stop gave it."""

    def __init__(self, *, live: Live, launcher: LauncherClient, grace_s: float) -> None:
        self.over = live.ended is not None or live.exited is not None
        self.grace_s = live.session.limits.stop_grace_s if live.session.limits.stop_grace_s is not None else grace_s
        self._live = live
        self._launcher = launcher
        self._sent = False

    def check_going(self) -> None:
        """What it came to is decided once: nobody's wish changes it while its files are collected. Raises Conflict."""
        if self.over:
            raise Conflict(
                f"session {self._live.key} is over, its files are being collected: eleagent wait shows its end"
            )

    async def end(self, cause: Cause, *, by: str = DAEMON, grace_s: float | None = None, why: str = "") -> bool:
        """Whether this is the first reason to end it. The reason is durable; the stop is sent until it was taken."""
        live = self._live
        first = live.end_because(cause, by, why)
        if first:
            with contextlib.suppress(StorageUnavailable):  # what only takes away is done without its record too
                await live.timeline.append(SessionStopping(reason=cause, by_user=by, detail=why))
            if live.session.state is not State.QUEUED and not live.session.state.ended:
                with contextlib.suppress(StorageUnavailable):
                    await live.become(state=State.STOPPING)
        self.grace_s, self._sent = self.grace_s if grace_s is None else grace_s, False
        with contextlib.suppress(LauncherUnavailable, EngineUnavailable):  # sent by who follows it then
            await self.send()
        return first

    async def send(self) -> None:
        """The stop, where one is due and was not taken yet."""
        if self._live.cause is None or self._sent:
            return
        with contextlib.suppress(NotFound):  # not made yet, or gone: nothing runs
            await self._launcher.ask(Stop(session=self._live.key, grace_s=self.grace_s), Done)
            self._sent = True

    async def for_person(self, by: str, *, grace_s: float | None) -> None:
        """Said again, the newer grace counts. Raises Conflict when it ends otherwise."""
        self.check_going()
        if not await self.end(Cause.STOPPED, by=by, grace_s=grace_s) and self._live.cause is not Cause.STOPPED:
            raise Conflict(f"session {self._live.key} is already being ended: {self._live.cause}")
