"""What does each operation on the audit log do?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

from eleagent.errors import AuditUnavailable, BadRequest, NotFound
from eleagent.operations.audit import (
    AUDIT_GET,
    AUDIT_HEAD,
    AUDIT_LIST,
    AUDIT_PROVE,
    AUDIT_RESTART,
    AUDIT_ROTATE_KEY,
    FILTERS,
)
from eleagent.permissions import Permission, Reach
from eleagent.wire.audit import AuditEntry, AuditList, AuditProofs, LogHead
from eleagent_daemon.api.identity import Caller
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.query import Query
from eleagent_daemon.store.ledger.reading import read_entry, read_head, read_proofs

_LIST_LIMIT: Final = 1000
_Result = TypeVar("_Result")
_Values = TypeVarTuple("_Values")


class AuditHandlers:
    def __init__(self, *, sessions: Sessions, ledger: Ledger, pool: ThreadPoolExecutor) -> None:
        self._sessions = sessions
        self._ledger = ledger
        self._pool = pool

    def table(self) -> Handlers:
        return {
            AUDIT_LIST: self.list_records,
            AUDIT_GET: self.get_record,
            AUDIT_PROVE: self.prove,
            AUDIT_HEAD: self.head,
            AUDIT_RESTART: self.restart,
            AUDIT_ROTATE_KEY: self.rotate_key,
        }

    async def list_records(self, call: Call) -> AuditList:
        after, before = call.query.get("after", 0), call.query.get("before")
        limit, newest = _limit(call), call.query.get("newest", False)
        query = await self._query(call)
        found = await self._ledger.index.find(query, after=after, before=before, limit=limit + 1, newest=newest)
        more = len(found) > limit
        if newest:
            records = found[more:]
            return AuditList(records=records, next=records[0].seq if more else None)
        records = found[:limit]
        return AuditList(records=records, next=records[-1].seq if more else None)

    async def prove(self, call: Call) -> AuditProofs:
        await self._ledger.checkpoint()  # what is newer would have no proof
        limit = _limit(call)
        found = await self._ledger.index.find_lines(
            await self._query(call), after=call.query.get("after", 0), limit=limit + 1
        )
        logs, records = await self._read(read_proofs, self._ledger.folder, found[:limit])
        return AuditProofs(logs=logs, records=records, next=found[limit - 1][0] if len(found) > limit else None)

    async def get_record(self, call: Call) -> AuditEntry:
        text = call.path["seq"]
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise BadRequest(f"{text!r} is no number of a record")
        entry = await self._read(read_entry, self._ledger.folder, int(text))
        own = _own(call.caller)
        if own is not None and own not in (entry.record.actor, entry.record.behalf):
            raise NotFound(f"there is no audit record {text}")
        return entry

    async def head(self, call: Call) -> LogHead:
        return await self._head(call.query.get("from_size", 0))

    async def restart(self, call: Call) -> LogHead:
        if not call.body.reason.strip():
            raise BadRequest("say why a new log begins: its first record will have it")
        await self._ledger.restart(actor=call.caller.name, reason=call.body.reason)
        return await self._head(0)

    async def rotate_key(self, call: Call) -> LogHead:
        await self._ledger.rotate_key(actor=call.caller.name)
        return await self._head(0)

    async def _head(self, old: int) -> LogHead:
        log, signed = self._ledger.current, self._ledger.signed
        if signed is None:
            raise AuditUnavailable("the audit log has no checkpoint yet: ask again in a moment")
        if old > signed.size:
            raise NotFound(f"the log {signed.origin} was signed up to {signed.size}, there is no size {old}")
        return await self._read(read_head, log, self._ledger.note, old, signed.size)

    async def _query(self, call: Call) -> Query:
        asked = {name: value for name, value in call.query.items() if name in FILTERS and value}
        if "session" in asked:
            asked["session"] = await self._resolved(asked["session"], call.caller)
        return Query(own=_own(call.caller), **asked)

    async def _resolved(self, text: str, caller: Caller) -> str:
        """The session that is meant; what none of today's is called may have been one of those that are gone."""
        try:
            return (await self._sessions.find(text, caller.sight(Permission.SESSION_READ))).id
        except NotFound:
            return text

    async def _read(self, work: Callable[[*_Values], _Result], *values: *_Values) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *values)


def _limit(call: Call) -> int:
    asked: int = call.query.get("limit", _LIST_LIMIT)
    return max(1, min(asked, _LIST_LIMIT))


def _own(caller: Caller) -> str | None:
    """Whose records the caller may see; None for everybody's."""
    return None if caller.reach(Permission.AUDIT_READ) is Reach.ANY else caller.name
