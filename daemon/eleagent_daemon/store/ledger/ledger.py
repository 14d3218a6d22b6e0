"""How does a record get into the audit log, and what happens when it can't?

Whatever waits shares one fdatasync. When the disk refuses, everything is refused but what only takes away, which goes
into room that was kept for it; the log is opened again until it can be written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from eleagent.errors import AuditUnavailable, StorageUnavailable, TamperFound
from eleagent.transparency.logfiles import LogFolder, log_folders
from eleagent.transparency.note import Checkpoint
from eleagent_daemon.store.ledger.entry import Entry, trimmed
from eleagent_daemon.store.ledger.index import Index
from eleagent_daemon.store.ledger.keys import Keys
from eleagent_daemon.store.ledger.kinds import LATE, get_kind
from eleagent_daemon.store.ledger.log import Log
from eleagent_daemon.store.ledger.origins import begin_first, begin_next
from eleagent_daemon.store.ledger.reserve import Reserve
from eleagent_daemon.store.timeline import now

log = logging.getLogger(__name__)

CHECKPOINT_RECORDS: Final = 256
CHECKPOINT_S: Final = 60.0
PATIENCE_S: Final = 10.0
"""How long a record may take. A disk that takes longer counts as one that refuses."""
GROUP_RECORDS: Final = 4096
LATE_RECORDS: Final = 10_000
TICK_S: Final = 1.0
INDEX_RECORDS: Final = 4000
"""What the index takes in at a time while nobody asks it, so that it holds up nothing."""

Sink = Callable[[str], None]


@dataclass
class _Waiting:
    entries: Sequence[Entry]
    done: asyncio.Future[int]
    take_away: bool
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Written:
    """What came of a group: the first seq of each of its parts that is durable, and why others are not."""

    first: dict[int, int]
    error: Exception | None = None


class Ledger:
    """Users call it the audit log. Open it, keep `run` running, close it."""

    def __init__(self, folder: Path, *, keys: Keys, installation: str, pool: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.index = Index(folder, durable=self._durable, pool=pool)
        self.keys = keys
        self._installation = installation
        self._reserve = Reserve(folder / "reserve")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._log: Log | None = None
        self._queue: deque[_Waiting] = deque()
        self._under_way: list[_Waiting] = []
        self._late: list[Entry] = []
        self._lost = 0
        self._refused = 0
        self._failed_since = ""
        self._failure = ""
        self._damage = ""
        self._shortage = ""
        self._sink: Sink = lambda note: None
        self._closed = False

    @classmethod
    async def open(cls, folder: Path, *, secrets: Path, installation: str, pool: ThreadPoolExecutor) -> Ledger:
        """It opens whatever is there. A log that was changed takes no record (`trouble` says why) until a new one is
        begun. Raises AuditUnavailable when its keys or its folder can't be had.
        """
        loop = asyncio.get_running_loop()
        keys = await loop.run_in_executor(pool, Keys.load, secrets)
        ledger = cls(folder, keys=keys, installation=installation, pool=pool)
        try:
            await loop.run_in_executor(ledger._writer, ledger._open)
        except OSError as err:
            raise AuditUnavailable(f"the audit log in {folder} can't be opened: {err}") from err
        return ledger

    @property
    def last_seq(self) -> int:
        return self._log.last_seq if self._log else 0

    @property
    def head(self) -> str:
        """The hash of the last record, which covers every one before it."""
        return self._log.head if self._log else ""

    @property
    def note(self) -> str:
        """The newest checkpoint as a signed note; empty before the first."""
        return self._log.note if self._log else ""

    @property
    def signed(self) -> Checkpoint | None:
        return self._log.signed if self._log else None

    @property
    def current(self) -> LogFolder:
        """Raises AuditUnavailable while there is no log that holds."""
        if self._log is None:
            raise self._unavailable()
        return self._log.folder

    @property
    def torn_bytes(self) -> int:
        return self._log.torn_bytes if self._log else 0

    @property
    def trouble(self) -> str:
        """Why nothing can be recorded now; empty when it can."""
        if self._damage or self._failure:
            return self._damage or self._failure
        oldest = self._under_way[0] if self._under_way else self._queue[0] if self._queue else None
        if oldest is not None and time.monotonic() - oldest.since > PATIENCE_S:
            return f"the disk has not answered for more than {PATIENCE_S:g} s"
        return ""

    @property
    def damage(self) -> str:
        """What does not hold in the log, which then takes no record any more."""
        return self._damage

    @property
    def shortage(self) -> str:
        """That the disk will be full soon."""
        return self._shortage

    def publish_to(self, sink: Sink) -> None:
        """Who gets each new checkpoint."""
        self._sink = sink

    async def write(
        self,
        *,
        phase: str,
        action: str,
        actor: str,
        decision: str = "",
        take_away: bool = False,
        details: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> int:
        """Make one record durable and return its seq. Raises AuditUnavailable when it can't be: then don't act.

        `take_away`: it is about something that only takes away, for which room is kept. Raises ValueError for a kind or
        a detail that the table of kinds does not have. `fields` are the others of an Entry.
        """
        entry = self.entry(phase=phase, action=action, actor=actor, decision=decision, details=details, **fields)
        return await self.write_all([entry], take_away=take_away)

    def entry(self, *, action: str, details: Mapping[str, str] | None = None, **fields: Any) -> Entry:
        """A record to be, checked against the table of kinds; what the table seals is sealed here."""
        kind = get_kind(action)
        said: dict[str, str] = {}
        for name, value in (details or {}).items():
            if not kind.has(name):
                raise ValueError(f"audit kind {action!r} has no detail {name!r} in store/ledger/kinds.py")
            if value:
                said[name] = self.keys.seal(value) if name in kind.sealed else trimmed(value)
        texts: dict[str, Any] = {
            name: trimmed(value) if isinstance(value, str) else value for name, value in fields.items()
        }
        return Entry(action=action, details=said, **texts)

    async def write_all(self, entries: Sequence[Entry], *, take_away: bool = False) -> int:
        """Make entries durable together, in this order; returns the seq of the first."""
        if self._closed:
            raise AuditUnavailable("the audit log is closed, since the daemon ends")
        if self._damage or (self._failure and not take_away):
            self._refused += len(entries)
            raise self._unavailable()
        waiting = _Waiting(entries, asyncio.get_running_loop().create_future(), take_away)
        self._queue.append(waiting)
        if not self._under_way:
            self._write_next()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(waiting.done)
        except TimeoutError:
            if waiting in self._queue:
                self._queue.remove(waiting)
            else:
                waiting.done.add_done_callback(lambda done: self._too_late(entries, done))
            self._refused += len(entries)
            raise self._unavailable() from None

    def write_later(self, entry: Entry) -> None:
        """Keep a record of what was done without one until there is room."""
        if len(self._late) >= LATE_RECORDS:
            self._lost += 1
        else:
            self._late.append(msgspec.structs.replace(entry, details=entry.details | {LATE: "true"}))

    async def checkpoint(self) -> None:
        """Sign what is there, and hand the checkpoint on. A failure makes the log refuse."""
        if self._log is None or self._failure:
            return
        try:
            note = await self._in_thread(self._log.checkpoint)
        except OSError as err:
            self._fail(err)
        else:
            if note:
                self._sink(note)

    async def run(self) -> None:
        """Sign checkpoints, look after room, and take the log up again after a failure; for as long as the daemon
        lives.
        """
        loop = asyncio.get_running_loop()
        signed_at = -CHECKPOINT_S
        while True:
            if self._failure and not self._damage:
                await self._resume()
            signed = self._log.unsigned if self._log else 0
            if signed >= CHECKPOINT_RECORDS or (signed and loop.time() - signed_at >= CHECKPOINT_S):
                await self.checkpoint()
                signed_at = loop.time()
            await self._keep_index()
            await self._look_after_room()
            await asyncio.sleep(TICK_S)

    async def _keep_index(self) -> None:
        if self.index.last_seq >= self.last_seq:
            return
        try:
            await self.index.catch_up(INDEX_RECORDS)
        except StorageUnavailable as err:  # whoever asks is told
            log.warning("%s", err.message)

    async def restart(self, *, actor: str, reason: str) -> int:
        """Begin a new log that names this one, its last checkpoint and what is wrong with it; returns its first seq."""
        if not self.trouble:
            await self.checkpoint()
        before, self._damage = self._damage, "a new log is being begun"

        def begin() -> Log:
            self._shut()
            return begin_next(self.folder, self._installation, self.keys.signer, actor=actor, reason=reason)

        try:
            begun: Log = await self._in_thread(begin)
        except OSError as err:
            self._damage, self._failure = before, err.strerror or str(err)
            raise AuditUnavailable(f"no new audit log can be begun: {err}") from err
        self._log, self._damage, self._failure = begun, "", ""
        await self._write_late()
        await self.checkpoint()
        return begun.first_seq

    def condemn(self, damage: str) -> None:
        """Take no record any more: the log was found changed."""
        log.error("the audit log does not hold: %s", damage)
        self._damage = damage

    async def close(self) -> None:
        """Write what waits, sign it, and let go."""
        self._closed = True
        while self._under_way:
            await asyncio.wait([one.done for one in self._under_way])
            await asyncio.sleep(0)
        await self.checkpoint()
        await asyncio.get_running_loop().run_in_executor(self._writer, self._shut)
        self._writer.shutdown(wait=False)
        await self.index.close()

    def _durable(self) -> int | None:
        """How far the log may be read; None for all there is, where it takes no record."""
        return None if self._damage or self._log is None else self._log.last_seq

    def _open(self) -> None:
        folders = log_folders(self.folder)
        try:
            if folders:
                self._log = Log.open(folders[-1], signer=self.keys.signer)
            else:
                self._log = begin_first(self.folder, self._installation, self.keys.signer)
        except TamperFound as err:
            self.condemn(err.message)
        try:
            self._reserve.keep()
        except OSError as err:
            self._shortage = f"the disk has no room for the audit log's reserve: {err.strerror}"

    def _shut(self) -> None:
        if self._log is not None:
            self._log.close()

    def _write_next(self) -> None:
        group: list[_Waiting] = []
        count = 0
        while self._queue and count < GROUP_RECORDS:
            group.append(self._queue.popleft())
            count += len(group[-1].entries)
        self._under_way = group
        written = asyncio.get_running_loop().run_in_executor(self._writer, self._commit, group)
        written.add_done_callback(lambda done: self._committed(group, done.result()))

    def _commit(self, group: list[_Waiting]) -> _Written:
        """In the writer's thread. It never raises."""
        try:
            if not self._failure:
                return _Written(self._append(dict(enumerate(group))))
            why: Exception = OSError(self._failure)
        except (OSError, TamperFound) as err:
            why = err
        urgent = {number: one for number, one in enumerate(group) if one.take_away}
        try:
            return _Written(self._append_to_reserve(urgent) if urgent else {}, why)
        except (OSError, TamperFound):
            return _Written({}, why)

    def _append(self, parts: Mapping[int, _Waiting]) -> dict[int, int]:
        assert self._log is not None  # noqa: S101 - the caller saw that it is
        seq = self._log.append([entry for one in parts.values() for entry in one.entries])
        first = {}
        for number, one in parts.items():
            first[number] = seq
            seq += len(one.entries)
        return first

    def _append_to_reserve(self, urgent: Mapping[int, _Waiting]) -> dict[int, int]:
        self._reopen()
        try:
            return self._append(urgent)
        except OSError:
            if not self._reserve.there:
                raise
        self._reserve.give()
        self._reopen()
        return self._append(urgent)

    def _reopen(self) -> None:
        assert self._log is not None  # noqa: S101 - a log that can't be reopened is closed, not gone
        self._log.close()
        self._log = Log.open(self._log.folder.path, signer=self.keys.signer)

    def _committed(self, group: list[_Waiting], written: _Written) -> None:
        self._under_way = []
        if written.error is not None:
            self._fail(written.error)
        for number, one in enumerate(group):
            if number in written.first:
                one.done.set_result(written.first[number])
            else:
                self._refused += len(one.entries)
                one.done.set_exception(self._unavailable())
                one.done.exception()  # who gave up waiting does not ask
        if self._failure or self._damage:
            for one in [one for one in self._queue if self._damage or not one.take_away]:
                self._queue.remove(one)
                self._refused += len(one.entries)
                one.done.set_exception(self._unavailable())
                one.done.exception()
        if self._queue:
            self._write_next()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, TamperFound):
            self.condemn(error.message)
        elif not self._failure:
            self._failure = getattr(error, "strerror", None) or str(error)
            self._failed_since = now()
            log.error("the audit log can't be written, so work is refused: %s", self._failure)

    def _unavailable(self) -> AuditUnavailable:
        if self._damage:
            advice = "keep the files, look with 'eleagent audit verify', go on with 'eleagent audit restart'"
            return AuditUnavailable(f"the audit log was changed, so this is refused: {self._damage}: {advice}")
        why = self.trouble or "it took too long"
        return AuditUnavailable(
            f"the audit log can't be written, so this is refused: {why}: make room or mend the disk"
        )

    def _too_late(self, entries: Sequence[Entry], done: asyncio.Future[int]) -> None:
        """It was refused, and then it got into the log all the same: say what came of it."""
        if done.cancelled() or done.exception() is not None:
            return
        for seq, entry in enumerate(entries, done.result()):
            if entry.phase == "intent":
                said = msgspec.structs.replace(
                    entry, ts=now(), phase="outcome", intent=seq, decision="refused", outcome="audit_unavailable",
                    details={},
                )  # fmt: skip
                self.write_later(said)
        if not self._failure:
            self._failure, self._failed_since = "the disk was too slow", now()

    async def _resume(self) -> None:
        """Raise the log from a failure, if the disk lets us. What was done meanwhile is recorded first."""

        def attempt() -> None:
            self._reopen()
            self._reserve.keep()

        try:
            await self._in_thread(attempt)
        except OSError as err:
            self._failure = err.strerror or str(err)
            return
        except TamperFound as err:
            self.condemn(err.message)
            return
        why, self._failure = self._failure, ""
        await self._write_late(
            self.entry(
                phase="event",
                action="audit.resumed",
                actor="eleagentd",
                details={
                    "since": self._failed_since,
                    "why": why,
                    "refused": str(self._refused),
                    "late": str(len(self._late)),
                    "lost": str(self._lost),
                },
            )
        )
        if not self._failure:
            log.warning("the audit log can be written again")
            self._refused = self._lost = 0

    async def _write_late(self, *more: Entry) -> None:
        late, self._late = self._late, []
        entries = [*late, *more]
        try:
            for start in range(0, len(entries), GROUP_RECORDS):
                await self.write_all(entries[start : start + GROUP_RECORDS], take_away=True)
        except AuditUnavailable:
            self._late = late + self._late

    async def _look_after_room(self) -> None:
        try:
            found = await self._in_thread(self._reserve.shortage)
        except OSError as err:
            found = f"the audit log's folder can't be looked at: {err.strerror}"
        if found and not self._shortage:
            log.warning("%s", found)
        self._shortage = found

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)
