"""Who watches which programs the sandboxes run, and to whom is told what was seen?"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from eleagent.errors import EleAgentError
from eleagent.wire.attestation import Binding
from eleagent.wire.observations import Observer, ProgramExecuted
from eleagent_daemon.domain.launch import HostFact
from eleagent_daemon.domain.observed import rfc3339
from eleagent_daemon.kernel.calls import namespace_inode
from eleagent_daemon.launcher.observe.audit import Audit
from eleagent_daemon.launcher.observe.events import Events
from eleagent_daemon.launcher.observe.seen import Seen, now
from eleagent_daemon.launcher.tasks import Tasks

log = logging.getLogger(__name__)

AT_ONCE: Final = 400
"""Datagrams that are read before others have their turn."""
TICK_S: Final = 1.0
CHECK_TICKS: Final = 5
SETTLE_S: Final = 1.0
LINGER_S: Final = 5.0
"""How long the source stays open without a sandbox to watch: to arm it takes longer than a short program."""
PROCESSES_LIMIT: Final = 20_000
UNCLEAR: Final = "programs that were gone before anybody could tell if they were those of another installation"
_SETTLE_POLL_S: Final = 0.002
_FIX: Final = "run the launcher as root, on a kernel with audit that nobody has locked (see docs/observation.md)"


class Source(Protocol):
    """What tells of executions. `sock` is where it is listened to; `read` takes one datagram from it and raises
    BlockingIOError when there is none, OSError (ENOBUFS) when some found no room.
    """

    sock: socket.socket

    @property
    def observer(self) -> Observer: ...

    def read(self) -> Iterator[tuple[int, ProgramExecuted]]: ...

    @property
    def shared(self) -> bool:
        """Another installation's sandboxes are told of, too."""

    def mark(self) -> int:
        """A number that `passed` reaches once all was read that has happened until now."""

    @property
    def passed(self) -> int: ...

    def watch(self, uid: int, pid: int) -> None: ...

    def unwatch(self, uid: int) -> None: ...

    def check(self) -> list[tuple[str, int | None]]:
        """What was not watched since the last time, and how much of it was missed."""

    def close(self) -> None: ...


@dataclass
class _Watched:
    """`known` are processes of the sandbox, `netns` is the network namespace that all of them are in."""

    seen: Seen
    netns: int = 0
    known: dict[int, None] = field(default_factory=dict)
    unclear: int = 0

    def has(self, execution: ProgramExecuted, *, shared: bool) -> bool:
        """Whether it is the sandbox's: another installation on this host may give the same user to one of its own. Of
        a process that is gone, with an unknown parent, the user alone is known; that is not enough where it is
        `shared`.
        """
        if execution.pid in self.known:
            return True
        inside = execution.ppid in self.known or self._is_inside(execution.pid)
        if inside is None:
            self.unclear += shared
            inside = not shared
        if inside:
            self.known[execution.pid] = None
            if len(self.known) > PROCESSES_LIMIT:
                del self.known[next(iter(self.known))]
        return inside

    def _is_inside(self, pid: int) -> bool | None:
        """None for a process that is gone."""
        try:
            return namespace_inode(pid, "net") == self.netns
        except OSError:
            return None


class Programs:
    """The watched sandboxes by their users. A source is open while there is one, and a little longer; `alive` is a file
    that says until when this launcher, or the last one, watched.
    """

    def __init__(self, *, installation: str, alive: Path, tasks: Tasks) -> None:
        self._installation = installation
        self._alive = alive
        self._tasks = tasks
        self._watched: dict[int, _Watched] = {}
        self._source: Source | None = None
        self._why = ""
        self._opening = asyncio.Lock()
        self._prepared = False
        self._checked = now()
        self._ticking: asyncio.Task[None] | None = None
        self._unwatched_at = 0.0
        self.away_since = rfc3339(alive.stat().st_mtime) if alive.exists() else now()
        """Until when the launcher before this one watched."""

    async def prepare(self) -> None:
        """Before a sandbox is made: the kernel audits no process that is older than the first use of audit."""
        async with self._opening:
            if not self._prepared:
                self._prepared = True
                self._source = self._source or await self._open()
                self._let_go_unused()

    async def watch(self, uid: int, seen: Seen) -> None:
        """From now on. What a sandbox's user runs is taken by `seen` as soon as that has begun."""
        self._watched[uid] = _Watched(seen)
        async with self._opening:
            self._prepared = True
            if self._source is None:
                self._source = await self._open()
        if self._ticking is None:
            self._ticking = self._tasks.start(self._tick(), "watch over programs")

    async def fact(self) -> HostFact:
        """A line for doctor."""
        async with self._opening:
            self._source = self._source or await self._open()
            observer = self._source.observer if self._source else Observer.NOTHING
            self._let_go_unused()
        match observer:
            case Observer.AUDIT:
                return HostFact("programs", "ok", "each that a sandbox runs is told by the kernel's audit")
            case Observer.EVENTS:
                return HostFact("programs", "warn", f"told by process events, their arguments late ({self._why})", _FIX)
            case Observer.NOTHING:
                return HostFact("programs", "warn", f"not observed: {self._why}", _FIX)

    def begin(self, uid: int, bound: Binding, *, anew: bool, passing: bool = False) -> None:
        """What the sandbox of `uid` runs counts from here on; `bound` is what was attested. Not `anew`: an earlier
        launcher began, and was away since."""
        watched, source = self._watched[uid], self._source
        watched.netns, watched.known, seen = bound.netns_inode, {bound.pid: None}, watched.seen
        if source is not None:
            source.watch(uid, bound.pid)
        if anew:
            seen.begin(source.observer if source else Observer.NOTHING, self._why, passing=passing)
        else:
            seen.resume()
            seen.gap(self.away_since, "the programs, and files that came and went: the launcher was away")

    async def settle(self, uid: int) -> None:
        """Returns when all that the user has run so far was told."""
        source = self._source
        if source is not None and uid in self._watched:
            try:
                mark = source.mark()
                async with asyncio.timeout(SETTLE_S):
                    while source.passed < mark and source is self._source:
                        self._readable()
                        await asyncio.sleep(_SETTLE_POLL_S)
            except OSError as error:  # a TimeoutError too
                why = error.strerror or "the kernel was slow to tell of them"
                self._watched[uid].seen.gap(now(), f"the last programs: {why}")
        if (watched := self._watched.get(uid)) is not None:
            watched.seen.flush()

    def unwatch(self, uid: int, seen: Seen) -> None:
        """Idempotent: the user may be another sandbox's by now. A while after the last one the source is let go of."""
        seen.end()
        if uid not in self._watched or self._watched[uid].seen is not seen:
            return
        del self._watched[uid]
        if self._source is not None:
            self._source.unwatch(uid)
        self._unwatched_at = time.monotonic()

    def close(self) -> None:
        """The sandboxes live on, unwatched until the next launcher."""
        for watched in self._watched.values():
            watched.seen.flush()
        self._note()
        if self._ticking is not None:
            self._ticking.cancel()
        self._let_go()

    async def _open(self) -> Source | None:
        if os.geteuid() != 0:
            self._why = "the launcher does not run as root, and the kernel tells root alone which programs run"
            return None
        source: Source
        try:
            source, self._why = await Audit.open(self._installation), ""
        except (OSError, EleAgentError) as audit:
            self._why = f"no audit: {reason(audit)}"
            try:
                source = await Events.open()
            except (OSError, EleAgentError) as events:
                self._why += f"; no process events: {reason(events)}"
                log.warning("programs are not observed: %s", self._why)
                return None
        asyncio.get_running_loop().add_reader(source.sock, self._readable)
        return source

    def _let_go_unused(self) -> None:
        """Unless it is watched with, or was a moment ago."""
        if self._ticking is None:
            self._let_go()

    def _let_go(self) -> None:
        if self._source is not None:
            asyncio.get_running_loop().remove_reader(self._source.sock)
            self._source.close()
            self._source = None

    def _readable(self) -> None:
        touched = set()
        for _ in range(AT_ONCE):
            if self._source is None:
                return
            try:
                for uid, execution in self._source.read():
                    watched = self._watched.get(uid)
                    if watched is not None and watched.has(execution, shared=self._source.shared):
                        watched.seen.executed(execution)
                        touched.add(watched.seen)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # what was dropped is counted by `check`
                    raise
        for seen in touched:
            seen.flush()

    async def _tick(self) -> None:
        for number in range(1, 1 << 62):
            await asyncio.sleep(TICK_S)
            if not self._watched and time.monotonic() - self._unwatched_at > LINGER_S:
                self._ticking = None
                self._let_go()
                return
            self._note()
            for watched in list(self._watched.values()):
                watched.seen.tick()
            if number % CHECK_TICKS == 0:
                self._check()

    def _check(self) -> None:
        if self._source is None:
            return
        try:
            gaps = self._source.check()
        except (OSError, EleAgentError) as error:
            gaps = [(f"the programs: {reason(error)}", None)]
        for what, missed in gaps:
            for watched in self._watched.values():
                watched.seen.gap(self._checked, what, missed)
        for watched in self._watched.values():
            if watched.unclear:
                watched.seen.gap(self._checked, UNCLEAR, watched.unclear)
                watched.unclear = 0
        self._checked = now()

    def _note(self) -> None:
        self._alive.touch(mode=0o600)
        os.utime(self._alive)


def reason(error: OSError | EleAgentError) -> str:
    if isinstance(error, EleAgentError):
        return error.message
    return str(error.strerror or error)
