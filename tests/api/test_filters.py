"""Does everybody see of approvals, grants, egress and usage what is theirs to see, and nothing of the rest?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from eleagent.errors import NotFound, Refused
from eleagent.operations.approvals import APPROVAL_LIST, GRANT_LIST
from eleagent.operations.egress import EGRESS_LIST, EGRESS_TOP
from eleagent.operations.operation import Operation
from eleagent.operations.usage import USAGE
from eleagent.permissions import Role
from eleagent.roles import KEY_GROUPS
from eleagent.wire.approvals import Approval, ApprovalKind, Grant
from eleagent.wire.logins import Via
from eleagent_daemon.api.approvals import ApprovalHandlers
from eleagent_daemon.api.egress import EgressHandlers
from eleagent_daemon.api.identity import NOBODY, Caller
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.api.usage import UsageHandlers
from eleagent_daemon.domain.access import Owned, Sight

OWNERS = ("ada", "bob", "eve")
EVERYBODY = None


def asked(owner: str) -> Approval:
    return Approval(
        id=f"a-{owner}", session=f"s-{owner}", owner=owner, agent="claude", policy="p", kind=ApprovalKind.HOST,
        subject="x:443",
    )  # fmt: skip


def granted(owner: str) -> Grant:
    return Grant(id=f"g-{owner}", owner=owner, agent="claude", policy="p", kind=ApprovalKind.HOST, subject="x:443")


class Kept:
    """Approvals and grants of three people."""

    async def list_approvals(self, **_: Any) -> list[Approval]:
        return [asked(owner) for owner in OWNERS]

    async def list_grants(self, **_: Any) -> list[Grant]:
        return [granted(owner) for owner in OWNERS]

    async def get(self, identifier: str) -> Approval:
        return asked(identifier.removeprefix("a-"))

    def driver(self, approval: Approval) -> str:
        return approval.owner


@dataclass
class Asked:
    """A store that tells what it was asked for; sessions are found as they are in sight."""

    by: list[dict[str, Any]] = field(default_factory=list)

    async def list_decisions(self, **query: Any) -> None:
        self.by.append(query)

    async def report(self, *_: Any, **query: Any) -> None:
        self.by.append(query)

    top = list_decisions

    async def find(self, text: str, sight: Sight) -> Owned:
        thing = Owned(id=text, owner=text.removeprefix("s-"), project="apollo")
        if not sight.reaches(thing):
            raise NotFound(text)
        return thing


def person(name: str, role: Role) -> Caller:
    return Caller(name=name, role=role, identity=NOBODY, projects=frozenset({"apollo"}))


def key(within: frozenset[str] | None = None) -> Caller:
    return Caller(
        name="bob", role=Role.ADMIN, identity=NOBODY, via=Via.KEY, scopes=KEY_GROUPS["read_only"], within=within
    )


ALL = {"owner": person("ada", Role.OWNER), "admin": person("adam", Role.ADMIN)}
OWN = {"member": person("bob", Role.MEMBER), "agent": person("bob", Role.AGENT), "an admin's key": key()}
CALLERS = ALL | OWN


def call(operation: Operation, caller: Caller, **query: Any) -> Call:
    return Call(
        operation=operation, caller=caller, path={}, query=query, body=None, token=None, request=cast(Any, None)
    )


@pytest.mark.parametrize("who", CALLERS)
async def test_approvals_and_grants_are_of_whom_one_may_see(who: str) -> None:
    handlers, seen = (
        ApprovalHandlers(approvals=cast(Any, Kept()), sessions=cast(Any, None)),
        OWNERS if who in ALL else ("bob",),
    )
    found = (await handlers.list_approvals(call(APPROVAL_LIST, CALLERS[who]))).approvals
    assert [one.owner for one in found] == list(seen)
    grants = (await handlers.list_grants(call(GRANT_LIST, CALLERS[who]))).grants
    assert [one.owner for one in grants] == list(seen)
    for owner in OWNERS:
        for find, name in ((handlers.find, f"a-{owner}"), (handlers.find_grant, f"g-{owner}")):
            sight = CALLERS[who].sight(APPROVAL_LIST.permission)
            if owner in seen:
                assert (await find(name, sight)).owner == owner
            else:
                with pytest.raises(NotFound):
                    await find(name, sight)


@pytest.mark.parametrize("who", CALLERS)
async def test_egress_and_usage_are_of_whom_one_may_see(who: str) -> None:
    store, caller = Asked(), CALLERS[who]
    egress = EgressHandlers(sessions=cast(Any, store), egress=cast(Any, store))
    prices = cast(Any, type("Prices", (), {"source": "", "date": ""}))
    await egress.list_decisions(call(EGRESS_LIST, caller))
    await egress.top(call(EGRESS_TOP, caller))
    await UsageHandlers(usage=cast(Any, store), prices=prices).report(call(USAGE, caller))
    whose = [query["owner"] if "owner" in query else query["user"] for query in store.by]
    assert whose == [EVERYBODY if who in ALL else "bob"] * 3


async def test_key_bound_to_projects_sees_nothing_of_others_projects() -> None:
    store, caller = Asked(), key(frozenset({"zeus"}))
    egress = EgressHandlers(sessions=cast(Any, store), egress=cast(Any, store))
    with pytest.raises(Refused, match="bound to projects"):
        await egress.list_decisions(call(EGRESS_LIST, caller))
    with pytest.raises(NotFound):
        await egress.top(call(EGRESS_TOP, caller, session="s-bob"))
    with pytest.raises(Refused, match="bound to projects"):
        await UsageHandlers(usage=cast(Any, store), prices=cast(Any, None)).report(call(USAGE, caller))
    assert store.by == []
    handlers = ApprovalHandlers(approvals=cast(Any, Kept()), sessions=cast(Any, None))
    assert (await handlers.list_approvals(call(APPROVAL_LIST, caller))).approvals == []
