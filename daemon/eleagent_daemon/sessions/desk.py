"""What does one session ask people: about a tool, at a wall, at a limit?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from eleagent.errors import Conflict, NotFound
from eleagent.wire.approvals import Approval, ApprovalKind, ApprovalMode, ApprovalState, Delivery
from eleagent.wire.events import ApprovalAnswered, ApprovalRequested
from eleagent.wire.limits import Raise
from eleagent.wire.sessions import Session
from eleagent_daemon.domain.doors import Ruling, Wall
from eleagent_daemon.domain.limits import describe_raise
from eleagent_daemon.domain.policy import ApprovalRules
from eleagent_daemon.sessions.approvals import Approvals, identifier
from eleagent_daemon.sessions.delivering import Changed, Decide, Deliver, Party
from eleagent_daemon.store.timeline import Timeline


class Desk(Party):
    """One live session's. `rules` are its policy's, `mode` is what the session said about its questions."""

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
        decide: Decide,
        changed: Changed,
        driver: Callable[[], str],
        check_driver: Callable[[str], None],
    ) -> None:
        super().__init__(
            session=session,
            timeline=timeline,
            recorded=recorded,
            deliver=deliver,
            decide=decide,
            changed=changed,
            driver=driver,
            check_driver=check_driver,
        )
        self._approvals = approvals
        self._rules = rules
        self._mode = mode
        self._one_at_a_time = asyncio.Lock()

    async def take_up(self, questions: Sequence[ApprovalRequested]) -> None:
        """From here on the session is one that asks; `questions` are what its agent waits for."""
        await self._approvals.take_up(self, {question.id for question in questions})
        for question in questions:
            await self.requested(question)

    async def requested(self, question: ApprovalRequested) -> None:
        """A tool's question, which is in the timeline; asked again with the same words after a crash."""
        asked = self._new(ApprovalKind.TOOL, question.tool, parameters=question.input, name=question.id)
        await self._approvals.ask(self, asked, unattended=self._mode is ApprovalMode.DENY)

    async def withdrawn(self, name: str) -> None:
        """The agent asks no longer."""
        with contextlib.suppress(NotFound, Conflict):
            approval = await self._approvals.get(name)
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

    async def own(self, name: str, wait_s: float) -> Approval:
        """A question of this session's in its own words, once it is closed or after `wait_s`. Raises NotFound."""
        with contextlib.suppress(NotFound):
            approval = await self._approvals.get(name)
            if (approval.session, approval.kind) == (self.session.key, ApprovalKind.REQUEST):
                return await self._approvals.decided(name, wait_s) if wait_s else approval
        raise NotFound(f"this session has no question {name!r}")

    async def limit(self, wanted: Raise, why: str) -> None:
        """Whether it may go on past a limit, as far as `wanted`; `decide` gets the answer."""
        asked = self._new(
            ApprovalKind.BUDGET, describe_raise(wanted), parameters=msgspec.json.encode(wanted).decode(), why=why
        )
        async with self._one_at_a_time:
            await self._approvals.ask_budget(self, asked)

    async def limit_set(self) -> None:
        """A person has set another limit: nothing is asked about it any more."""
        await self._approvals.withdraw_budget(self.session.key)

    def _new(
        self, kind: ApprovalKind, subject: str, *, parameters: str = "", why: str = "", name: str = ""
    ) -> Approval:
        asked = datetime.now(UTC)
        waits = self._rules.expires_s if self._mode is ApprovalMode.POLICY else 0
        return Approval(
            id=name or identifier("a"),
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


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
