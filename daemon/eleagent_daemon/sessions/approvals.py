"""Who is asked when a session meets a wall or a tool's question, and how does the answer get there, once?

An answer is in the store before it is in the timeline, and in both before it is delivered; what a crash leaves between
these steps is taken up again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from eleagent.errors import AuditUnavailable, BadRequest, Conflict, NotFound, Unavailable
from eleagent.wire.approvals import (
    COMMENT_LIMIT,
    Approval,
    ApprovalAnswer,
    ApprovalKind,
    ApprovalMode,
    ApprovalState,
    Deciding,
    Delivery,
    Grant,
)
from eleagent.wire.audit import Phase
from eleagent.wire.events import ApprovalAnswered, ApprovalRequested, SecurityFinding, WallAsked
from eleagent.wire.inside import AgentAsked
from eleagent.wire.sessions import Session
from eleagent_daemon.domain.doors import Ruling, Wall
from eleagent_daemon.domain.policy import ApprovalRules
from eleagent_daemon.store.approvals import ApprovalStore, describe_closed
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.timeline import Timeline, now

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0
OPEN_LIMIT: Final = 16
"""Questions at walls that one session may have open; a person can't look through a flood of them."""
ASKED_LIMIT: Final = 500
"""Questions that one session may ask altogether."""

_EXPIRED: Final = "nobody answered in time"
_UNATTENDED: Final = "nobody is there to be asked (--approvals deny)"

Deliver = Callable[[ApprovalAnswered], Awaitable[None]]
Changed = Callable[[], Awaitable[None]]


class Desk:
    """One live session's questions: `open` has the ids of those that wait, and `changed` is called when that changes.
    `check_driver` raises Conflict for who does not drive: a tool's question is part of the conversation.

    `recorded` are the answers that its timeline has, by id. `deliver` takes one to the
    agent; it may be called again with the same one, and raises NotFound when the agent asks no longer.
    """

    def __init__(
        self,
        *,
        approvals: Approvals,
        session: Session,
        timeline: Timeline,
        rules: ApprovalRules,
        mode: ApprovalMode,
        recorded: dict[str, ApprovalAnswered],
        deliver: Deliver,
        changed: Changed,
        check_driver: Callable[[str], None],
    ) -> None:
        self.check_driver = check_driver
        self.open: set[str] = set()
        self.changed = changed
        self.session = session
        self.timeline = timeline
        self.deliver = deliver
        self.recorded = recorded
        self._approvals = approvals
        self._rules = rules
        self._mode = mode
        self._one_at_a_time = asyncio.Lock()

    async def requested(self, question: ApprovalRequested) -> None:
        """A tool's question, which is in the timeline; asked again with the same words after a crash."""
        asked = self._new(ApprovalKind.TOOL, question.tool, parameters=question.input, identifier=question.id)
        await self._approvals.ask(self, asked, unattended=self._mode is ApprovalMode.DENY)

    async def withdrawn(self, identifier: str) -> None:
        """The agent asks no longer."""
        with contextlib.suppress(NotFound, Conflict):
            approval = await self._approvals.get(identifier)
            if (approval.session, approval.kind) == (self.session.key, ApprovalKind.TOOL):
                await self._approvals.withdraw(approval)

    async def wall(self, wall: Wall) -> Ruling:
        """What a person says of it, waiting `wall.hold_s` at most; a decision holds as long as the session lives."""
        asked = self._new(wall.kind, wall.subject, why=wall.why)
        async with self._one_at_a_time:
            approval = await self._approvals.ask_wall(self, asked, unattended=self._mode is ApprovalMode.DENY)
        if approval.state is ApprovalState.OPEN:
            approval = await self._approvals.decided(approval.id, wall.hold_s)
        return _ruling(approval)

    async def question(self, subject: str, why: str) -> Approval:
        """What the agent asks in its own words, as it stands; the same words are one question."""
        asked = self._new(ApprovalKind.REQUEST, subject, why=why)
        async with self._one_at_a_time:
            return await self._approvals.ask_wall(self, asked, unattended=self._mode is ApprovalMode.DENY)

    async def own(self, identifier: str, wait_s: float) -> Approval:
        """A question of this session's in its own words, once it is closed or after `wait_s`. Raises NotFound."""
        with contextlib.suppress(NotFound):
            approval = await self._approvals.get(identifier)
            if (approval.session, approval.kind) == (self.session.key, ApprovalKind.REQUEST):
                return await self._approvals.decided(identifier, wait_s) if wait_s else approval
        raise NotFound(f"this session has no question {identifier!r}")

    def _new(
        self, kind: ApprovalKind, subject: str, *, parameters: str = "", why: str = "", identifier: str = ""
    ) -> Approval:
        asked = datetime.now(UTC)
        waits = self._rules.expires_s if self._mode is ApprovalMode.POLICY else 0
        return Approval(
            id=identifier or _identifier("a"),
            session=self.session.key,
            owner=self.session.owner,
            agent=self.session.agent,
            policy=self.session.policy,
            kind=kind,
            subject=subject,
            parameters=parameters,
            why=why,
            asked=_stamp(asked),
            expires=_stamp(asked + timedelta(seconds=waits)) if waits else None,
        )


class Approvals:
    """Every session's questions, and the one face that the API meets for them."""

    def __init__(self, *, store: ApprovalStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._desks: dict[str, Desk] = {}
        self._closed: dict[str, asyncio.Event] = {}
        self._due: dict[str, str] = {}
        self._undelivered: set[str] = set()
        self._in_hand: set[str] = set()
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
            done += [await self._guarded(self._deliver(identifier)) for identifier in list(self._undelivered)]
            if not all(done):
                await asyncio.sleep(RETRY_S)

    async def take_up(self, desk: Desk, questions: Sequence[ApprovalRequested]) -> None:
        """A session lives, perhaps since before this daemon: what is asked is watched here from now on. `questions` are
        what its agent waits for.
        """
        self._desks[desk.session.key] = desk
        waiting = {question.id for question in questions}
        for approval in await self._store.list_approvals(open_only=True, session=desk.session.key, limit=ASKED_LIMIT):
            if not approval.kind.piped or approval.id in waiting:
                await self._watch(approval)
            else:
                await self.withdraw(approval)
        for question in questions:
            await desk.requested(question)
        self._undelivered |= {approval.id for approval in await self._store.pending(desk.session.key)}
        self._wake.set()

    async def give_up(self, key: str) -> None:
        """A session has ended: nothing of it can be answered any more."""
        self._desks.pop(key, None)
        for approval in await self._store.list_approvals(open_only=True, session=key, limit=ASKED_LIMIT):
            with contextlib.suppress(Conflict):
                await self.withdraw(approval)
        for approval in await self._store.pending(key):
            await self._settle(approval, Delivery.UNKNOWN)

    async def recover(self, live: set[str]) -> None:
        """Close what sessions left that ended while nobody looked."""
        for key in await self._store.sessions() - live:
            await self.give_up(key)

    async def ask(self, desk: Desk, asked: Approval, *, unattended: bool) -> Approval:
        """Put a question once. It is answered at once by a standing grant, or denied where nobody is to be asked."""
        if not await self._store.add(asked):
            asked = await self._store.get(asked.id)
            if asked.session != desk.session.key:
                raise Conflict(f"approval {asked.id} is another session's")
        if asked.state is not ApprovalState.OPEN:
            return asked
        if grant := await self._store.find_grant(asked):
            return await self._close(asked, ApprovalState.ALLOWED, Deciding.GRANT, by=grant.by_user, grant=grant.id)
        if unattended:
            return await self._close(asked, ApprovalState.DENIED, Deciding.UNATTENDED, comment=_UNATTENDED)
        await self._watch(asked)
        return asked

    async def ask_wall(self, desk: Desk, asked: Approval, *, unattended: bool) -> Approval:
        """As `ask`; what was decided for the same wall before holds, but for a question that nobody answered."""
        same = await self._store.find_same(asked)
        if same is not None and same.state is not ApprovalState.EXPIRED:
            return same
        questions = await self._store.list_approvals(open_only=True, session=asked.session, limit=OPEN_LIMIT)
        if len(questions) >= OPEN_LIMIT or await self._store.count(asked.session) >= ASKED_LIMIT:
            detail = f"{asked.kind} {asked.subject} was denied unasked: {len(questions)} questions are open already"
            await desk.timeline.append(SecurityFinding(kind="question_flood", detail=detail))
            return msgspec.structs.replace(asked, state=ApprovalState.DENIED, comment="too many questions")
        await desk.timeline.append(_told(asked))
        return await self.ask(desk, asked, unattended=unattended)

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

    async def list_approvals(self, *, everything: bool, session: str | None, limit: int) -> list[Approval]:
        """Without their parameters, which can be large."""
        found = await self._store.list_approvals(open_only=not everything, session=session, limit=limit)
        return [msgspec.structs.replace(one, parameters="") for one in found]

    async def list_grants(self, *, everything: bool) -> list[Grant]:
        return await self._store.list_grants(everything=everything)

    async def answer(self, identifier: str, answer: ApprovalAnswer, *, by: str) -> Approval:
        """A person's word. Raises NotFound, BadRequest, and Conflict when it comes too late."""
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
        if answer.allow and asked.kind is ApprovalKind.TOOL and (desk := self._desks.get(asked.session)) is not None:
            desk.check_driver(by)
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
        await self._audit(closed)
        closed = await self._store.close(closed, grant=_grant_of(closed) if make_grant else None)
        self._due.pop(asked.id, None)
        self._undelivered.add(asked.id)
        self._wake.set()
        await self._guarded(self._deliver(asked.id))
        return await self._store.get(asked.id)

    async def _expire(self, identifier: str) -> None:
        asked = await self._store.get(identifier)
        if asked.state is ApprovalState.OPEN:
            with contextlib.suppress(Conflict):  # a person was quicker
                await self._close(asked, ApprovalState.EXPIRED, Deciding.EXPIRY, comment=_EXPIRED)
        self._due.pop(identifier, None)

    async def _deliver(self, identifier: str) -> None:
        """Into the timeline, then to the agent: each once, however often it is tried."""
        if identifier in self._in_hand:
            return
        self._in_hand.add(identifier)
        try:
            await self._hand_over(identifier)
        finally:
            self._in_hand.discard(identifier)

    async def _hand_over(self, identifier: str) -> None:
        approval = await self._store.get(identifier)
        desk = self._desks.get(approval.session)
        if approval.delivery is not Delivery.PENDING or desk is None:
            self._undelivered.discard(identifier)
            return
        assert approval.decided_by is not None  # noqa: S101 - it is closed
        answered = ApprovalAnswered(
            id=approval.id,
            allow=approval.state is ApprovalState.ALLOWED,
            by_user=approval.by_user,
            comment=approval.comment,
            decided_by=approval.decided_by,
            grant=approval.grant,
        )
        if approval.id not in desk.recorded:
            await desk.timeline.append(answered)
            desk.recorded[approval.id] = answered
        delivery = Delivery.DELIVERED
        if approval.kind.piped:
            try:
                await desk.deliver(answered)
            except NotFound:
                delivery = Delivery.UNKNOWN
        await self._settle(approval, delivery)

    async def _settle(self, approval: Approval, delivery: Delivery) -> None:
        await self._store.deliver(approval.id, delivery)
        self._undelivered.discard(approval.id)
        await self._unwatch(approval)

    async def _audit(self, closed: Approval) -> None:
        """Before it is done. What denies is done without a record too."""
        allowed = closed.state is ApprovalState.ALLOWED
        try:
            await self._ledger.write(
                phase=Phase.EVENT,
                action="approval.decided",
                actor=closed.by_user or "eleagentd",
                decision="allowed" if allowed else "denied",
                take_away=not allowed,
                session=closed.session,
                target=closed.id,
                details={
                    "kind": closed.kind,
                    "subject": closed.subject[:200],
                    "decided_by": closed.decided_by or "",
                    "grant": closed.grant,
                },
            )
        except AuditUnavailable as err:
            if allowed:
                raise
            log.warning("approval %s is denied without a record: %s", closed.id, err.message)

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
        if (desk := self._desks.get(approval.session)) is not None:
            desk.open.add(approval.id)
            await desk.changed()

    async def _unwatch(self, approval: Approval) -> None:
        self._due.pop(approval.id, None)
        if (closed := self._closed.pop(approval.id, None)) is not None:
            closed.set()
        desk = self._desks.get(approval.session)
        if desk is not None and approval.id in desk.open:
            desk.open.discard(approval.id)
            await desk.changed()

    def _pause_s(self) -> float | None:
        waits = [RETRY_S] if self._undelivered else []
        if self._due:
            first = datetime.fromisoformat(min(self._due.values()))
            waits.append(max(0.01, (first - datetime.now(UTC)).total_seconds()))
        return min(waits, default=None)


def _ruling(approval: Approval) -> Ruling:
    """What a wall makes of it. An answer that is not in the timeline yet lets nothing pass."""
    name = f"{approval.kind} {approval.subject}"
    match approval.state, approval.delivery:
        case ApprovalState.ALLOWED, Delivery.DELIVERED:
            return Ruling(allowed=True, approval=approval.id, reason=f"{name} was allowed by {approval.by_user}")
        case ApprovalState.ALLOWED, _:
            reason = f"{name} was allowed, but that can't be recorded yet: try again"
        case ApprovalState.OPEN, _:
            reason = f"{name} waits for a person's answer ({approval.id}): try again later"
        case _:
            by = f" by {approval.by_user}" if approval.by_user else ""
            reason = f"{name} was denied{by}" + (f": {approval.comment}" if approval.comment else "")
    return Ruling(allowed=False, approval=approval.id, reason=reason)


def _told(asked: Approval) -> WallAsked | AgentAsked:
    if asked.kind is ApprovalKind.REQUEST:
        return AgentAsked(id=asked.id, subject=asked.subject, why=asked.why, expires=asked.expires)
    return WallAsked(id=asked.id, kind=asked.kind, subject=asked.subject, why=asked.why, expires=asked.expires)


def _grant_of(approval: Approval) -> Grant:
    """The narrow rule: exactly what was asked, never what an agent suggests."""
    return Grant(
        id=_identifier("g"),
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


def _identifier(letter: str) -> str:
    return f"{letter}-{base64.b32encode(secrets.token_bytes(7))[:10].decode().lower()}"


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
