"""How does a record get into the audit log, and what happens when it can't?

Whatever waits shares one fdatasync. When the disk refuses, everything is refused but what only takes away, which goes
into room that was kept for it; the log is opened again until it can be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from eleagent.errors import AuditUnavailable, StorageUnavailable, TamperFound
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.logfiles import LogFolder
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger.entry import entry, trimmed
from eleagent_daemon.store.ledger.groups import GROUP_RECORDS, Groups
from eleagent_daemon.store.ledger.health import Health
from eleagent_daemon.store.ledger.index import Index
from eleagent_daemon.store.ledger.keys import Keys
from eleagent_daemon.store.ledger.kinds import get_kind
from eleagent_daemon.store.ledger.late import Late
from eleagent_daemon.store.ledger.log import Log
from eleagent_daemon.store.ledger.writer import Writer
from eleagent_daemon.store.timeline import now

log = logging.getLogger(__name__)

CHECKPOINT_RECORDS: Final = 256
CHECKPOINT_S: Final = 60.0
TICK_S: Final = 1.0
INDEX_RECORDS: Final = 4000
"""What the index takes in at a time while nobody asks it, so that it holds up nothing."""

Sink = Callable[[str], None]


class Ledger:
    """Users call it the audit log. Open it, keep `run` running, close it."""

    def __init__(self, folder: Path, *, keys: Keys, installation: str, pool: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.index = Index(folder, durable=self._durable, pool=pool)
        self.keys = keys
        self._writer = Writer(folder, keys=keys, installation=installation)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
        self._health = Health()
        self._groups = Groups(writer=self._writer, thread=self._thread, health=self._health)
        self._late = Late(folder / "late")
        self._shortage = ""
        self._sink: Sink = lambda note: None
        self._closed = False

    @classmethod
    async def open(cls, folder: Path, *, secrets: Path, installation: str, pool: ThreadPoolExecutor) -> Ledger:
        """It opens whatever is there. A log that was changed takes no record (`trouble` says why) until a new one is
        begun. Raises AuditUnavailable when its keys or its folder can't be had.
        """
        loop = asyncio.get_running_loop()
        keys = await loop.run_in_executor(pool, Keys, secrets)
        ledger = cls(folder, keys=keys, installation=installation, pool=pool)
        try:
            await ledger._in_thread(ledger._open)
        except OSError as err:
            raise AuditUnavailable(f"the audit log in {folder} can't be opened: {err}") from err
        await ledger._write_late()
        return ledger

    @property
    def _log(self) -> Log | None:
        return self._writer.log

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
            raise self._health.unavailable()
        return self._log.folder

    @property
    def torn_bytes(self) -> int:
        return self._log.torn_bytes if self._log else 0

    @property
    def trouble(self) -> str:
        """Why nothing can be recorded now; empty when it can."""
        return self._health.damage or self._health.failure or self._groups.slowness

    @property
    def damage(self) -> str:
        """What does not hold in the log, which then takes no record any more."""
        return self._health.damage

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
        a detail that the table of kinds does not have. `fields` are the others of a record, and `target` its object.
        """
        record = self.entry(phase=phase, action=action, actor=actor, decision=decision, details=details, **fields)
        return await self.write_all([record], take_away=take_away)

    def entry(self, *, action: str, details: Mapping[str, str] | None = None, **fields: Any) -> AuditRecord:
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
        return entry(action=action, details=said, **texts)

    async def write_all(self, entries: Sequence[AuditRecord], *, take_away: bool = False) -> int:
        """Make entries durable together, in this order; returns the seq of the first."""
        if self._closed:
            raise AuditUnavailable("the audit log is closed, since the daemon ends")
        return await self._groups.write(
            entries, take_away=take_away, too_late=lambda first: self._disown(entries, first)
        )

    async def write_done(self, record: AuditRecord, *, take_away: bool = True) -> None:
        """It has happened: what can't be recorded now is when there is room."""
        try:
            await self.write_all([record], take_away=take_away)
        except AuditUnavailable as err:
            log.warning("a record of %s %s waits for room: %s", record.action, record.object, err.message)
            self.write_later(record)

    def write_later(self, record: AuditRecord) -> None:
        """Keep a record of what was done without one until there is room."""
        if (late := self._late.add(record)) is not None and not self._closed:
            self._thread.submit(self._late.note, late)

    async def checkpoint(self) -> None:
        """Sign what is there, and hand the checkpoint on. A failure makes the log refuse."""
        if self._log is None or self._health.failure:
            return
        try:
            note = await self._in_thread(self._log.checkpoint)
        except OSError as err:
            self._health.fail(err)
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
            if self._health.failure and not self._health.damage:
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
        health = self._health
        before, health.damage = health.damage, "a new log is being begun"
        try:
            begun: Log = await self._in_thread(lambda: self._writer.begin_next(actor=actor, reason=reason))
        except OSError as err:
            health.damage, health.failure = before, err.strerror or str(err)
            raise AuditUnavailable(f"no new audit log can be begun: {err}") from err
        health.damage = health.failure = ""
        await self._write_late()
        await self.checkpoint()
        return begun.first_seq

    async def rotate_key(self, *, actor: str) -> None:
        """Sign with another key from now on, which a record names that the old one signs. Raises AuditUnavailable."""
        if self._log is None or self.trouble:
            raise self._health.unavailable(self.trouble)
        try:
            await self._in_thread(lambda: self._writer.rotate_key(actor=actor))
        except OSError as err:
            self._health.fail(err)
            raise self._health.unavailable() from err
        self._sink(self.note)

    def condemn(self, damage: str) -> None:
        """Take no record any more: the log was found changed."""
        self._health.condemn(damage)

    async def close(self) -> None:
        """Write what waits, sign it, and let go."""
        self._closed = True
        await self._groups.drain()
        await self.checkpoint()
        await self._in_thread(self._writer.close)
        self._thread.shutdown(wait=False)
        await self.index.close()

    def _durable(self) -> int | None:
        """How far the log may be read; None for all there is, where it takes no record."""
        return None if self._health.damage or self._log is None else self._log.last_seq

    def _open(self) -> None:
        try:
            self._writer.open()
        except TamperFound as err:
            self.condemn(err.message)
        try:
            self._late.open()
            self._late.keep_room()
            self._writer.keep_room()
        except OSError as err:
            self._shortage = f"the disk has no room for the audit log's reserve: {err.strerror}"

    def _disown(self, entries: Sequence[AuditRecord], first: int) -> None:
        """They were refused, and then got into the log all the same: say what came of it."""
        for seq, record in enumerate(entries, first):
            if record.phase == "intent":
                said = msgspec.structs.replace(
                    record, ts=now(), phase="outcome", intent=seq, decision="refused", outcome="audit_unavailable",
                    details={},
                )  # fmt: skip
                self.write_later(said)

    async def _resume(self) -> None:
        """Raise the log from a failure, if the disk lets us. What was done meanwhile is recorded first."""

        def attempt() -> None:
            self._writer.reopen()
            self._late.keep_room()
            self._writer.keep_room()

        health = self._health
        try:
            await self._in_thread(attempt)
        except OSError as err:
            health.failure = err.strerror or str(err)
            return
        except TamperFound as err:
            self.condemn(err.message)
            return
        why, health.failure = health.failure, ""
        await self._write_late(
            self.entry(
                phase="event",
                action="audit.resumed",
                actor="eleagentd",
                details={
                    "since": health.failed_since,
                    "why": why,
                    "refused": str(health.refused),
                    "late": str(len(self._late.records)),
                    "lost": str(self._late.lost),
                },
            )
        )
        if not health.failure:
            log.warning("the audit log can be written again")
            health.refused = self._late.lost = 0

    async def _write_late(self, *more: AuditRecord) -> None:
        """What was done meanwhile, then `more`."""
        if not self._late.records and not more:
            return
        late = self._late.records
        entries = [*late, *more]
        done = 0
        with suppress(AuditUnavailable):
            while done < len(entries):
                await self.write_all(entries[done : done + GROUP_RECORDS], take_away=True)
                done += GROUP_RECORDS
        del late[: min(done, len(entries) - len(more))]
        if done:
            await self._in_thread(partial(self._late.renew, list(late)))

    async def _look_after_room(self) -> None:
        try:
            found = await self._in_thread(self._writer.shortage)
        except OSError as err:
            found = f"the audit log's folder can't be looked at: {err.strerror}"
        if found and not self._shortage:
            log.warning("%s", found)
        self._shortage = found

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
