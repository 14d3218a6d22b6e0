"""Who watches which programs the sandboxes run, and to whom is told what was seen?"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from eleagent.errors import EleAgentError
from eleagent.wire.observations import Observer, ProgramExecuted
from eleagent_daemon.domain.observed import rfc3339
from eleagent_daemon.launcher.observe.audit import Audit
from eleagent_daemon.launcher.observe.seen import Seen, now
from eleagent_daemon.launcher.tasks import Tasks

log = logging.getLogger(__name__)

AT_ONCE: Final = 400
"""Datagrams that are read before others have their turn."""
TICK_S: Final = 1.0
CHECK_TICKS: Final = 5
SETTLE_S: Final = 1.0
_SETTLE_POLL_S: Final = 0.002


class Source(Protocol):
    """What tells of executions. `sock` is where it is listened to; `read` takes one datagram from it and raises
    BlockingIOError when there is none, OSError (ENOBUFS) when some found no room.
    """

    sock: socket.socket

    @property
    def observer(self) -> Observer: ...

    def read(self) -> Iterator[tuple[int, ProgramExecuted]]: ...

    def mark(self) -> int:
        """A number that `passed` reaches once all was read that has happened until now."""

    @property
    def passed(self) -> int: ...

    def watch(self, uid: int, pid: int) -> None: ...

    def unwatch(self, uid: int) -> None: ...

    def check(self) -> list[tuple[str, int | None]]:
        """What was not watched since the last time, and how much of it was missed."""

    def close(self) -> None: ...


class Programs:
    """The watched sandboxes by their users. A source is open while there is one; `alive` is a file that says until when
    this launcher, or the last one, watched.
    """

    def __init__(self, *, installation: str, alive: Path, tasks: Tasks) -> None:
        self._installation = installation
        self._alive = alive
        self._tasks = tasks
        self._seen: dict[int, Seen] = {}
        self._source: Source | None = None
        self._why = ""
        self._opening = asyncio.Lock()
        self._checked = now()
        self._ticking: asyncio.Task[None] | None = None
        self.away_since = rfc3339(alive.stat().st_mtime) if alive.exists() else now()
        """Until when the launcher before this one watched."""

    async def watch(self, uid: int, seen: Seen) -> None:
        """From now on. What a sandbox's user runs is taken by `seen` as soon as that has begun."""
        self._seen[uid] = seen
        async with self._opening:
            if self._source is None:
                self._source = await self._open()
        if self._ticking is None:
            self._ticking = self._tasks.start(self._tick(), "watch over programs")

    def begin(self, uid: int, pid: int, *, anew: bool) -> None:
        """What the sandbox of `uid` runs counts from here on; `pid` is the first of its processes. Not `anew`: an
        earlier launcher began, and was away since."""
        seen, source = self._seen[uid], self._source
        if source is not None:
            source.watch(uid, pid)
        if anew:
            seen.begin(source.observer if source else Observer.NOTHING, self._why)
        else:
            seen.resume()
            seen.gap(self.away_since, "the programs: the launcher was away")

    async def settle(self, uid: int) -> None:
        """Returns when all that the user has run so far was told."""
        source = self._source
        if source is not None and uid in self._seen:
            try:
                mark = source.mark()
                async with asyncio.timeout(SETTLE_S):
                    while source.passed < mark and source is self._source:  # noqa: ASYNC110 - it is read meanwhile
                        await asyncio.sleep(_SETTLE_POLL_S)
            except OSError as error:  # a TimeoutError too
                why = error.strerror or "the kernel was slow to tell of them"
                self._seen[uid].gap(now(), f"the last programs: {why}")
        if (seen := self._seen.get(uid)) is not None:
            seen.end()

    def unwatch(self, uid: int, seen: Seen) -> None:
        """Idempotent: the user may be another sandbox's by now. With the last one the source is let go of."""
        seen.end()
        if self._seen.get(uid) is not seen:
            return
        del self._seen[uid]
        if self._source is not None:
            self._source.unwatch(uid)
        if not self._seen:
            self._let_go()

    def close(self) -> None:
        """The sandboxes live on, unwatched until the next launcher."""
        for seen in self._seen.values():
            seen.flush()
        self._note()
        self._let_go()

    async def _open(self) -> Source | None:
        if os.geteuid() != 0:
            self._why = "the launcher does not run as root, and the kernel tells root alone which programs run"
            return None
        try:
            source = await Audit.open(self._installation)
        except (OSError, EleAgentError) as error:
            self._why = f"no audit: {reason(error)}"
            log.warning("programs are not observed: %s", self._why)
            return None
        self._why = ""
        asyncio.get_running_loop().add_reader(source.sock, self._readable)
        return source

    def _let_go(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
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
                    if (seen := self._seen.get(uid)) is not None:
                        seen.executed(execution)
                        touched.add(seen)
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
            self._note()
            for seen in list(self._seen.values()):
                seen.tick()
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
            for seen in self._seen.values():
                seen.gap(self._checked, what, missed)
        self._checked = now()

    def _note(self) -> None:
        self._alive.touch(mode=0o600)
        os.utime(self._alive)


def reason(error: OSError | EleAgentError) -> str:
    if isinstance(error, EleAgentError):
        return error.message
    return str(error.strerror or error)
