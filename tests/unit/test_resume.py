"""May this session go on, and is it the same conversation?"""

from __future__ import annotations

import msgspec
import pytest

from eleagent.errors import Conflict
from eleagent.wire.approvals import ApprovalMode
from eleagent.wire.sessions import Session, SessionCreate, SessionResume, State
from eleagent_daemon.sessions.claude import ClaudeAdapter
from eleagent_daemon.sessions.resume import GO_ON, link, resumed_request
from eleagent_daemon.store.registry import CallerIdentity, Record


def record(state: State = State.STOPPED, *, request: SessionCreate | None = None, resumed_by: str = "") -> Record:
    session = Session(
        key="s-first", name="n", state=state, agent="claude", owner="ada", created="2026-01-01T00:00:00Z",
        resumed_by=resumed_by,
    )  # fmt: skip
    return Record(
        session=session,
        request=request or SessionCreate(prompt="count", data=["/srv"], name="n", timeout_s=60, model="opus"),
        caller=CallerIdentity(uid=1, gid=1, groups=[]),
        uid=10001,
        attempt=1,
    )


def test_resumed_session_asks_for_the_same_but_for_what_is_said_now() -> None:
    again = resumed_request(record(), SessionResume(prompt="and now?", approvals=ApprovalMode.DENY, stay=True))
    assert again == SessionCreate(
        prompt="and now?", data=["/srv"], timeout_s=60, model="opus", approvals=ApprovalMode.DENY, stay=True
    )
    assert resumed_request(record(), SessionResume()).prompt == GO_ON


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (record(State.RUNNING), "eleagent attach"),
        (record(State.ISOLATION_FAILED), "isolation failed"),
        (record(resumed_by="s-second"), "go on with s-second"),
        (record(request=SessionCreate(agent="command", argv=["x"])), "ran a program"),
    ],
)
def test_session_that_cannot_go_on_says_why(before: Record, why: str) -> None:
    with pytest.raises(Conflict, match=why):
        resumed_request(before, SessionResume())


def test_whole_chain_is_one_conversation_of_the_agent() -> None:
    first = record()
    second = link(msgspec.structs.replace(first.session, key="s-second"), first)
    third = link(msgspec.structs.replace(first.session, key="s-third"), msgspec.structs.replace(first, session=second))
    assert (third.resumed_from, third.conversation) == ("s-second", "s-first")

    def launched(session: Session) -> tuple[str, str]:
        adapter = ClaudeAdapter(session=session.key, model=None, ask=False, env={}, conversation=session.conversation)
        argv = adapter.launch().argv
        at = next(number for number, word in enumerate(argv) if word in ("--session-id", "--resume"))
        return argv[at], argv[at + 1]

    flag, native = launched(first.session)
    assert flag == "--session-id"
    assert launched(second) == launched(third) == ("--resume", native)
