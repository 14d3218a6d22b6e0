"""Which questions were asked, who answered them, and which grants stand? In the registry's own file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from eleagent.errors import Conflict, NotFound
from eleagent.wire.approvals import Approval, ApprovalState, Delivery, Grant
from eleagent_daemon.store.database import Change, Value
from eleagent_daemon.store.registry import Registry

One = TypeVar("One", Approval, Grant)

_CLOSED_AS = {
    ApprovalState.ALLOWED: "was allowed",
    ApprovalState.DENIED: "was denied",
    ApprovalState.EXPIRED: "has expired: it was denied, since nobody answered in time",
    ApprovalState.WITHDRAWN: "is withdrawn: the agent asks no longer, or its session has ended",
}


class ApprovalStore:
    """The one place where a question is closed: of two who do it, one succeeds and the other is told.

    What takes away counts before the file has it, where the disk is full: it is in `_ahead`, by id, until then.
    """

    def __init__(self, *, registry: Registry) -> None:
        self._db = registry.database
        self._ahead: dict[str, Approval | Grant] = {}

    async def add(self, approval: Approval) -> bool:
        """False when there is one of this id already."""
        async with self._db.change() as change:
            if await self._approvals("id=?", (approval.id,)):
                return False
            change.execute(
                "INSERT INTO approvals (id, session, kind, digest, state, delivery, asked, approval)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (approval.id, approval.session, approval.kind, _digest(approval), approval.state, approval.delivery,
                 approval.asked, _text(approval)),
            )  # fmt: skip
        return True

    async def close(self, approval: Approval, *, grant: Grant | None = None) -> Approval:
        """Store what became of an open question, with the grant that its answer made, in one step; an equal grant that
        stands already is taken instead. Raises Conflict when it is closed already, NotFound.
        """
        async with self._db.change(take_away=approval.state is not ApprovalState.ALLOWED) as change:
            before = await self.get(approval.id)
            if before.state is not ApprovalState.OPEN:
                raise Conflict(describe_closed(before), state=before.state)
            if grant is not None:
                standing = await self._standing(grant)
                approval = msgspec.structs.replace(approval, grant=standing.id if standing else grant.id)
                if standing is None:
                    change.execute(
                        'INSERT INTO grants (id, scope, created, "grant") VALUES (?, ?, ?, ?)',
                        (grant.id, _scope(grant), grant.created, _text(grant)),
                    )
            self._store(change, approval)
        return approval

    async def deliver(self, identifier: str, delivery: Delivery) -> None:
        """Store how the answer fared."""
        take_away = (await self.get(identifier)).state is not ApprovalState.ALLOWED
        async with self._db.change(take_away=take_away) as change:
            self._store(change, msgspec.structs.replace(await self.get(identifier), delivery=delivery))

    async def get(self, identifier: str) -> Approval:
        """Raises NotFound."""
        if not (found := await self._approvals("id=?", (identifier,))):
            raise NotFound(f"no approval {identifier!r}: eleagent approval ls lists the open ones")
        return found[0]

    async def list_approvals(self, *, open_only: bool, session: str | None, limit: int) -> list[Approval]:
        """Open ones oldest first; all of them newest first."""
        where, values = ["1=1"], list[Value]()
        if open_only:
            where.append("state='open'")
        if session:
            where.append("session=?")
            values.append(session)
        order = "asked, rowid" if open_only else "asked DESC, rowid DESC"
        found = await self._approvals(f"{' AND '.join(where)} ORDER BY {order} LIMIT ?", (*values, limit))
        return [one for one in found if not open_only or one.state is ApprovalState.OPEN]

    async def pending(self, session: str) -> list[Approval]:
        """What was answered and has not been seen to arrive."""
        found = await self._approvals("session=? AND (state='open' OR delivery='pending')", (session,))
        return [one for one in found if one.delivery is Delivery.PENDING]

    async def sessions(self) -> set[str]:
        """Sessions with something open or pending."""
        rows = await self._db.rows("SELECT DISTINCT session FROM approvals WHERE state='open' OR delivery='pending'")
        return {row["session"] for row in rows}

    async def find_same(self, approval: Approval) -> Approval | None:
        """The newest question of the same session for exactly the same."""
        found = await self._approvals(
            "session=? AND kind=? AND digest=? ORDER BY asked DESC, rowid DESC LIMIT 1",
            (approval.session, approval.kind, _digest(approval)),
        )
        return found[0] if found else None

    async def count(self, session: str) -> int:
        """How many questions a session has asked."""
        (row,) = await self._db.rows("SELECT count(*) AS number FROM approvals WHERE session=?", (session,))
        return int(row["number"])

    async def find_grant(self, approval: Approval) -> Grant | None:
        """The standing grant of exactly what is asked."""
        return await self._standing(approval)

    async def list_grants(self, *, everything: bool) -> list[Grant]:
        """Newest first."""
        found = await self._grants("1=1 ORDER BY created DESC, rowid DESC", ())
        return [one for one in found if everything or one.revoked is None]

    async def revoke(self, identifier: str, *, by: str, at: str) -> Grant:
        """Raises NotFound, and Conflict when it was revoked before."""
        async with self._db.change(take_away=True) as change:
            if not (found := await self._grants("id=?", (identifier,))):
                raise NotFound(f"no grant {identifier!r}: eleagent approval grants lists them")
            grant = found[0]
            if grant.revoked is not None:
                raise Conflict(f"grant {identifier} was revoked by {grant.revoked_by} at {grant.revoked}")
            grant = msgspec.structs.replace(grant, revoked=at, revoked_by=by)
            change.execute('UPDATE grants SET revoked=?, "grant"=? WHERE id=?', (at, _text(grant), identifier))
            change.then(lambda: self._ahead.update({identifier: grant}))
        return grant

    def _store(self, change: Change, approval: Approval) -> None:
        change.execute(
            "UPDATE approvals SET state=?, delivery=?, approval=? WHERE id=?",
            (approval.state, approval.delivery, _text(approval), approval.id),
        )
        change.then(lambda: self._ahead.update({approval.id: approval}))

    async def _standing(self, one: Approval | Grant) -> Grant | None:
        found = await self._grants("scope=? AND revoked IS NULL", (_scope(one),))
        return next((grant for grant in found if grant.revoked is None), None)

    async def _approvals(self, where: str, values: Sequence[Value]) -> list[Approval]:
        ahead = self._still_ahead()
        rows = await self._db.rows(f"SELECT approval FROM approvals WHERE {where}", values)  # noqa: S608 - ours
        return [_as_it_is(msgspec.json.decode(row["approval"], type=Approval), ahead) for row in rows]

    async def _grants(self, where: str, values: Sequence[Value]) -> list[Grant]:
        ahead = self._still_ahead()
        rows = await self._db.rows(f'SELECT "grant" FROM grants WHERE {where}', values)  # noqa: S608 - ours
        return [_as_it_is(msgspec.json.decode(row["grant"], type=Grant), ahead) for row in rows]

    def _still_ahead(self) -> Mapping[str, Approval | Grant]:
        """What is read after this may have what the file does not."""
        if not self._db.owes:
            self._ahead = {}
        return self._ahead


def describe_closed(approval: Approval) -> str:
    """What a closed question says to who comes late."""
    who = f" by {approval.by_user}" if approval.by_user else ""
    when = f" at {approval.answered}" if approval.answered else ""
    return f"approval {approval.id} {_CLOSED_AS[approval.state]}{who}{when}: your answer changes nothing"


def _as_it_is(stored: One, ahead: Mapping[str, Approval | Grant]) -> One:
    """One that was closed or revoked while the disk was full is so already."""
    found = ahead.get(stored.id)
    return found if isinstance(found, type(stored)) else stored


def _digest(one: Approval | Grant) -> str:
    return hashlib.sha256(msgspec.json.encode([one.subject, one.parameters])).hexdigest()


def _scope(one: Approval | Grant) -> str:
    """Whose sessions, of which agent, under which policy, and exactly what."""
    parts = [one.owner, one.agent, one.policy, one.kind, one.subject, one.parameters]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
