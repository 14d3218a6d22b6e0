"""How is a question put, and closed once, by whoever is first?

An answer is in the store before it is in the timeline, and in both before it is delivered; what a crash leaves between
these steps is taken up again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import secrets
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

import msgspec

from eleagent.errors import AuditUnavailable, BadRequest, Conflict, EleAgentError, Refused, Unavailable
from eleagent.wire.approvals import (
    COMMENT_LIMIT,
    Approval,
    ApprovalAnswer,
    ApprovalKind,
    ApprovalState,
    Deciding,
    Delivery,
    Grant,
)
from eleagent.wire.audit import Phase
from eleagent.wire.events import SecurityFinding, WallAsked
from eleagent.wire.inside import AgentAsked
from eleagent.wire.limits import Raise
from eleagent_daemon.sessions.delivering import Delivering, Party
from eleagent_daemon.store.approvals import ApprovalStore, describe_closed
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.timeline import now

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0
OPEN_LIMIT: Final = 16
"""Questions at walls that one session may have open; a person can't look through a flood of them."""
ASKED_LIMIT: Final = 500
"""Questions that one session may ask altogether."""

_EXPIRED: Final = "nobody answered in time"
_UNATTENDED: Final = "nobody is there to be asked (--approvals deny)"


class Approvals:
    """Every session's questions, and the one face that the API meets for them."""

    def __init__(self, *, store: ApprovalStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._delivering = Delivering(store=store, settled=self._unwatch)
        self._parties = self._delivering.parties
        self._closed: dict[str, asyncio.Event] = {}
        self._due: dict[str, str] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """For as long as the daemon lives: deny what has expired, deliver what could not be."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            self._wake.clear()
            expired = [one for one, expires in self._due.items() if expires <= now()]
            done = [await self._guarded(self._expire(identifier)) for identifier in expired]
            done += [
                await self._guarded(self._delivering.deliver(identifier))
                for identifier in list(self._delivering.undelivered)
            ]
            if not all(done):
                await asyncio.sleep(RETRY_S)

    async def take_up(self, party: Party, waiting: set[str]) -> None:
        """A session lives, perhaps since before this daemon: what is asked is watched here from now on. `waiting` are
        the ids of what its agent waits for.
        """
        self._parties[party.session.key] = party
        for approval in await self._open(party.session.key):
            if not approval.kind.piped or approval.id in waiting:
                await self._watch(approval)
            else:
                await self.withdraw(approval)
        self._delivering.undelivered |= {approval.id for approval in await self._store.pending(party.session.key)}
        self._wake.set()

    async def give_up(self, key: str) -> None:
        """A session has ended: nothing of it can be answered any more."""
        self._parties.pop(key, None)
        for approval in await self._open(key):
            with contextlib.suppress(Conflict):
                await self.withdraw(approval)
        for approval in await self._store.pending(key):
            await self._delivering.settle(approval, Delivery.UNKNOWN)

    async def recover(self, live: set[str]) -> None:
        """Close what sessions left that ended while nobody looked."""
        for key in await self._store.sessions() - live:
            await self.give_up(key)

    async def ask(self, party: Party, asked: Approval, *, unattended: bool) -> Approval:
        """Put a question once. It is answered at once by a standing grant, or denied where nobody is to be asked."""
        if not await self._store.add(asked):
            asked = await self._store.get(asked.id)
            if asked.session != party.session.key:
                raise Conflict(f"approval {asked.id} is another session's")
        if asked.state is not ApprovalState.OPEN:
            return asked
        if grant := await self._store.find_grant(asked):
            return await self._close(asked, ApprovalState.ALLOWED, Deciding.GRANT, by=grant.by_user, grant=grant.id)
        if unattended:
            return await self._close(asked, ApprovalState.DENIED, Deciding.UNATTENDED, comment=_UNATTENDED)
        await self._watch(asked)
        return asked

    async def ask_wall(self, party: Party, asked: Approval, *, unattended: bool) -> Approval:
        """As `ask`; what was decided for the same wall before holds, but for a question that nobody answered."""
        same = await self._store.find_same(asked)
        if same is not None and same.state is not ApprovalState.EXPIRED:
            return same
        questions = await self._open(asked.session)
        if len(questions) >= OPEN_LIMIT or await self._store.count(asked.session) >= ASKED_LIMIT:
            detail = f"{asked.kind} {asked.subject} was denied unasked: {len(questions)} questions are open already"
            await party.timeline.append(SecurityFinding(kind="question_flood", detail=detail))
            return msgspec.structs.replace(asked, state=ApprovalState.DENIED, comment="too many questions")
        await party.timeline.append(_told(asked))
        return await self.ask(party, asked, unattended=unattended)

    async def ask_budget(self, party: Party, asked: Approval) -> None:
        """Whether it may go on past a limit. One question at a time: it stands still until that is decided."""
        known = [*await self._open(asked.session), *await self._store.pending(asked.session)]
        if any(one.kind is ApprovalKind.BUDGET for one in known):
            return
        await party.timeline.append(_told(asked))
        await self.ask(party, asked, unattended=False)

    async def withdraw_budget(self, key: str) -> None:
        """A person has set another limit instead of an answer."""
        for approval in await self._open(key):
            if approval.kind is ApprovalKind.BUDGET:
                with contextlib.suppress(Conflict):
                    await self.withdraw(approval)

    async def decided(self, identifier: str, hold_s: float | None) -> Approval:
        """The question once it is closed, or as it is after `hold_s`."""
        closed = self._closed.setdefault(identifier, asyncio.Event())
        approval = await self._store.get(identifier)
        if approval.state is not ApprovalState.OPEN:
            self._closed.pop(identifier, None)
            return approval
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(hold_s):
                await closed.wait()
        return await self._store.get(identifier)

    async def get(self, identifier: str) -> Approval:
        """Raises NotFound."""
        return await self._store.get(identifier)

    def driver(self, approval: Approval) -> str:
        """Who may answer it beside its owner: what is said in the talk, whoever leads that. Walls stay the owner's."""
        party = self._parties.get(approval.session)
        return party.driver() if party is not None and not approval.kind.wall else ""

    async def list_approvals(self, *, everything: bool, session: str | None, limit: int) -> list[Approval]:
        """Without their parameters, which can be large."""
        found = await self._store.list_approvals(open_only=not everything, session=session, limit=limit)
        return [msgspec.structs.replace(one, parameters="") for one in found]

    async def list_grants(self, *, everything: bool) -> list[Grant]:
        return await self._store.list_grants(everything=everything)

    async def answer(
        self, identifier: str, answer: ApprovalAnswer, *, by: str, operator: bool, key: bool = False
    ) -> Approval:
        """A person's word, or an API `key`'s of theirs; an `operator` decides about everybody's. Raises NotFound,
        BadRequest, Refused, and Conflict when it comes too late.
        """
        if len(answer.comment) > COMMENT_LIMIT:
            raise BadRequest(f"the comment has {len(answer.comment)} characters, {COMMENT_LIMIT} are allowed")
        if answer.always and not answer.allow:
            raise BadRequest("always goes with allow: a denial holds for the session, and nothing is granted by it")
        asked = await self._store.get(identifier)
        if answer.always and not asked.kind.grantable:
            raise BadRequest(f"a {asked.kind} can't be allowed for always: set another limit instead")
        if asked.state is ApprovalState.OPEN and asked.expires is not None and asked.expires <= now():
            await self._guarded(self._expire(identifier))
            asked = await self._store.get(identifier)
        if answer.always and not operator and by != asked.owner:
            raise Refused(f"a standing grant would hold for all sessions of {asked.owner}: allow it once")
        administrator = operator and not key
        if answer.allow and not administrator and asked.kind is ApprovalKind.BUDGET and read_raise(asked).day:
            who = "an API key" if key else by
            raise Refused(f"{asked.subject}: the operator set that limit; an administrator may allow more, {who} not")
        party = self._parties.get(asked.session)
        if answer.allow and asked.kind is ApprovalKind.TOOL and party is not None:
            party.check_driver(by)
        state = ApprovalState.ALLOWED if answer.allow else ApprovalState.DENIED
        return await self._close(asked, state, Deciding.PERSON, by=by, comment=answer.comment, make_grant=answer.always)

    async def withdraw(self, approval: Approval) -> None:
        """Raises Conflict when it is closed already."""
        changed = msgspec.structs.replace(approval, state=ApprovalState.WITHDRAWN, answered=now())
        await self._store.close(changed)
        await self._unwatch(changed)

    async def revoke(self, identifier: str, *, by: str) -> Grant:
        """Raises NotFound, Conflict. What it has allowed already in a session that lives stays allowed there."""
        return await self._store.revoke(identifier, by=by, at=now())

    async def _close(
        self,
        asked: Approval,
        state: ApprovalState,
        decided_by: Deciding,
        *,
        by: str = "",
        comment: str = "",
        grant: str = "",
        make_grant: bool = False,
    ) -> Approval:
        closed = msgspec.structs.replace(
            asked,
            state=state,
            answered=now(),
            by_user=by,
            comment=comment,
            grant=grant,
            delivery=Delivery.PENDING,
            decided_by=decided_by,
        )
        if (before := await self._store.get(asked.id)).state is not ApprovalState.OPEN:
            raise Conflict(describe_closed(before), state=before.state)
        closed = await self._store_on_record(closed, grant=_grant_of(closed) if make_grant else None)
        self._due.pop(asked.id, None)
        self._delivering.undelivered.add(asked.id)
        self._wake.set()
        await self._guarded(self._delivering.deliver(asked.id))
        return await self._store.get(asked.id)

    async def _expire(self, identifier: str) -> None:
        asked = await self._store.get(identifier)
        if asked.state is ApprovalState.OPEN:
            with contextlib.suppress(Conflict):  # a person was quicker
                await self._close(asked, ApprovalState.EXPIRED, Deciding.EXPIRY, comment=_EXPIRED)
        self._due.pop(identifier, None)

    async def _store_on_record(self, closed: Approval, *, grant: Grant | None) -> Approval:
        """In the audit log before it is done; where that has no room, what denies is done first. A decision that does
        not come about after all is recorded as refused.
        """
        allowed = closed.state is ApprovalState.ALLOWED
        record = self._ledger.entry(
            phase=Phase.EVENT,
            action="approval.decided",
            actor=closed.by_user or "eleagentd",
            decision="allowed" if allowed else "denied",
            session=closed.session,
            target=closed.id,
            details={
                "kind": closed.kind,
                "subject": closed.subject[:200],
                "decided_by": closed.decided_by or "",
                "grant": closed.grant,
            },
        )
        late = False
        try:
            await self._ledger.write_all([record], take_away=not allowed)
        except AuditUnavailable:
            if allowed:
                raise
            late = True
        try:
            stored = await self._store.close(closed, grant=grant)
        except EleAgentError as err:
            if not late:
                said = msgspec.structs.replace(record, ts=now(), decision="refused", outcome=err.code)
                await self._ledger.write_done(said)
            raise
        if late:
            await self._ledger.write_done(record)
        return stored

    async def _guarded(self, work: Awaitable[None]) -> bool:
        """Whether it was done. What fails for want of the launcher or the disk is tried again."""
        try:
            await work
        except (Unavailable, Conflict) as err:
            log.warning("an answer waits: %s", err.message)
            return False
        return True

    async def _watch(self, approval: Approval) -> None:
        if approval.expires is not None:
            self._due[approval.id] = approval.expires
            self._wake.set()
        if (party := self._parties.get(approval.session)) is not None:
            party.open.add(approval.id)
            await party.changed()

    async def _unwatch(self, approval: Approval) -> None:
        self._due.pop(approval.id, None)
        if (closed := self._closed.pop(approval.id, None)) is not None:
            closed.set()
        party = self._parties.get(approval.session)
        if party is not None and approval.id in party.open:
            party.open.discard(approval.id)
            await party.changed()

    async def _open(self, key: str) -> list[Approval]:
        return await self._store.list_approvals(open_only=True, session=key, limit=ASKED_LIMIT)

    def _pause_s(self) -> float | None:
        waits = [RETRY_S] if self._delivering.undelivered else []
        if self._due:
            first = datetime.fromisoformat(min(self._due.values()))
            waits.append(max(0.01, (first - datetime.now(UTC)).total_seconds()))
        return min(waits, default=None)


def read_raise(approval: Approval) -> Raise:
    """What exactly a budget's question asks for."""
    return msgspec.json.decode(approval.parameters, type=Raise)


def _told(asked: Approval) -> WallAsked | AgentAsked:
    if asked.kind is ApprovalKind.REQUEST:
        return AgentAsked(id=asked.id, subject=asked.subject, why=asked.why, expires=asked.expires)
    return WallAsked(id=asked.id, kind=asked.kind, subject=asked.subject, why=asked.why, expires=asked.expires)


def _grant_of(approval: Approval) -> Grant:
    """The narrow rule: exactly what was asked, never what an agent suggests."""
    return Grant(
        id=identifier("g"),
        owner=approval.owner,
        agent=approval.agent,
        policy=approval.policy,
        kind=approval.kind,
        subject=approval.subject,
        parameters=approval.parameters,
        approval=approval.id,
        by_user=approval.by_user,
        created=now(),
        comment=approval.comment,
    )


def identifier(letter: str) -> str:
    return f"{letter}-{base64.b32encode(secrets.token_bytes(7))[:10].decode().lower()}"
