"""What may who drives another's session do to it, and what may an API key make a session do?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from eleagent.errors import NotFound, Refused
from eleagent.operations.approvals import APPROVAL_ANSWER, APPROVAL_LIST
from eleagent.operations.sessions import SESSION_INPUT
from eleagent.permissions import Permission, Role
from eleagent.roles import DRIVER
from eleagent.wire.approvals import Approval, ApprovalAnswer, ApprovalKind
from eleagent.wire.limits import LimitsUpdate
from eleagent.wire.logins import Via
from eleagent.wire.sessions import Session, SessionInput, State
from eleagent_daemon.api.approvals import ApprovalHandlers
from eleagent_daemon.api.identity import NOBODY, Caller
from eleagent_daemon.api.sessions import SessionHandlers
from eleagent_daemon.domain.access import Owned
from eleagent_daemon.store.apikeys import Bounds

PROJECT = "apollo"


def person(name: str, role: Role = Role.MEMBER) -> Caller:
    return Caller(name=name, role=role, identity=NOBODY, via=Via.LOGIN, projects=frozenset({PROJECT}))


def key(role: Role = Role.MEMBER, **bound: Any) -> Caller:
    scopes = frozenset(f"{one}{'@any' if role is Role.ADMIN else ''}" for one in Permission)
    return Caller(
        name="bob", role=role, identity=NOBODY, via=Via.KEY, credential="AbC", scopes=scopes,
        projects=frozenset({PROJECT}), bounds=Bounds(scopes=scopes, **bound),
    )  # fmt: skip


def session(credential: str = "", agent: str = "claude") -> Session:
    return Session(
        key="s-aaaaaaaaaa", name="n", state=State.RUNNING, agent=agent, owner="bob", created="", credential=credential
    )


@pytest.mark.parametrize("permission", Permission)
def test_driver_has_over_the_session_what_goes_with_driving_alone(permission: Permission) -> None:
    driven = Owned(id="s-aaaaaaaaaa", owner="ada", project=PROJECT, driver="bob")
    others = Owned(id="s-aaaaaaaaaa", owner="ada", project=PROJECT, driver="eve")
    bob, mia = person("bob"), person("mia")
    assert not mia.sight(permission).reaches(driven) or mia.sight(permission).reaches(others)
    more = bob.sight(permission).reaches(driven) and not bob.sight(permission).reaches(others)
    assert more == (permission in DRIVER)


class Asked:
    """Two open questions of ada's session, which bob drives: one of the talk, one at a wall."""

    def __init__(self) -> None:
        self.answered: list[tuple[str, str, bool, bool]] = []
        self.open = [
            Approval(
                id=f"a-{kind}", session="s-aaaaaaaaaa", owner="ada", agent="claude", policy="p", kind=kind, subject="x"
            )
            for kind in (ApprovalKind.TOOL, ApprovalKind.HOST)
        ]

    def driver(self, approval: Approval) -> str:
        return "bob" if approval.kind is ApprovalKind.TOOL else ""

    async def get(self, identifier: str) -> Approval:
        for one in self.open:
            if one.id == identifier:
                return one
        raise NotFound(identifier)

    async def list_approvals(self, **_: Any) -> list[Approval]:
        return self.open

    async def answer(self, identifier: str, answer: ApprovalAnswer, *, by: str, operator: bool, key: bool) -> Approval:
        self.answered.append((identifier, by, operator, key))
        return await self.get(identifier)


class Sessions:
    """Takes down what a session is made to do."""

    def __init__(self, one: Session) -> None:
        self.done: list[str] = []
        self._one = one

    async def get(self, _key: str) -> Session:
        return self._one

    async def say(self, *_: Any, **__: Any) -> None:
        self.done.append("say")

    async def set_limits(self, *_: Any, **__: Any) -> None:
        self.done.append("set_limits")

    async def unpause(self, *_: Any, **__: Any) -> None:
        self.done.append("unpause")

    async def interrupt(self, *_: Any, **__: Any) -> State:
        self.done.append("interrupt")
        return State.RUNNING

    async def pause(self, *_: Any, **__: Any) -> State:
        self.done.append("pause")
        return State.PAUSED


async def test_driver_sees_and_answers_what_is_asked_in_the_talk_alone() -> None:
    handlers = ApprovalHandlers(approvals=cast(Any, Asked()), sessions=cast(Any, None))
    sight = person("bob").sight(Permission.APPROVAL_DECIDE)
    assert (await handlers.find("a-tool", sight)).owner == "ada"
    with pytest.raises(NotFound, match="no approval 'a-host'"):
        await handlers.find("a-host", sight)
    listed = SimpleNamespace(caller=person("bob"), operation=APPROVAL_LIST, query={})
    assert [one.id for one in (await handlers.list_approvals(cast(Any, listed))).approvals] == ["a-tool"]
    for nobody in ("mia", ""):
        with pytest.raises(NotFound):
            await handlers.find("a-tool", person(nobody).sight(Permission.APPROVAL_DECIDE))


async def made_to_work(caller: Caller, one: Session) -> tuple[list[str], list[str]]:
    """What `caller` made that session do, and what it was told otherwise."""
    sessions, asked, told = Sessions(one), Asked(), list[str]()
    handlers = SessionHandlers(sessions=cast(Any, sessions), timelines=cast(Any, None), projects=cast(Any, None))
    approvals = ApprovalHandlers(approvals=cast(Any, asked), sessions=cast(Any, sessions))
    for act, body in (
        (handlers.send, SessionInput(text="go on")),
        (handlers.set_limits, LimitsUpdate(max_cost_usd=9)),
        (handlers.unpause, None),
        (approvals.answer, ApprovalAnswer(allow=True)),
    ):
        operation = APPROVAL_ANSWER if act == approvals.answer else SESSION_INPUT
        path = {"key": one.key, "id": "a-tool"}
        try:
            await act(cast(Any, SimpleNamespace(caller=caller, operation=operation, body=body, path=path)))
        except Refused as err:
            told.append(err.message)
    return sessions.done + ["answer"] * len(asked.answered), told


ALL = ["say", "set_limits", "unpause", "answer"]


@pytest.mark.parametrize(
    ("caller", "one"),
    [
        (person("bob"), session()),
        (key(), session()),
        (key(sessions=1, projects=frozenset({PROJECT})), session()),
        (key(day_usd=5), session("AbC")),
        (key(agents=frozenset({"claude"})), session()),
    ],
    ids=["person", "unbound", "sessions", "money", "agents"],
)
async def test_session_works_for_who_may_drive_it(caller: Caller, one: Session) -> None:
    assert await made_to_work(caller, one) == (ALL, [])


@pytest.mark.parametrize(
    ("caller", "one", "why"),
    [
        (key(day_usd=5), session(), "is not counted to it"),
        (key(day_usd=5), session("other"), "is not counted to it"),
        (key(Role.ADMIN, day_usd=5), session("other"), "is not counted to it"),
        (key(agents=frozenset({"claude"})), session("AbC", agent="command"), "is for claude"),
    ],
    ids=["a person's", "another key's", "an administrator's", "agent"],
)
async def test_key_makes_no_session_work_that_its_bounds_leave_out(caller: Caller, one: Session, why: str) -> None:
    done, told = await made_to_work(caller, one)
    assert done == []
    assert [why in one for one in told] == [True] * 4


async def test_key_takes_away_from_whatever_it_may_stop() -> None:
    sessions = Sessions(session("other"))
    handlers = SessionHandlers(sessions=cast(Any, sessions), timelines=cast(Any, None), projects=cast(Any, None))
    call = SimpleNamespace(caller=key(day_usd=5), path={"key": "s-aaaaaaaaaa"}, body=SimpleNamespace(reason=""))
    await handlers.interrupt(cast(Any, call))
    await handlers.pause(cast(Any, call))
    asked = Asked()
    denial = SimpleNamespace(
        caller=key(day_usd=5), operation=APPROVAL_ANSWER, path={"id": "a-tool"}, body=ApprovalAnswer(allow=False)
    )
    await ApprovalHandlers(approvals=cast(Any, asked), sessions=cast(Any, sessions)).answer(cast(Any, denial))
    assert (sessions.done, asked.answered) == (["interrupt", "pause"], [("a-tool", "bob", False, True)])
