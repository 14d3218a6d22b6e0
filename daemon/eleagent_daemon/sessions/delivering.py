"""How does an answer get where it belongs, once, whatever dies over it?

It is in the store by then. It goes into the session's timeline, and then to who asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from eleagent.errors import NotFound, StorageUnavailable
from eleagent.wire.approvals import Approval, ApprovalKind, ApprovalState, Delivery
from eleagent.wire.events import ApprovalAnswered
from eleagent.wire.sessions import Session
from eleagent_daemon.store.approvals import ApprovalStore
from eleagent_daemon.store.timeline import Timeline

Deliver = Callable[[ApprovalAnswered], Awaitable[None]]
Decide = Callable[[Approval], Awaitable[None]]
Changed = Callable[[], Awaitable[None]]


@dataclass(kw_only=True, eq=False)
class Party:
    """A live session as one that asks: `open` has the ids of those questions that wait, and `changed` is called when
    that changes. `driver` tells who drives it, empty for nobody or its owner; `check_driver` raises Conflict for who
    does not: a tool's question is part of the conversation.

    `recorded` are the answers that its timeline has, by id. `deliver` takes one to the agent, and raises NotFound when
    the agent asks no longer; `decide` does what was answered about a limit. Both may be called again with the same one.
    """

    session: Session
    timeline: Timeline
    recorded: dict[str, ApprovalAnswered]
    deliver: Deliver
    decide: Decide
    changed: Changed
    driver: Callable[[], str]
    check_driver: Callable[[str], None]
    open: set[str] = field(default_factory=set)


class Delivering:
    """`parties` are those that live, by session; `undelivered` the ids of answers that are still on their way.
    `settled` is called when one has arrived, or never will.
    """

    def __init__(self, *, store: ApprovalStore, settled: Callable[[Approval], Awaitable[None]]) -> None:
        self.parties: dict[str, Party] = {}
        self.undelivered: set[str] = set()
        self._store = store
        self._settled = settled
        self._in_hand: set[str] = set()

    async def deliver(self, identifier: str) -> None:
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
        party = self.parties.get(approval.session)
        if approval.delivery is not Delivery.PENDING or party is None:
            self.undelivered.discard(identifier)
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
        if approval.id not in party.recorded:
            try:
                await party.timeline.append(answered)
            except StorageUnavailable:
                if answered.allow:
                    raise  # what only takes away is told all the same; a timeline that fails ends its session
            else:
                party.recorded[approval.id] = answered
        delivery = Delivery.DELIVERED
        if approval.kind is ApprovalKind.BUDGET:
            await party.decide(approval)
        elif approval.kind.piped:
            try:
                await party.deliver(answered)
            except NotFound:
                delivery = Delivery.UNKNOWN
        await self.settle(approval, delivery)

    async def settle(self, approval: Approval, delivery: Delivery) -> None:
        await self._store.deliver(approval.id, delivery)
        self.undelivered.discard(approval.id)
        await self._settled(approval)
