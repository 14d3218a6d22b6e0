"""What the registry says and what is really there: who of the two is right, and what is done about it?

Once at start, and every minute after it. What is there is judged on a complete listing alone.

registry           sandbox              what is done
queued             none                 it keeps its place in the queue
starting           any, never released  removed and made again: no agent ran in it
running            running, as attested its output is read on from the last stored position
running            running, differs     killed, and kept for a while to be looked at
running            exited               its output is read to the end; it ends with its own exit code
running            exited by a reboot   lost, and the reboot is named, or the engine that ended it when it came back
running            gone                 lost
running            nobody can say       waited for: an engine that is away takes no session along
paused             running, or reverse  made what the registry says
stopping           any                  the stop is finished
ended, or unknown  any of ours          removed, unless it is kept or made ahead
any                another installation's  never touched: it is not in the listing
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from enum import StrEnum
from typing import Final, Protocol

from eleagent.errors import EleAgentError
from eleagent.wire.sessions import Session
from eleagent_daemon.domain.launch import Done, ListAll, Listing, Remove
from eleagent_daemon.domain.sandbox import Phase, Status
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.store.registry import Record, Registry

log = logging.getLogger(__name__)

EVERY_S: Final = 60.0

_BY_FORCE: Final = frozenset({137, 143, 255})
"""Exit codes of what was ended from outside: SIGKILL, SIGTERM, and an engine's own for what a reboot took."""


class Step(StrEnum):
    REMAKE = "remake"
    ADOPT = "adopt"
    FINISH = "finish"
    LOSE = "lose"
    WAIT = "wait"


def step(*, released: bool, phase: Phase) -> Step:
    """For a session that an earlier daemon, or launcher, left alive. An agent that may have run is never run again."""
    if not released:
        return Step.WAIT if phase is Phase.LOST else Step.REMAKE
    match phase:
        case Phase.RUNNING | Phase.PAUSED:
            return Step.ADOPT
        case Phase.EXITED:
            return Step.FINISH
        case Phase.LOST:
            return Step.WAIT
        case _:
            return Step.LOSE


def true_end(status: Status, *, rebooted: bool, orphaned: bool) -> Status:
    """How it ended, where what ended it was neither the agent nor a person: then its exit code is nobody's."""
    forced = status.exit_code is None or status.exit_code in _BY_FORCE
    if not forced or not (rebooted or orphaned):
        return status
    why = "the host was rebooted while it ran" if rebooted else "the container engine ended it when it was restarted"
    return Status(phase=Phase.GONE, error=why)


def strays(listing: Listing, known: Collection[str]) -> set[str]:
    """Sessions of ours whose sandboxes are nobody's; none where the listing is not complete."""
    return {entry.session for entry in listing.entries} - set(known) if listing.complete else set()


def unseen(listing: Listing, running: Collection[str]) -> set[str]:
    """Sessions that are thought to run and are not there."""
    return set(running) - {entry.session for entry in listing.entries} if listing.complete else set()


class Spares(Protocol):
    @property
    def keys(self) -> set[str]: ...


class Reconciler:
    """`take_up` begins to look after sessions that nobody looks after; `attended` are those that are, each with what
    makes its runner look again. `left` are sessions that are over and whose sandboxes could not be removed, with why.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        launcher: LauncherClient,
        spares: Spares,
        kept_most: int,
        attended: Callable[[], dict[str, Callable[[], None]]],
        take_up: Callable[[list[Record]], Awaitable[None]],
    ) -> None:
        self.left: dict[str, str] = {}
        self._registry = registry
        self._launcher = launcher
        self._spares = spares
        self._kept_most = kept_most
        self._attended = attended
        self._take_up = take_up

    async def begin(self) -> None:
        """At start: take up every session that an earlier daemon left."""
        await self._take_up(await self._registry.live())

    async def run(self) -> None:
        """Every minute, until cancelled."""
        while True:
            try:
                await self.reconcile()
            except EleAgentError as err:
                log.warning("the registry was not compared with what is there: %s", err.message)
            await asyncio.sleep(EVERY_S)

    async def reconcile(self) -> None:
        """The listing is older than what is known: what came meanwhile is no stray."""
        spares = self._spares.keys
        before = self._attended()
        listing = await self._launcher.ask(ListAll(), Listing)
        live = await self._registry.live()
        attended = self._attended()
        forgotten = [record for record in live if record.session.key not in attended]
        if forgotten:
            log.warning("taking up again %s", ", ".join(record.session.key for record in forgotten))
            await self._take_up(forgotten)
        kept = {session.key for session in await self.kept()}
        alive = {record.session.key for record in live}
        left = {}
        for session in strays(listing, alive | attended.keys() | spares | self._spares.keys | kept):
            log.warning("removing the sandbox of session %s, which is not alive", session)
            try:
                await self._launcher.ask(Remove(session=session), Done)
            except EleAgentError as err:
                log.warning("the sandbox of session %s can't be removed: %s", session, err.message)
                left[session] = err.message
        self.left = left
        started = {record.session.key for record in live if record.session.started}
        for key in unseen(listing, started & before.keys() & attended.keys()):
            attended[key]()

    async def kept(self) -> list[Session]:
        """Ended sessions whose sandboxes are still there to be looked at, the newest first."""
        return await self._registry.list_kept(most=self._kept_most)
