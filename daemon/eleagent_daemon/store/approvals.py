"""Which questions were asked, who answered them, and which grants stand? In the registry's own file."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence

import msgspec

from eleagent.errors import Conflict, NotFound
from eleagent.wire.approvals import Approval, ApprovalState, Delivery, Grant
from eleagent_daemon.store.database import transaction
from eleagent_daemon.store.registry import Registry

_CLOSED_AS = {
    ApprovalState.ALLOWED: "was allowed",
    ApprovalState.DENIED: "was denied",
    ApprovalState.EXPIRED: "has expired: it was denied, since nobody answered in time",
    ApprovalState.WITHDRAWN: "is withdrawn: the agent asks no longer, or its session has ended",
}


class ApprovalStore:
    """The one place where a question is closed: of two who do it, one succeeds and the other is told."""

    def __init__(self, *, registry: Registry) -> None:
        self._db, self._lock = registry.shared()

    async def add(self, approval: Approval) -> bool:
        """False when there is one of this id already."""
        async with self._lock, transaction(self._db):
            cursor = await self._db.execute(
                "INSERT INTO approvals (id, session, kind, digest, state, delivery, asked, approval)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (approval.id, approval.session, approval.kind, _digest(approval), approval.state, approval.delivery,
                 approval.asked, _text(approval)),
            )  # fmt: skip
            return cursor.rowcount == 1

    async def close(self, approval: Approval, *, grant: Grant | None = None) -> Approval:
        """Store what became of an open question, with the grant that its answer made, in one step; an equal grant that
        stands already is taken instead. Raises Conflict when it is closed already, NotFound.
        """
        async with self._lock, transaction(self._db):
            before = await self._get(approval.id)
            if before.state is not ApprovalState.OPEN:
                raise Conflict(describe_closed(before), state=before.state)
            if grant is not None:
                standing = await self._standing(grant)
                approval = msgspec.structs.replace(approval, grant=standing.id if standing else grant.id)
                if standing is None:
                    await self._db.execute(
                        'INSERT INTO grants (id, scope, created, "grant") VALUES (?, ?, ?, ?)',
                        (grant.id, _scope(grant), grant.created, _text(grant)),
                    )
            await self._store(approval)
            return approval

    async def deliver(self, identifier: str, delivery: Delivery) -> None:
        """Store how the answer fared."""
        async with self._lock, transaction(self._db):
            await self._store(msgspec.structs.replace(await self._get(identifier), delivery=delivery))

    async def get(self, identifier: str) -> Approval:
        """Raises NotFound."""
        return await self._get(identifier)

    async def list_approvals(self, *, open_only: bool, session: str | None, limit: int) -> list[Approval]:
        """Open ones oldest first; all of them newest first."""
        where, values = ["1=1"], list[object]()
        if open_only:
            where.append("state='open'")
        if session:
            where.append("session=?")
            values.append(session)
        order = "asked, rowid" if open_only else "asked DESC, rowid DESC"
        rows = await self._all(
            f"SELECT approval FROM approvals WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?",  # noqa: S608 - ours
            (*values, limit),
        )
        return [msgspec.json.decode(row["approval"], type=Approval) for row in rows]

    async def pending(self, session: str) -> list[Approval]:
        """What was answered and has not been seen to arrive."""
        rows = await self._all("SELECT approval FROM approvals WHERE session=? AND delivery='pending'", (session,))
        return [msgspec.json.decode(row["approval"], type=Approval) for row in rows]

    async def sessions(self) -> set[str]:
        """Sessions with something open or pending."""
        rows = await self._all("SELECT DISTINCT session FROM approvals WHERE state='open' OR delivery='pending'", ())
        return {row["session"] for row in rows}

    async def find_same(self, approval: Approval) -> Approval | None:
        """The newest question of the same session for exactly the same."""
        rows = await self._all(
            "SELECT approval FROM approvals WHERE session=? AND kind=? AND digest=? ORDER BY asked DESC, rowid DESC"
            " LIMIT 1",
            (approval.session, approval.kind, _digest(approval)),
        )
        return msgspec.json.decode(rows[0]["approval"], type=Approval) if rows else None

    async def count(self, session: str) -> int:
        """How many questions a session has asked."""
        rows = await self._all("SELECT count(*) AS number FROM approvals WHERE session=?", (session,))
        return int(rows[0]["number"])

    async def find_grant(self, approval: Approval) -> Grant | None:
        """The standing grant of exactly what is asked."""
        return await self._standing(approval)

    async def list_grants(self, *, everything: bool) -> list[Grant]:
        """Newest first."""
        where = "" if everything else "WHERE revoked IS NULL"
        rows = await self._all(f'SELECT "grant" FROM grants {where} ORDER BY created DESC, rowid DESC', ())  # noqa: S608
        return [msgspec.json.decode(row["grant"], type=Grant) for row in rows]

    async def revoke(self, identifier: str, *, by: str, at: str) -> Grant:
        """Raises NotFound, and Conflict when it was revoked before."""
        async with self._lock, transaction(self._db):
            rows = await self._all('SELECT "grant" FROM grants WHERE id=?', (identifier,))
            if not rows:
                raise NotFound(f"no grant {identifier!r}: eleagent approval grants lists them")
            grant = msgspec.json.decode(rows[0]["grant"], type=Grant)
            if grant.revoked is not None:
                raise Conflict(f"grant {identifier} was revoked by {grant.revoked_by} at {grant.revoked}")
            grant = msgspec.structs.replace(grant, revoked=at, revoked_by=by)
            await self._db.execute('UPDATE grants SET revoked=?, "grant"=? WHERE id=?', (at, _text(grant), identifier))
            return grant

    async def _get(self, identifier: str) -> Approval:
        rows = await self._all("SELECT approval FROM approvals WHERE id=?", (identifier,))
        if not rows:
            raise NotFound(f"no approval {identifier!r}: eleagent approval ls lists the open ones")
        return msgspec.json.decode(rows[0]["approval"], type=Approval)

    async def _store(self, approval: Approval) -> None:
        await self._db.execute(
            "UPDATE approvals SET state=?, delivery=?, approval=? WHERE id=?",
            (approval.state, approval.delivery, _text(approval), approval.id),
        )

    async def _standing(self, one: Approval | Grant) -> Grant | None:
        rows = await self._all('SELECT "grant" FROM grants WHERE scope=? AND revoked IS NULL', (_scope(one),))
        return msgspec.json.decode(rows[0]["grant"], type=Grant) if rows else None

    async def _all(self, query: str, values: Sequence[object]) -> list[sqlite3.Row]:
        async with self._db.execute(query, values) as cursor:
            return list(await cursor.fetchall())


def describe_closed(approval: Approval) -> str:
    """What a closed question says to who comes late."""
    who = f" by {approval.by_user}" if approval.by_user else ""
    when = f" at {approval.answered}" if approval.answered else ""
    return f"approval {approval.id} {_CLOSED_AS[approval.state]}{who}{when}: your answer changes nothing"


def _digest(one: Approval | Grant) -> str:
    return hashlib.sha256(msgspec.json.encode([one.subject, one.parameters])).hexdigest()


def _scope(one: Approval | Grant) -> str:
    """Whose sessions, of which agent, under which policy, and exactly what."""
    parts = [one.owner, one.agent, one.policy, one.kind, one.subject, one.parameters]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
