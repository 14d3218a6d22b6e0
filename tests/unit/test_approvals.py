"""Is each question closed once, by whoever is first, and does the answer get where it belongs whatever dies?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eleagent.errors import AuditUnavailable, BadRequest, Conflict, LauncherUnavailable, NotFound, Refused
from eleagent.wire.approvals import (
    Approval,
    ApprovalAnswer,
    ApprovalKind,
    ApprovalMode,
    ApprovalState,
    Deciding,
    Delivery,
)
from eleagent.wire.events import ApprovalAnswered, ApprovalRequested, SecurityFinding, WallAsked
from eleagent.wire.inside import AgentAsked
from eleagent.wire.limits import Raise
from eleagent.wire.payload import Provenance
from eleagent.wire.sessions import Session, SessionCreate, State
from eleagent_daemon.domain.doors import Ruling, Wall
from eleagent_daemon.domain.policy import ApprovalRules
from eleagent_daemon.sessions import approvals as module
from eleagent_daemon.sessions.approvals import Approvals, read_raise
from eleagent_daemon.sessions.desk import Desk
from eleagent_daemon.store.approvals import ApprovalStore
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.registry import CallerIdentity, Registry
from eleagent_daemon.store.timeline import Timelines

from ..smalldisk import fill, mounts, small_disk

YES = ApprovalAnswer(allow=True)
NO = ApprovalAnswer(allow=False, comment="not today")
QUESTION = ApprovalRequested(id="a-tool", tool="Bash", input='{"command":"ls"}', native="n")
HOST = Wall(kind=ApprovalKind.HOST, subject="example.org:443", why="no rule names it", hold_s=5)


@dataclass
class Agent:
    """What takes answers: `fails` are raised first, one a time."""

    got: list[ApprovalAnswered] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    decided: list[Approval] = field(default_factory=list)

    async def deliver(self, answered: ApprovalAnswered) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.got.append(answered)

    async def decide(self, approval: Approval) -> None:
        """As the runner does."""
        if self.fails:
            raise self.fails.pop(0)
        self.decided.append(approval)


@dataclass
class Office:
    """A daemon's approvals over real stores; `desk` opens a session."""

    approvals: Approvals
    store: ApprovalStore
    registry: Registry
    timelines: Timelines
    ledger: Path
    changes: int = 0

    async def desk(
        self,
        agent: Agent | None = None,
        *,
        mode: ApprovalMode = ApprovalMode.POLICY,
        key: str = "",
        driver: str = "",
        **rules: Any,
    ) -> Desk:
        session = (await self.registry.get(key)).session if key else await self._session()
        timeline = await self.timelines.open(session.key)
        desk = Desk(
            approvals=self.approvals,
            session=session,
            timeline=timeline,
            rules=ApprovalRules(**({"hosts": True} | rules)),
            mode=mode,
            recorded={},
            deliver=(agent or Agent()).deliver,
            decide=(agent or Agent()).decide,
            changed=self._changed,
            driver=lambda: driver,
            check_driver=lambda by: None,
        )
        await desk.take_up([])
        return desk

    async def _changed(self) -> None:
        self.changes += 1

    async def _session(self) -> Session:
        session = Session(
            key="", name="", state=State.QUEUED, agent="claude", owner="ada", created="2026-01-01T00:00:00Z",
            policy="careful",
        )  # fmt: skip
        caller = CallerIdentity(uid=1, gid=1, groups=[])
        return (await self.registry.create_session(session, SessionCreate(prompt="x"), caller, token=None))[0].session

    async def events(self, key: str) -> list[Any]:
        return [event.payload() async for block in self.timelines.events(key) for event in block]

    async def opened(self, subject: str = "") -> Approval:
        """The only open question (of that subject), once it is there."""
        while True:
            found = await self.approvals.list_approvals(everything=False, session=None, limit=10)
            if wanted := [one for one in found if subject in ("", one.subject)]:
                (one,) = wanted
                return one
            await asyncio.sleep(0.01)

    def records(self) -> list[dict[str, Any]]:
        lines = [line for segment in sorted(self.ledger.iterdir()) for line in segment.read_bytes().splitlines()]
        return [msgspec.json.decode(line) for line in lines]


@asynccontextmanager
async def opening(folder: Path) -> AsyncIterator[Office]:
    (folder / "timelines").mkdir(exist_ok=True)
    with ThreadPoolExecutor(max_workers=2) as pool:
        registry = await Registry.open(folder / "registry.db")
        ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="test", pool=pool)
        store = ApprovalStore(registry=registry)
        approvals = Approvals(store=store, ledger=ledger)
        running = asyncio.create_task(approvals.run())
        yield Office(
            approvals=approvals,
            store=store,
            registry=registry,
            timelines=Timelines(folder=folder / "timelines", pool=pool),
            ledger=folder / "ledger" / "log-0001" / "records",
        )
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await ledger.close()
        await registry.close()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opening(tmp_path) as opened:
        yield opened


async def test_tool_question_goes_to_the_agent_with_its_answer(office: Office) -> None:
    agent = Agent()
    desk = await office.desk(agent)
    await desk.requested(QUESTION)
    asked = await office.approvals.get("a-tool")
    assert (asked.state, asked.subject, asked.parameters, asked.owner) == ("open", "Bash", QUESTION.input, "ada")
    assert asked.expires is not None
    assert (desk.open, office.changes) == ({"a-tool"}, 1)
    answered = await office.approvals.answer("a-tool", NO, by="bob", operator=True)
    assert (answered.state, answered.delivery) == (ApprovalState.DENIED, Delivery.DELIVERED)
    expected = ApprovalAnswered(id="a-tool", allow=False, by_user="bob", comment="not today")
    assert agent.got == [expected]
    assert (desk.open, office.changes) == (set(), 2)
    assert await office.events(desk.session.key) == [expected]


async def test_of_two_answers_one_wins_and_the_other_is_told(office: Office) -> None:
    agent = Agent()
    await (await office.desk(agent)).requested(QUESTION)
    said = await asyncio.gather(
        office.approvals.answer("a-tool", YES, by="ada", operator=True),
        office.approvals.answer("a-tool", NO, by="bob", operator=True),
        return_exceptions=True,
    )
    (winner,) = [one for one in said if isinstance(one, Approval)]
    (told,) = [one for one in said if isinstance(one, Conflict)]
    assert winner.by_user in told.message
    assert "changes nothing" in told.message
    assert [one.by_user for one in agent.got] == [winner.by_user]
    decided = [one for one in office.records() if one["action"] == "approval.decided"]
    loser = "bob" if winner.by_user == "ada" else "ada"
    assert [one["decision"] for one in decided if one["actor"] == winner.by_user] == [winner.state]
    assert [(one["decision"], one.get("outcome")) for one in decided if one["actor"] == loser][1:] == [
        ("refused", "conflict")
    ], "the log says that nothing came of it"


@mounts
async def test_denial_gets_to_the_agent_though_nothing_can_be_written(tmp_path: Path) -> None:
    agent = Agent()
    with small_disk(tmp_path / "disk") as disk:
        async with opening(disk) as office:
            desk = await office.desk(agent)
            await desk.requested(QUESTION)
            waiting = asyncio.create_task(desk.wall(HOST))
            wall = await office.opened(HOST.subject)
            filler = fill(disk)
            with pytest.raises(AuditUnavailable):
                await office.approvals.answer(wall.id, YES, by="bob", operator=True)
            for one in ("a-tool", wall.id):
                closed = await office.approvals.answer(one, NO, by="bob", operator=True)
                assert (closed.state, closed.delivery) == (ApprovalState.DENIED, Delivery.DELIVERED)
            assert [(one.id, one.allow) for one in agent.got] == [("a-tool", False)]
            assert (await waiting).allowed is False
            assert await office.approvals.list_approvals(everything=False, session=None, limit=9) == []
        filler.unlink()
        async with opening(disk) as office:
            decided = [one for one in office.records() if one["action"] == "approval.decided"]
            assert [(one["object"], one["decision"]) for one in decided] == [("a-tool", "denied"), (wall.id, "denied")]
            assert (await office.approvals.get(wall.id)).state is ApprovalState.DENIED


async def test_wall_is_passed_when_a_person_allows_it_and_stays_so_for_the_session(office: Office) -> None:
    desk = await office.desk()
    waiting = asyncio.create_task(desk.wall(HOST))
    asked = await office.opened()
    assert (asked.kind, asked.subject, asked.why) == ("host", "example.org:443", "no rule names it")
    await office.approvals.answer(asked.id, YES, by="bob", operator=True)
    ruling = await waiting
    assert (ruling.allowed, ruling.approval) == (True, asked.id)
    assert await desk.wall(HOST) == ruling, "it is not asked again"
    kinds = [type(event) for event in await office.events(desk.session.key)]
    assert kinds == [WallAsked, ApprovalAnswered]


async def test_wall_that_was_denied_is_not_asked_again(office: Office) -> None:
    desk = await office.desk()
    waiting = asyncio.create_task(desk.wall(HOST))
    asked = await office.opened()
    await office.approvals.answer(asked.id, NO, by="bob", operator=True)
    assert await waiting == Ruling(False, asked.id, "host example.org:443 was denied by bob: not today")
    assert (await desk.wall(HOST)).allowed is False
    assert len(await office.approvals.list_approvals(everything=True, session=None, limit=10)) == 1


async def test_wall_answers_who_can_wait_no_longer_and_keeps_the_question(office: Office) -> None:
    desk = await office.desk()
    held = msgspec.structs.replace(HOST, hold_s=0.01)
    ruling = await desk.wall(held)
    assert (ruling.allowed, "waits for a person" in ruling.reason) == (False, True)
    asked = await office.opened()
    await office.approvals.answer(asked.id, YES, by="bob", operator=True)
    assert (await desk.wall(held)).allowed is True


async def test_two_who_meet_the_same_wall_share_a_question(office: Office) -> None:
    desk = await office.desk()
    waiting = [asyncio.create_task(desk.wall(HOST)) for _ in range(3)]
    asked = await office.opened()
    await office.approvals.answer(asked.id, YES, by="bob", operator=True)
    assert {ruling.approval for ruling in await asyncio.gather(*waiting)} == {asked.id}


async def test_question_that_expires_is_denied_and_an_answer_after_that_is_told(office: Office) -> None:
    agent = Agent()
    desk = await office.desk(agent, expires_s=0.05)
    await desk.requested(QUESTION)
    while not agent.got:
        await asyncio.sleep(0.01)
    assert (agent.got[0].allow, agent.got[0].decided_by, agent.got[0].unanswered) == (False, Deciding.EXPIRY, True)
    with pytest.raises(Conflict, match="has expired"):
        await office.approvals.answer("a-tool", YES, by="bob", operator=True)


async def test_expired_wall_may_be_asked_again(office: Office) -> None:
    desk = await office.desk(expires_s=0.02)
    assert (await desk.wall(HOST)).allowed is False
    desk = await office.desk(key=desk.session.key)
    waiting = asyncio.create_task(desk.wall(HOST))
    asked = await office.opened()
    await office.approvals.answer(asked.id, YES, by="bob", operator=True)
    assert (await waiting).allowed is True


async def test_question_waits_for_ever_where_that_is_said(office: Office) -> None:
    await (await office.desk(expires_s=0)).requested(QUESTION)
    assert (await office.approvals.get("a-tool")).expires is None
    other = msgspec.structs.replace(QUESTION, id="a-other")
    await (await office.desk(mode=ApprovalMode.WAIT, expires_s=1)).requested(other)
    assert (await office.approvals.get("a-other")).expires is None


async def test_where_nobody_is_to_be_asked_all_is_denied_at_once(office: Office) -> None:
    agent = Agent()
    desk = await office.desk(agent, mode=ApprovalMode.DENY)
    await desk.requested(QUESTION)
    assert [(one.allow, one.decided_by) for one in agent.got] == [(False, Deciding.UNATTENDED)]
    assert (await desk.wall(HOST)).allowed is False
    assert [one.unanswered for one in desk.recorded.values()] == [True, True]


async def test_always_grants_exactly_this_and_nothing_wider(office: Office) -> None:
    agent = Agent()
    desk = await office.desk(agent)
    await desk.requested(QUESTION)
    answered = await office.approvals.answer("a-tool", ApprovalAnswer(allow=True, always=True), by="bob", operator=True)
    later = await office.desk(agent)
    await later.requested(msgspec.structs.replace(QUESTION, id="a-same"))
    await later.requested(msgspec.structs.replace(QUESTION, id="a-wider", input='{"command":"ls -a"}'))
    same, wider = await office.approvals.get("a-same"), await office.approvals.get("a-wider")
    assert (same.state, same.decided_by, same.grant) == (ApprovalState.ALLOWED, Deciding.GRANT, answered.grant)
    assert wider.state is ApprovalState.OPEN
    assert [one.id for one in agent.got] == ["a-tool", "a-same"]
    (grant,) = await office.approvals.list_grants(everything=False)
    await office.approvals.revoke(grant.id, by="ada")
    await later.requested(msgspec.structs.replace(QUESTION, id="a-third"))
    assert (await office.approvals.get("a-third")).state is ApprovalState.OPEN
    with pytest.raises(Conflict, match="revoked by ada"):
        await office.approvals.revoke(grant.id, by="bob")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ApprovalAnswer(allow=False, always=True), ApprovalKind.HOST),
        (ApprovalAnswer(allow=True, always=True), ApprovalKind.BUDGET),
        (ApprovalAnswer(allow=True, comment="x" * 5000), ApprovalKind.HOST),
    ],
)
async def test_answer_that_means_nothing_is_refused(office: Office, answer: ApprovalAnswer, kind: ApprovalKind) -> None:
    desk = await office.desk()
    await desk.wall(msgspec.structs.replace(HOST, kind=kind, hold_s=0))
    asked = await office.opened()
    with pytest.raises(BadRequest):
        await office.approvals.answer(asked.id, answer, by="bob", operator=True)
    assert (await office.opened()).state is ApprovalState.OPEN


async def test_answer_is_in_the_audit_log_before_it_is_done(office: Office) -> None:
    await (await office.desk()).requested(QUESTION)
    await office.approvals.answer("a-tool", YES, by="bob", operator=True)
    (record,) = [one for one in office.records() if one["action"] == "approval.decided"]
    assert (record["actor"], record["object"], record["decision"]) == ("bob", "a-tool", "allowed")


async def test_questions_of_an_ended_session_are_withdrawn(office: Office) -> None:
    desk = await office.desk()
    await desk.requested(QUESTION)
    await office.approvals.give_up(desk.session.key)
    assert (await office.approvals.get("a-tool")).state is ApprovalState.WITHDRAWN
    with pytest.raises(Conflict, match="its session has ended"):
        await office.approvals.answer("a-tool", YES, by="bob", operator=True)


async def test_agent_withdraws_its_own_tool_questions_alone(office: Office) -> None:
    desk, other = await office.desk(), await office.desk()
    await desk.requested(QUESTION)
    await desk.wall(msgspec.structs.replace(HOST, hold_s=0))
    wall = next(one for one in await office.approvals.list_approvals(everything=False, session=None, limit=9)
                if one.kind.wall)  # fmt: skip
    await other.withdrawn("a-tool")
    await desk.withdrawn(wall.id)
    await desk.withdrawn("a-nothing")
    assert {(await office.approvals.get(one)).state for one in ("a-tool", wall.id)} == {ApprovalState.OPEN}
    await desk.withdrawn("a-tool")
    assert (await office.approvals.get("a-tool")).state is ApprovalState.WITHDRAWN


async def test_flood_of_walls_is_denied_and_found(office: Office) -> None:
    desk = await office.desk()
    for number in range(module.OPEN_LIMIT):
        await desk.wall(msgspec.structs.replace(HOST, subject=f"h{number}.org:443", hold_s=0))
    assert (await desk.wall(HOST)).allowed is False
    assert isinstance((await office.events(desk.session.key))[-1], SecurityFinding)
    assert len(await office.approvals.list_approvals(everything=False, session=None, limit=99)) == module.OPEN_LIMIT


async def test_answer_waits_for_a_launcher_that_is_away(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    agent = Agent(fails=[LauncherUnavailable("away"), LauncherUnavailable("still")])
    desk = await office.desk(agent)
    await desk.requested(QUESTION)
    answered = await office.approvals.answer("a-tool", YES, by="bob", operator=True)
    assert answered.delivery is Delivery.PENDING
    while not agent.got:
        await asyncio.sleep(0.01)
    assert len(await office.events(desk.session.key)) == 1
    while (await office.approvals.get("a-tool")).delivery is not Delivery.DELIVERED:
        await asyncio.sleep(0.01)


async def test_answer_to_an_agent_that_went_on_is_said_to_be_unknown(office: Office) -> None:
    desk = await office.desk(Agent(fails=[NotFound("it asks no longer")]))
    await desk.requested(QUESTION)
    assert (await office.approvals.answer("a-tool", YES, by="bob", operator=True)).delivery is Delivery.UNKNOWN


async def test_daemon_that_died_after_an_answer_delivers_it_once(tmp_path: Path) -> None:
    async with opening(tmp_path) as first:
        desk = await first.desk(Agent(fails=[LauncherUnavailable("gone")]))
        await desk.requested(QUESTION)
        await first.approvals.answer("a-tool", YES, by="bob", operator=True)
        key, recorded = desk.session.key, desk.recorded
        first.timelines.close(key)
    agent = Agent()
    async with opening(tmp_path) as second:
        again = await second.desk(key=key)
        again.recorded.update(recorded)
        again.deliver = agent.deliver
        while (await second.approvals.get("a-tool")).delivery is Delivery.PENDING:
            await asyncio.sleep(0.01)
        assert [one.id for one in agent.got] == ["a-tool"]
        assert len(await second.events(key)) == 1
        second.timelines.close(key)


async def test_daemon_that_died_before_a_question_was_stored_stores_it(office: Office) -> None:
    desk = await office.desk()
    await desk.take_up([QUESTION])
    assert (await office.opened()).id == "a-tool"
    await desk.take_up([])
    assert (await office.approvals.get("a-tool")).state is ApprovalState.WITHDRAWN, "its agent asks no longer"


async def test_sessions_that_ended_unseen_leave_nothing_open(office: Office) -> None:
    desk = await office.desk()
    await desk.requested(QUESTION)
    await office.approvals.recover({desk.session.key})
    assert (await office.opened()).id == "a-tool"
    await office.approvals.recover(set())
    assert (await office.approvals.get("a-tool")).state is ApprovalState.WITHDRAWN


MORE = Raise(limit="max_turns", allowed=4)
MET = "the session's turns is used up: 2 turns of 2 turns (limit max_turns)"


async def test_budget_is_asked_once_whole_and_decided_by_a_person(office: Office) -> None:
    agent = Agent()
    desk = await office.desk(agent)
    await desk.limit(MORE, MET)
    await desk.limit(MORE, MET)
    asked = await office.opened()
    assert (asked.kind, asked.subject, asked.why) == (ApprovalKind.BUDGET, "max_turns 4 turns", MET)
    assert read_raise(await office.approvals.get(asked.id)) == MORE
    with pytest.raises(BadRequest, match="can't be allowed for always"):
        await office.approvals.answer(asked.id, ApprovalAnswer(allow=True, always=True), by="ada", operator=True)
    await office.approvals.answer(asked.id, YES, by="ada", operator=False)
    assert [(one.id, one.state, one.by_user) for one in agent.decided] == [(asked.id, ApprovalState.ALLOWED, "ada")]
    await desk.limit(msgspec.structs.replace(MORE, allowed=8), MET)
    assert (await office.opened()).subject == "max_turns 8 turns", "what was allowed once is asked anew further on"


async def test_budget_that_a_crash_left_decided_is_done_again(office: Office) -> None:
    agent = Agent(fails=[LauncherUnavailable("gone")])
    desk = await office.desk(agent)
    await desk.limit(MORE, MET)
    asked = await office.opened()
    await office.approvals.answer(asked.id, NO, by="ada", operator=False)
    await desk.limit(MORE, MET)
    assert (await office.approvals.list_approvals(everything=False, session=None, limit=9)) == []
    later = Agent()
    await office.desk(later, key=desk.session.key)
    while not later.decided:
        await asyncio.sleep(0.01)
    assert later.decided[0].state is ApprovalState.DENIED


async def test_limit_of_the_day_is_the_operators(office: Office) -> None:
    desk = await office.desk()
    await desk.limit(Raise(limit="user_day_usd", allowed=55, day="2026-01-31"), "the day is used up")
    asked = await office.opened()
    assert asked.subject == "user_day_usd 55.00 USD on 2026-01-31"
    with pytest.raises(Refused, match="an administrator may allow more, ada not"):
        await office.approvals.answer(asked.id, YES, by="ada", operator=False)
    with pytest.raises(Refused, match="an administrator may allow more, an API key not"):
        await office.approvals.answer(asked.id, YES, by="olga", operator=True, key=True)
    assert (await office.approvals.answer(asked.id, YES, by="olga", operator=True)).state is ApprovalState.ALLOWED


async def test_who_drives_answers_in_the_talk_and_grants_nothing(office: Office) -> None:
    desk = await office.desk(driver="bob")
    for kind in ApprovalKind:
        asked = desk._new(kind, "x")
        assert office.approvals.driver(asked) == ("bob" if kind in (ApprovalKind.TOOL, ApprovalKind.REQUEST) else "")
    await desk.requested(QUESTION)
    with pytest.raises(Refused, match="all sessions of ada: allow it once"):
        await office.approvals.answer(QUESTION.id, ApprovalAnswer(allow=True, always=True), by="bob", operator=False)
    assert (await office.approvals.answer(QUESTION.id, YES, by="bob", operator=False)).state is ApprovalState.ALLOWED
    assert await office.approvals.list_grants(everything=True) == []
    await office.approvals.give_up(desk.session.key)
    assert office.approvals.driver(await office.approvals.get(QUESTION.id)) == ""


async def test_limit_that_is_set_instead_of_an_answer_ends_the_question(office: Office) -> None:
    desk = await office.desk()
    await desk.limit(MORE, MET)
    await desk.wall(msgspec.structs.replace(HOST, hold_s=0))
    await desk.limit_set()
    assert (await office.opened()).kind is ApprovalKind.HOST


async def test_question_in_an_agents_own_words_is_claimed_and_asked_once(office: Office) -> None:
    desk = await office.desk()
    asked = await desk.question("deploy", "all is green")
    assert (asked.kind, asked.state, desk.open) == (ApprovalKind.REQUEST, ApprovalState.OPEN, {asked.id})
    assert (await desk.question("deploy", "again")).id == asked.id
    with pytest.raises(BadRequest, match="for always"):
        await office.approvals.answer(asked.id, ApprovalAnswer(allow=True, always=True), by="ada", operator=True)
    waiting = asyncio.create_task(desk.own(asked.id, 5))
    await asyncio.sleep(0)
    await office.approvals.answer(asked.id, YES, by="ada", operator=True)
    assert (await waiting).state is ApprovalState.ALLOWED
    kinds = [(type(one), one.by) for one in await office.events(desk.session.key)]
    assert kinds == [(AgentAsked, Provenance.CLAIMED), (ApprovalAnswered, Provenance.OBSERVED)]


async def test_question_of_another_session_is_not_there(office: Office) -> None:
    desk, other = await office.desk(), await office.desk()
    asked = await other.question("deploy", "")
    waiting = asyncio.create_task(desk.wall(HOST))
    wall = next(one for one in await _opened(office, 2) if one.id != asked.id)
    for identifier in (asked.id, wall.id, "a-nothing"):
        with pytest.raises(NotFound, match="this session has no question"):
            await desk.own(identifier, 0)
    await office.approvals.answer(wall.id, NO, by="ada", operator=True)
    assert not (await waiting).allowed


async def test_question_in_own_words_outlives_the_daemon(office: Office) -> None:
    desk = await office.desk()
    asked = await desk.question("deploy", "")
    again = await office.desk(key=desk.session.key)
    assert again.open == {asked.id}
    await office.approvals.answer(asked.id, YES, by="ada", operator=True)
    assert (await again.own(asked.id, 0)).state is ApprovalState.ALLOWED


async def _opened(office: Office, count: int) -> list[Approval]:
    while len(found := await office.approvals.list_approvals(everything=False, session=None, limit=10)) < count:
        await asyncio.sleep(0.01)
    return found
