"""What happens to one sandbox between its making and its end?"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import Conflict, EleAgentError, NotFound
from eleagent_daemon.domain.launch import Inspected, Notice
from eleagent_daemon.domain.sandbox import GATE_WORD, Phase, SandboxSpec, Status
from eleagent_daemon.domain.spool import PAYLOAD_LIMIT, Stream
from eleagent_daemon.kernel.calls import command_line, cpu_seconds, namespace_inode
from eleagent_daemon.kernel.child import Children
from eleagent_daemon.launcher.guard import Guard
from eleagent_daemon.launcher.input import Input
from eleagent_daemon.launcher.limits import resources
from eleagent_daemon.launcher.observe.looking import Files
from eleagent_daemon.launcher.observe.programs import Programs
from eleagent_daemon.launcher.observe.seen import Seen
from eleagent_daemon.launcher.record import Record
from eleagent_daemon.launcher.spool import SpoolWriter
from eleagent_daemon.launcher.tasks import Tasks
from eleagent_daemon.runtime.seam import Chunk, Cursor, InputChannel, Runtime

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
ATTACH_S: Final = 5.0
SETTLE_S: Final = 1.0
"""Within this time what was written to a pipe has come through the engine, and a gate has read it."""
END_FOLLOWS_S: Final = 3.0
"""A stream that ends with its sandbox is followed by the exit within this time, on a busy host too; otherwise it broke,
and an engine whose log was cut meanwhile can't say that nothing is missing."""
ORPHANED_S: Final = 0.5
"""The stream of a sandbox that ends by itself ends after it; one that ended so long before it broke with its engine."""

_STREAMS: Final = {"out": Stream.OUT, "err": Stream.ERR}
_LIVE: Final = (Phase.RUNNING, Phase.PAUSED)
_OVER: Final = (Phase.EXITED, Phase.GONE)


class LiveSandbox:
    """Owns the sandbox's pipes and record; its `guard` has the doors. Nothing is done to it but through here."""

    def __init__(
        self,
        *,
        record: Record,
        folder: Path,
        manifest: Path,
        runtime: Runtime,
        spool: SpoolWriter,
        programs: Programs,
        tasks: Tasks,
        children: Children,
        notify: Callable[[Notice], None],
    ) -> None:
        self.record = record
        self.session = record.spec.session
        self.input = Input(record=record, save=self._save)
        self.guard = Guard(
            record=record,
            runtime=runtime,
            children=children,
            save=self._save,
            notify=notify,
            violated=lambda: self._kill_after(0.0),
        )
        self._folder = folder
        self._runtime = runtime
        self._spool = spool
        self._programs = programs
        self._seen = Seen(spool=spool, written=lambda: notify(Notice(session=self.session, spooled=spool.end)))
        self._files = Files(manifest=manifest, seen=self._seen, children=children)
        self._tasks = tasks
        self._notify = notify
        self._running: list[asyncio.Task[None]] = []
        self._drained = False
        self._end: Status | None = None
        self._stopping = False

    @property
    def alive(self) -> bool:
        """It was started, and its end was not seen yet."""
        return bool(self._running) and not self._drained

    @property
    def exited(self) -> bool:
        """It ran, all its processes are gone, and all its output is in the spool."""
        return self._end is not None

    async def start(self) -> None:
        """Attach the pipes and run the gate."""
        await self._programs.prepare()
        chunks, channel = await self._runtime.attach(self.record.sandbox)
        self._follow_from(chunks, channel)
        await self._runtime.start(self.record.sandbox)

    async def recover(self) -> None:
        """Go on with a sandbox that an earlier launcher made; its doors come back with `open_doors`."""
        phase = (await self._runtime.inspect(self.record.spec.name)).phase
        if not self.record.sandbox_id or phase in (Phase.CREATED, Phase.GONE):
            self._drained = True
            return
        if self.record.released and self.record.report is not None:
            await self._programs.watch(self.record.spec.uid, self._seen)
            self._programs.begin(self.record.spec.uid, self.record.report.binding, anew=False)
            if self.record.placement is not None:
                self._files.begin(self.record.placement.writable)
        self._follow_from(None, None)

    async def inspect(self) -> Inspected:
        """An end is told once all output is in the spool; until then the sandbox counts as running."""
        status = self._end or await self._runtime.inspect(self.record.spec.name)
        draining = status.phase in _OVER and not self._drained
        if draining:
            status = msgspec.structs.replace(status, phase=Phase.RUNNING, exit_code=None)
        pids = await self._pids() if status.phase is Phase.RUNNING and not draining else []
        return Inspected(
            status=status,
            spooled=self._spool.end,
            written=self.record.written,
            draining=draining,
            cpu_s=sum(map(cpu_seconds, pids)) if pids else None,
            resources=resources(pids[0] if pids else 0, self._disk()),
        )

    async def _pids(self) -> list[int]:
        """Empty where nobody can tell."""
        try:
            return (await self._runtime.view(self.record.sandbox)).pids
        except EleAgentError:
            return []

    def _disk(self) -> Path | None:
        """The mount point of its own file system; None where its folders lie on the host's."""
        for folder in self.record.placement.writable.values() if self.record.placement else ():
            if (disk := Path(folder).parent).is_mount():
                return disk
        return None

    async def watch(self) -> None:
        """Attest again, while it runs and nobody is ending it."""
        if self.record.released and self.alive and not self._stopping:
            await self.guard.watch()

    def assign(self, spec: SandboxSpec) -> None:
        """Let a spare be the sandbox of `spec`, to be attested as such."""
        self.record.spec, self.record.spare, self.record.report = spec, self.record.spec, None
        self._save()

    async def release(self) -> None:
        """Idempotent: the gate's word is written once, whatever died over it. Raises IsolationFailed unless this very
        sandbox was attested completely, Conflict when it can't be released now."""
        if self.record.opened:
            return
        if self.record.spec.is_spare:
            raise Conflict(f"the sandbox of {self.session} is a spare: it has nothing to run yet")
        if not self.record.released or await self._is_shut():
            bound = self.guard.attested()
            channel = await self.input.channel(ATTACH_S)
            await self._programs.watch(self.record.spec.uid, self._seen)
            passing = self._files.begin(self.record.placement.writable) if self.record.placement else False
            self._programs.begin(self.record.spec.uid, bound, anew=True, passing=passing)
            self.record.released = True
            self._save()
            try:
                await channel.write(GATE_WORD)
            except ConnectionError as error:
                raise Conflict(f"the gate of {self.session} could not be reached, ask again: {error}") from None
        self.record.opened = True
        self._save()
        self.input.wake()

    async def signal(self, signum: int) -> None:
        await self._runtime.signal(self.record.sandbox, signum)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to each of its processes; SIGKILL follows where some are left after `grace_s`. What is paused gets
        its signal before it goes on, and goes on only where it is given time.
        """
        self._kill_after(grace_s)
        view = await self._runtime.view(self.record.sandbox)
        for pid in view.pids[1:] or view.pids:
            _signal_inside(pid, view.pids[0], signal.SIGTERM)
        if view.status.phase is Phase.PAUSED and grace_s > 0:
            await self._runtime.unpause(self.record.sandbox)

    async def pause(self) -> None:
        """Raises Conflict where no agent runs."""
        if not self.record.opened or not self.alive:
            raise Conflict(f"the sandbox of {self.session} can't be paused: no agent runs in it")
        await self._runtime.pause(self.record.sandbox)

    async def pause_where_it_runs(self) -> bool:
        """Whether it ran, and does not now."""
        if not self.record.opened or (await self.inspect()).status.phase is not Phase.RUNNING:
            return False
        await self._runtime.pause(self.record.sandbox)
        return True

    async def unpause(self) -> None:
        await self._runtime.unpause(self.record.sandbox)
        await self.watch()

    def look(self) -> None:
        """Begin to tell which files are other than at the last look."""
        if self.record.released and self.alive:
            self._running.append(self._tasks.start(self._look(final=False), f"look at the files of {self.session}"))

    def consumed(self, offset: int) -> None:
        self._spool.consumed(offset)

    async def close(self) -> None:
        """Give up pipes, doors and spool; the sandbox itself is left as it is. Idempotent."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.input.close()
        self._programs.unwatch(self.record.spec.uid, self._seen)
        self._files.close()
        self.guard.close_doors()
        self._spool.close()

    def _follow_from(self, chunks: AsyncIterator[Chunk] | None, channel: InputChannel | None) -> None:
        if channel is not None:
            self.input.use(channel)
        self._running = [
            self._tasks.start(self._follow(chunks), f"output of {self.session}"),
            self._tasks.start(self.input.run(), f"input of {self.session}"),
        ]

    async def _follow(self, chunks: AsyncIterator[Chunk] | None) -> None:
        """Spool the output until the sandbox has ended and all of it is there. A stream's own end proves nothing."""
        ended, broke_at = False, 0.0
        while True:
            try:
                if chunks is None:
                    chunks, channel = await self._runtime.replay(self.record.sandbox, self._cursor())
                    self.input.use(channel)
                    if broke_at and (await self._runtime.inspect(self.record.spec.name)).phase in _LIVE:
                        broke_at = 0.0
                try:
                    await self._drain(chunks)
                finally:
                    broke_at = broke_at or time.time()
                chunks = None
                began = time.monotonic()
                async with asyncio.timeout(END_FOLLOWS_S):
                    status = await self._runtime.wait(self.record.sandbox)
            except TimeoutError:
                continue
            except NotFound:
                break
            except EleAgentError as error:
                chunks, broke_at = None, broke_at or time.time()
                self._notify(Notice(session=self.session, text=f"reading the output was interrupted: {error.message}"))
                await asyncio.sleep(RETRY_S)
                continue
            if status.phase is Phase.LOST:
                await asyncio.sleep(RETRY_S)
            elif ended or status.phase is Phase.GONE or time.monotonic() - began < END_FOLLOWS_S:
                if status.phase is Phase.EXITED:
                    outlived = _seconds(status.finished_at) > broke_at + ORPHANED_S
                    self._end = msgspec.structs.replace(status, orphaned=status.orphaned or outlived)
                break
            else:
                ended = True
        settled = self._programs.settle(self.record.spec.uid)
        await (asyncio.gather(settled, self._look(final=True)) if self.record.released else settled)
        self._files.close()
        self._programs.unwatch(self.record.spec.uid, self._seen)
        self._drained = True
        self.guard.close_doors()
        self._notify(Notice(session=self.session, spooled=self._spool.end, ended=True))

    async def _drain(self, chunks: AsyncIterator[Chunk]) -> None:
        async for chunk in chunks:
            if self._spool.full:
                self._notify(
                    Notice(session=self.session, text="the output spool is full: the sandbox waits until it is read")
                )
                await self._spool.room()
            stream = _STREAMS[chunk.stream]
            if chunk.gap:
                await self._keep(partial(self._spool.gap, stream, "the engine's log was cut", chunk.gap_bytes))
            for begin in range(0, len(chunk.data), PAYLOAD_LIMIT):
                await self._keep(partial(self._spool.append, stream, chunk.data[begin : begin + PAYLOAD_LIMIT]))
            self._notify(Notice(session=self.session, spooled=self._spool.end))

    async def _keep(self, put: Callable[[], None]) -> None:
        """A full disk stops the reading, as a full spool does."""
        while True:
            try:
                put()
            except OSError as error:
                self._notify(Notice(session=self.session, text=f"output can't be spooled: {error.strerror}"))
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _cursor(self) -> Cursor:
        return Cursor(out=self._spool.counts[Stream.OUT], err=self._spool.counts[Stream.ERR])

    async def _look(self, *, final: bool) -> None:
        if self.record.placement is not None:
            await self._files.look(self.record.placement.writable, final=final)

    async def _is_shut(self) -> bool:
        """A word that was written may still be on its way, and a second one would be the agent's first input: judged
        when it must have arrived. Raises Conflict for a sandbox that is paused, EngineUnavailable.
        """
        await asyncio.sleep(SETTLE_S)
        try:
            view = await self._runtime.view(self.record.sandbox)
        except NotFound:
            return False
        if view.status.phase in (Phase.PAUSED, Phase.LOST):
            raise Conflict(f"the sandbox of {self.session} is {view.status.phase}: nobody can tell if it was released")
        return any(command_line(pid) == self.record.gate for pid in view.pids)

    def _kill_after(self, grace_s: float) -> None:
        self._stopping = True
        self._running.append(self._tasks.start(self._kill(grace_s), f"end of {self.session}"))

    async def _kill(self, grace_s: float) -> None:
        """Again and again until the end was seen: an engine may be away at any moment."""
        await asyncio.sleep(grace_s)
        while not self._drained:
            self._spool.lift_cap()
            try:
                await self._runtime.kill(self.record.sandbox)
            except EleAgentError as error:
                log.warning("%s was not killed yet: %s", self.session, error.message)
            await asyncio.sleep(RETRY_S)

    def _save(self) -> None:
        self.record.save(self._folder)


def _seconds(stamp: str) -> float:
    """Since the epoch; 0 where the backend does not tell."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _signal_inside(pid: int, init: int, signum: signal.Signals) -> None:
    """Signal `pid` if it is in the pid namespace of `init`: a number that was reused meanwhile belongs to another."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if namespace_inode(pid, "pid") == namespace_inode(init, "pid"):
            signal.pidfd_send_signal(process, signum)
    except (FileNotFoundError, ProcessLookupError):
        pass
    finally:
        os.close(process)
