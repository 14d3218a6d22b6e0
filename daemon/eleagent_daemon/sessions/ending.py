"""How does a session end: doors closed, artefacts collected, sandbox removed, timeline sealed?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from eleagent.errors import (
    EleAgentError,
    EngineUnavailable,
    LauncherUnavailable,
    NotFound,
    StorageUnavailable,
    Unavailable,
)
from eleagent.wire.events import ArtefactsSkipped, ArtefactStored, SessionEnded
from eleagent_daemon.domain.launch import AnyVerb, Collect, Collected, Done, Remove
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.outcome import VIOLATED, Outcome, explained
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.timeline import Timelines, now

log = logging.getLogger(__name__)

ARTEFACT_BYTES = 4 << 30
ARTEFACT_FILES = 20_000
_EVENTS_AT_ONCE = 1000
_LAUNCHER_WAIT_S = 30.0
RETRY_S = 2.0
UNMOUNT_TRIES = 5
"""The launcher ends what runs before it unmounts: what can't be unmounted holds nobody up for longer."""
_PAUSE_S = 0.1
_A = TypeVar("_A", bound=msgspec.Struct)


class Ending:
    def __init__(
        self,
        *,
        launcher: LauncherClient,
        artefacts: Artefacts,
        timelines: Timelines,
        accounts: Accounts,
        keep_s: float,
        pool: ThreadPoolExecutor,
    ) -> None:
        """`keep_s`: how long a sandbox that was found changed is kept to be looked at; it does not run."""
        self._launcher = launcher
        self._artefacts = artefacts
        self._timelines = timelines
        self._accounts = accounts
        self._keep_s = keep_s
        self._pool = pool

    async def conclude(self, live: Live, outcome: Outcome | None) -> None:
        """End it as `outcome` says, or as its last event did. Can be repeated after any error that it raises."""
        await live.close_doors()
        if live.ended is None and outcome is not None:
            stored = await self._collect(live) if live.started else 0
            if outcome.reason == VIOLATED and self._keep_s:
                until = datetime.now(UTC) + timedelta(seconds=self._keep_s)
                live.kept_until = until.isoformat(timespec="seconds").replace("+00:00", "Z")
            elif live.record.attempt:  # else nothing was ever made, and a queued session ends at once
                await self._remove(live)
            live.ended = SessionEnded(
                state=outcome.state,
                reason=outcome.reason,
                exit_code=outcome.exit_code,
                agent_exit_code=outcome.agent_exit_code,
                detail=explained(outcome, live.timeout_s),
                usage=live.usage,
                artefacts=stored,
            )
            try:
                await live.timeline.append(live.ended)
            except StorageUnavailable as err:
                log.warning("the end of %s is not in its timeline: %s", live.key, err.message)
        if live.ended is not None:
            await self._settle(live, live.ended)

    async def _settle(self, live: Live, ended: SessionEnded) -> None:
        """What follows from the last event."""
        await self._accounts.ended(live, ended)
        await live.become(
            state=ended.state,
            reason=ended.reason,
            exit_code=ended.exit_code,
            agent_exit_code=ended.agent_exit_code,
            ended=now(),
            usage=ended.usage,
            artefacts=ended.artefacts,
            last_seq=live.timeline.last_seq,
            last_line=live.timeline.last_line,
            kept_until=live.kept_until,
            paused_by=[],
        )
        self._timelines.close(live.key)

    async def _ask(self, verb: AnyVerb, expected: type[_A], fds: Sequence[int] = ()) -> _A:
        """Both verbs of an end can be asked again, as often as the launcher dies over them."""
        while True:
            try:
                return await self._launcher.ask(verb, expected, fds)
            except LauncherUnavailable as err:
                log.warning("%s is asked for again: %s", type(verb).__name__, err.message)
                with contextlib.suppress(LauncherUnavailable):
                    await self._launcher.ready(_LAUNCHER_WAIT_S)
                await asyncio.sleep(_PAUSE_S)

    async def _remove(self, live: Live) -> None:
        """Until it is gone: the session's user must not be another's while a process of it may live. Where none does
        and only a mount stays, the session ends after a while, and the reconciliation goes on trying.
        """
        tries = 0
        while True:
            try:
                await self._ask(Remove(session=live.key), Done)
            except EngineUnavailable as err:
                log.warning("sandbox of %s is not removed yet: %s", live.key, err.message)
                await asyncio.sleep(RETRY_S)
            except Unavailable as err:
                tries += 1
                log.warning("sandbox of %s is not removed yet, try %d: %s", live.key, tries, err.message)
                if tries == UNMOUNT_TRIES:
                    return
                await asyncio.sleep(RETRY_S)
            except EleAgentError as err:
                log.warning("sandbox of %s could not be removed: %s", live.key, err.message)
                return
            else:
                return

    async def _collect(self, live: Live) -> int:
        loop = asyncio.get_running_loop()
        try:
            folder = await loop.run_in_executor(self._pool, self._artefacts.open_folder, live.key)
        except OSError as err:
            await self._skip(live, f"not collected: {err.strerror}")
            return 0
        try:
            verb = Collect(session=live.key, limit_bytes=ARTEFACT_BYTES, limit_files=ARTEFACT_FILES)
            collected = await self._ask(verb, Collected, [folder])
        except NotFound as err:
            # An earlier daemon died after the sandbox was removed: what was collected before that is there.
            if not await self._artefacts.list_artefacts(live.key):
                await self._skip(live, f"not collected: {err.message}")
            collected = Collected(count=0, bytes=0, skipped=[])
        except EleAgentError as err:
            await self._skip(live, f"not collected: {err.message}")
            return 0
        finally:
            os.close(folder)
        found = await self._artefacts.list_artefacts(live.key)
        new = [one for one in found if one.path not in live.stored]
        with contextlib.suppress(StorageUnavailable):  # they are in the manifest all the same
            for start in range(0, len(new), _EVENTS_AT_ONCE):
                some = new[start : start + _EVENTS_AT_ONCE]
                await live.timeline.append(
                    *(ArtefactStored(path=one.path, size_bytes=one.size_bytes, sha256=one.sha256) for one in some)
                )
                live.stored |= {one.path for one in some}
            if collected.skipped:
                skipped = ArtefactsSkipped(items=collected.skipped[:100], count=len(collected.skipped))
                await live.timeline.append(skipped)
        return len(found)

    async def _skip(self, live: Live, why: str) -> None:
        with contextlib.suppress(StorageUnavailable):
            await live.timeline.append(ArtefactsSkipped(items=[why], count=1))
