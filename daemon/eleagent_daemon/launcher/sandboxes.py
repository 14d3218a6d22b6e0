"""Which sandboxes are there, and how do they come and go?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from eleagent.errors import Conflict, EleAgentError, EngineUnavailable, NotFound, Refused
from eleagent.wire.sessions import KEY_PATTERN
from eleagent_daemon.domain.launch import Entry, Listing, Made, Notice
from eleagent_daemon.domain.sandbox import LABEL, Phase, SandboxSpec, sandbox_name
from eleagent_daemon.kernel.child import Children
from eleagent_daemon.launcher.host import pool_accounts
from eleagent_daemon.launcher.observe.programs import Programs
from eleagent_daemon.launcher.places import Places
from eleagent_daemon.launcher.record import Record
from eleagent_daemon.launcher.sandbox import LiveSandbox
from eleagent_daemon.launcher.sources import Sources
from eleagent_daemon.launcher.specs import check
from eleagent_daemon.launcher.spool import SpoolWriter
from eleagent_daemon.launcher.tasks import Tasks
from eleagent_daemon.runtime.seam import Runtime

log = logging.getLogger(__name__)

WATCH_S: Final = 60.0
STRAY_S: Final = 60.0
"""How old a container of ours without a record is when it is removed."""

T = TypeVar("T")
U = TypeVar("U")


class Sandboxes:
    """The sandboxes of one installation, by session. A record is on disk before anything is made."""

    def __init__(
        self,
        *,
        places: Places,
        runtime: Runtime,
        sources: Sources,
        programs: Programs,
        tasks: Tasks,
        children: Children,
        installation: str,
        reader_group: int,
        notify: Callable[[Notice], None],
    ) -> None:
        self._places = places
        self._runtime = runtime
        self._sources = sources
        self._programs = programs
        self._tasks = tasks
        self._children = children
        self._installation = installation
        self._reader_group = reader_group
        self._notify = notify
        self._live: dict[str, LiveSandbox] = {}
        self._making: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def any_alive(self) -> bool:
        """Spares do not count: they are nobody's."""
        return any(sandbox.alive and not sandbox.record.spec.is_spare for sandbox in self._live.values())

    def get(self, session: str) -> LiveSandbox:
        if session not in self._live:
            raise NotFound(f"the launcher has no sandbox of {session}")
        return self._live[session]

    def find(self, session: str) -> LiveSandbox | None:
        return self._live.get(session)

    def lock(self, session: str) -> asyncio.Lock:
        """Held by what makes, changes or removes the session's sandbox."""
        return self._locks.setdefault(session, asyncio.Lock())

    async def recover(self) -> None:
        """Take up what an earlier launcher left behind. A session that can't be taken up stops no other."""
        for session in self._places.sessions():
            try:
                await self._recover(session)
            except Exception:
                log.exception("%s can't be taken up, it waits for its removal", session)

    async def _recover(self, session: str) -> None:
        try:
            record = Record.load(self._places.folder(session))
        except (FileNotFoundError, msgspec.DecodeError) as error:
            log.warning("the record of %s can't be read, it is cleared away: %s", session, error)
            await self.remove(session, forget=False)
        else:
            sandbox = self._sandbox(record)
            await sandbox.recover()
            self._live[session] = sandbox

    async def create(self, spec: SandboxSpec) -> Made:
        """Idempotent by `spec.name`. Raises BadRequest, Conflict, Refused, and what the runtime raises."""
        if self._runtime.needs_root and os.geteuid() != 0:
            raise Refused(
                f"the {self._runtime.name} runtime needs a launcher that runs as root: sudo eleagent daemon run, "
                "or run it with --runtime bubblewrap"
            )
        if os.geteuid() == 0 and (accounts := pool_accounts(pwd.getpwall())):
            raise Refused(f"{accounts[0]} has the uid of a sandbox, which it could get at: give it another")
        check(spec, installation=self._installation)
        if (sandbox := self._live.get(spec.session)) is not None:
            if sandbox.record.spec == spec:
                return self._made(sandbox)
            if sandbox.record.spec != spec.spare():
                raise Conflict(f"{sandbox.record.spec.name} is still there: remove it before {spec.name} is made")
            if sandbox.alive:
                self._places.assign(spec)
                sandbox.assign(spec)
                return self._made(sandbox)
            await self.remove(spec.session, forget=True)
        if holder := self._find_holder(spec.uid):
            raise Conflict(f"uid {spec.uid} is the live sandbox's of {holder}: stop it, or take another")
        self._making[spec.session] = spec.uid
        try:
            return await self._make(spec)
        finally:
            del self._making[spec.session]

    async def _make(self, spec: SandboxSpec) -> Made:
        held = {
            mount.token: self._sources.take(mount.token, spec.session, mount.device, mount.inode) for mount in spec.data
        }
        self._places.folder(spec.session).mkdir(mode=0o711, exist_ok=True)
        record = Record(spec=spec)
        record.save(self._places.folder(spec.session))
        try:
            if spec.disk_of:
                self._inherit(spec)
            record.placement = await self._places.lay_out(spec, held)
            making = self._runtime.create(spec, record.placement)
            made, data = await _both(making, self._places.fill(spec, held))
            record.sandbox_id, record.placement = made.id, msgspec.structs.replace(record.placement, data=data)
            record.save(self._places.folder(spec.session))
            sandbox = self._live[spec.session] = self._sandbox(record)
            await sandbox.start()
        except BaseException:
            with contextlib.suppress(Exception):
                await self.remove(spec.session, forget=False)
            raise
        return self._made(sandbox)

    def _inherit(self, spec: SandboxSpec) -> None:
        """A disk is one live sandbox's at most. Raises Conflict, NotFound."""
        if spec.disk_of in self._live or self._places.folder(spec.disk_of).exists():
            raise Conflict(f"{spec.disk_of} is still there: its disk can't be another's")
        self._places.inherit(spec)

    async def remove(self, session: str, *, forget: bool) -> None:
        """Idempotent, also for what was half made. Raises what the runtime raises; then it can be asked for again."""
        sandbox = self._live.get(session)
        folder = self._places.folder(session)
        if sandbox is not None:
            # An engine does not end a sandbox whose output somebody holds and does not read.
            await sandbox.close()
            removal = self._runtime.remove(sandbox.record.spec.name)
            # What has exited holds none of its mounts any more.
            await (_both(removal, self._places.unmount(session, self._children)) if sandbox.exited else removal)
        else:
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                await self._runtime.remove(Record.load(folder).spec.name)
            await self._remove_recordless(session)
        await self._places.unmount(session, self._children)
        await self._places.clear(session, forget=forget)
        self._sources.drop(session)
        self._live.pop(session, None)

    async def listing(self) -> Listing:
        """What the runtime has, and what only has a record."""
        entries, complete = await self._runtime.list({f"{LABEL}.installation": self._installation})
        listed = {entry.session for entry in entries}
        only_recorded = [
            Entry(session, sandbox.record.spec.attempt, Phase.GONE if complete else Phase.LOST)
            for session, sandbox in self._live.items()
            if session not in listed
        ]
        return Listing(entries + only_recorded, complete)

    async def watch(self) -> None:
        """Attest every running sandbox and remove strays, again and again, until cancelled."""
        while True:
            self._tasks.start(self.remove_strays(), "removal of strays")
            await asyncio.sleep(WATCH_S)
            for sandbox in list(self._live.values()):
                self._tasks.start(sandbox.watch(), f"watch of {sandbox.session}")

    async def remove_strays(self) -> None:
        """Remove containers of this installation that belong to no record: nobody else knows of them any more."""
        entries, _ = await self._runtime.list({f"{LABEL}.installation": self._installation})
        for entry in entries:
            if time.time() - entry.made < STRAY_S or not re.fullmatch(KEY_PATTERN, entry.session):
                continue
            async with self.lock(entry.session):
                if not self._is_recorded(entry):
                    log.warning("removing attempt %d of %s, which has no record", entry.attempt, entry.session)
                    try:
                        await self._runtime.remove(sandbox_name(entry.session, entry.attempt))
                    except EleAgentError as error:
                        log.warning("%s", error.message)

    async def pause_all(self, reason: str) -> bool:
        """Every sandbox with an agent in it; False where one can't be paused, and has to be tried again."""
        all_stand_still = True
        for session, sandbox in list(self._live.items()):
            if not sandbox.alive:
                continue
            try:
                async with self.lock(session):
                    if await sandbox.pause_where_it_runs():
                        log.warning("%s is paused: %s", session, reason)
            except EleAgentError as error:
                log.warning("%s can't be paused: %s", session, error.message)
                all_stand_still = False
        return all_stand_still

    def daemon_lost(self) -> None:
        """Spares go with the daemon that asked for them."""
        for sandbox in list(self._live.values()):
            sandbox.input.forget_pieces()
            if sandbox.record.spec.is_spare:
                self._tasks.start(self._drop_spare(sandbox.session), f"removal of spare {sandbox.session}")

    async def _drop_spare(self, session: str) -> None:
        async with self.lock(session):
            if (sandbox := self._live.get(session)) is not None and sandbox.record.spec.is_spare:
                await self.remove(session, forget=True)

    async def close(self) -> None:
        """Let go of all sandboxes as they are."""
        for sandbox in self._live.values():
            await sandbox.close()

    async def _remove_recordless(self, session: str) -> None:
        """Containers of ours whose record is gone. Raises EngineUnavailable where nobody can say if there are any."""
        entries, complete = await self._runtime.list(
            {f"{LABEL}.session": session, f"{LABEL}.installation": self._installation}
        )
        if not complete:
            raise EngineUnavailable(f"the engine can't be asked for the containers of {session}: remove it again later")
        for entry in entries:
            await self._runtime.remove(sandbox_name(session, entry.attempt))

    def _is_recorded(self, entry: Entry) -> bool:
        """Or may be: a session that was not taken up still has its folder."""
        if (sandbox := self._live.get(entry.session)) is not None:
            return sandbox.record.spec.attempt == entry.attempt
        return self._places.folder(entry.session).is_dir()

    def _find_holder(self, uid: int) -> str | None:
        live = {session: sandbox.record.spec.uid for session, sandbox in self._live.items() if sandbox.alive}
        return next((session for session, held in (live | self._making).items() if held == uid), None)

    def _sandbox(self, record: Record) -> LiveSandbox:
        session = record.spec.session
        return LiveSandbox(
            record=record,
            folder=self._places.folder(session),
            manifest=self._places.manifest(session),
            runtime=self._runtime,
            spool=SpoolWriter(folder=self._places.spool(session), group=self._reader_group),
            programs=self._programs,
            tasks=self._tasks,
            children=self._children,
            notify=self._notify,
        )

    def _made(self, sandbox: LiveSandbox) -> Made:
        return Made(sandbox_id=sandbox.record.sandbox_id, spool=str(self._places.spool(sandbox.session)))


async def _both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Both at once, and what they return. A failure is raised when both are over: nothing goes on behind it."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other
