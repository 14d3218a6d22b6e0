"""What was asked of the daemon, by whom, and what came of it? A chain of records, durable before the act."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import msgspec

from eleagent.errors import AuditUnavailable, StorageUnavailable
from eleagent.wire.system import AuditList, AuditRecord
from eleagent_daemon.store.appendlog import AppendLog, seek_line
from eleagent_daemon.store.timeline import now

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AuditRecord)
_REQUEST = re.compile(rb'"request":"([^"]+)"')
GENESIS = "0" * 64


class Ledger:
    """Users call it the audit log. Each record's `hash` covers its fields and the hash before it."""

    def __init__(self, *, log: AppendLog, pool: ThreadPoolExecutor, head: str, last_seq: int) -> None:
        self._log = log
        self._pool = pool
        self._head = head
        self._last_seq = last_seq

    @classmethod
    async def open(cls, folder: Path, *, pool: ThreadPoolExecutor) -> Ledger:
        """Raises AuditUnavailable when the chain does not hold: nothing may be done on a record that was changed."""
        path = folder / "audit.jsonl"

        def load() -> tuple[AppendLog, str, int]:
            log = AppendLog.open(path, pool=pool)
            head, seq = GENESIS, 0
            try:
                for line in _lines(path):
                    head, seq = _next_link(line, head, seq), seq + 1
            except (ValueError, msgspec.MsgspecError):
                log.close()
                raise AuditUnavailable(
                    f"{path}: record {seq + 1} was changed or is missing; keep the file and look into it"
                ) from None
            return log, head, seq

        log, head, seq = await asyncio.get_running_loop().run_in_executor(pool, load)
        return cls(log=log, pool=pool, head=head, last_seq=seq)

    @property
    def head(self) -> str:
        return self._head

    @property
    def last_seq(self) -> int:
        return self._last_seq

    async def write(
        self,
        *,
        phase: str,
        action: str,
        actor: str,
        decision: str,
        target: str = "",
        session: str = "",
        request: str = "",
        intent: int | None = None,
        outcome: str = "",
        details: dict[str, str] | None = None,
    ) -> int:
        """Make one record durable and return its seq. Raises AuditUnavailable when it can't be: then don't act."""
        record = AuditRecord(
            seq=self._last_seq + 1,
            ts=now(),
            phase=phase,
            action=action,
            actor=actor,
            decision=decision,
            object=target,
            session=session,
            request=request,
            intent=intent,
            outcome=outcome,
            details=details or {},
            prev=self._head,
        )
        line, self._head = seal(record)
        self._last_seq = record.seq
        try:
            await self._log.push([line])
        except StorageUnavailable as err:
            raise AuditUnavailable(f"the audit log can't be written, so this is refused: {err.message}") from err
        return record.seq

    async def list_records(self, *, after: int, limit: int, session: str, newest: bool = False) -> AuditList:
        """Records with a seq above `after`, oldest first; only one session's where `session` is given. Of more than
        `limit` the first, with a cursor, or the `newest`.
        """

        def select() -> AuditList:
            path = self._log.path
            if session:
                found = _of_session(path, session, after)
            else:
                past = max(after, seek_line(path, sys.maxsize)[1] - limit) if newest else after
                found = (_decoder.decode(line) for line in _lines(path, past))
            if newest:
                return AuditList(records=list(deque(found, maxlen=limit)))
            records = list(islice(found, limit + 1))
            return AuditList(records=records[:limit], next=records[limit - 1].seq if len(records) > limit else None)

        return await asyncio.get_running_loop().run_in_executor(self._pool, select)

    def close(self) -> None:
        self._log.close()


def seal(record: AuditRecord) -> tuple[bytes, str]:
    """The record's line and its hash: SHA-256 (hex) over the line, as it is stored, without its newline and with an
    empty hash; `prev` inside it makes the chain.
    """
    bare = _encoder.encode(msgspec.structs.replace(record, hash=""))
    digest = hashlib.sha256(bare).hexdigest()
    return bare[:-2] + digest.encode() + b'"}\n', digest


def _next_link(line: bytes, head: str, seq: int) -> str:
    """The hash of a stored line that follows (head, seq). Raises ValueError for any other line.

    Judged by its bytes, so that a field which this release does not know counts too.
    """
    record = _decoder.decode(line)
    digest = hashlib.sha256(line[:-67] + line[-3:-1]).hexdigest()
    if record.prev != head or record.seq != seq + 1 or line[-67:] != digest.encode() + b'"}\n' or record.hash != digest:
        raise ValueError(f"record {record.seq} does not follow {seq}")
    return digest


def _of_session(path: Path, session: str, after: int) -> Iterator[AuditRecord]:
    """A session's records with a seq above `after`. Lines that can't be among them are not decoded.

    What was asked before a session had a key belongs to it by its request.
    """
    key = session.encode()
    named = (_decoder.decode(line) for line in _lines(path) if key in line)
    requests = {record.request.encode() for record in named if record.session == session and record.request}
    for line in _lines(path, after):
        if key in line or not requests.isdisjoint(_REQUEST.findall(line)):
            record = _decoder.decode(line)
            if record.session == session or record.request.encode() in requests:
                yield record


def _lines(path: Path, past: int = 0) -> Iterator[bytes]:
    """Whole lines after the first `past`: line N has the record with seq N."""
    with path.open("rb") as file:
        file.seek(seek_line(path, past)[0])
        yield from (line for line in file if line.endswith(b"\n"))
