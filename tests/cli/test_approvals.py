"""Does a person see the whole of what is asked, and answer what they mean to answer?"""

from __future__ import annotations

import pytest

from eleagent.errors import Conflict
from eleagent.operations.table import BY_ID
from eleagent.wire.approvals import (
    Approval,
    ApprovalAnswer,
    ApprovalKind,
    ApprovalList,
    ApprovalState,
    Grant,
    GrantList,
)

from .conftest import CommandLine
from .fakedaemon import Call

HOSTILE = "echo fine\x1b[2K\u202e; curl evil"


def asked(identifier: str = "a-1", **changes: object) -> Approval:
    facts = {
        "id": identifier, "session": "s-abcdefghij", "owner": "ada", "agent": "claude", "policy": "careful",
        "kind": ApprovalKind.TOOL, "subject": "Bash", "parameters": HOSTILE, "asked": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return Approval(**(facts | changes))  # type: ignore[arg-type]


def serve(eleagent: CommandLine, *open_ones: Approval) -> None:
    def answer(call: Call) -> Approval:
        body = call.decoded(ApprovalAnswer)
        state = ApprovalState.ALLOWED if body.allow else ApprovalState.DENIED
        return asked(call.path["id"], state=state, grant="g-1" if body.always else "", comment=body.comment)

    eleagent.daemon.scripts |= {
        "approval_list": lambda call: ApprovalList(list(open_ones)),
        "approval_get": lambda call: next(one for one in open_ones if one.id == call.path["id"]),
        "approval_answer": answer,
    }


def test_ls_names_what_waits_in_columns(eleagent: CommandLine) -> None:
    serve(eleagent, asked(), asked("a-2", kind=ApprovalKind.HOST, subject="example.org:443"))
    done = eleagent("approval", "ls")
    assert [line.split()[:5] for line in done.out.splitlines()[1:]] == [
        ["a-1", "s-abcdefghij", "tool", "Bash", "open"],
        ["a-2", "s-abcdefghij", "host", "example.org:443", "open"],
    ]
    assert eleagent("approval", "ls", "-q").out == "a-1\na-2\n"


def test_show_makes_control_characters_visible_and_says_that_a_tool_question_is_a_courtesy(
    eleagent: CommandLine,
) -> None:
    serve(eleagent, asked(), asked("a-2", kind=ApprovalKind.HOST, subject="example.org:443", parameters=""))
    shown = eleagent("approval", "show", "a-1").out
    assert "echo fine\\x1b[2K\\u202e; curl evil" in shown
    assert "a courtesy" in shown
    assert "a courtesy" not in eleagent("approval", "show", "a-2").out


def test_approve_without_an_id_takes_the_only_one(eleagent: CommandLine) -> None:
    serve(eleagent, asked())
    done = eleagent("approve", "--always", "--comment", "fine")
    assert (done.code, done.out) == (0, "a-1 allowed tool Bash of s-abcdefghij for always (grant g-1)\n")
    (call,) = eleagent.daemon.called(BY_ID["approval_answer"])
    assert call.decoded(ApprovalAnswer) == ApprovalAnswer(allow=True, always=True, comment="fine")


def test_approve_without_an_id_shows_a_person_what_it_is(eleagent: CommandLine) -> None:
    serve(eleagent, asked())
    terminal = eleagent.on_terminal("approve")
    terminal.read_until("Allow?")
    assert b"curl evil" in terminal.seen
    terminal.type("\n")
    assert terminal.wait() == 130
    assert not eleagent.daemon.called(BY_ID["approval_answer"])


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_several_open_questions_are_listed_instead_of_guessed(eleagent: CommandLine, verb: str) -> None:
    serve(eleagent, asked(), asked("a-2", kind=ApprovalKind.HOST, subject="example.org:443"))
    done = eleagent(verb)
    assert done.code == 2
    assert "2 questions wait" in done.err
    assert "a-2 host example.org:443" in done.err
    assert not eleagent.daemon.called(BY_ID["approval_answer"])


def test_nothing_open_is_said(eleagent: CommandLine) -> None:
    serve(eleagent)
    assert (eleagent("deny").code, "nothing waits" in eleagent("deny").err) == (2, True)


def test_answer_that_comes_too_late_is_told(eleagent: CommandLine) -> None:
    def late(call: Call) -> Approval:
        raise Conflict("approval a-1 was denied by bob at noon: your answer changes nothing")

    eleagent.daemon.scripts["approval_answer"] = late
    done = eleagent("approve", "a-1")
    assert (done.code, "denied by bob" in done.err) == (2, True)


def test_grants_are_listed_and_revoked(eleagent: CommandLine) -> None:
    grant = Grant(
        id="g-1", owner="ada", agent="claude", policy="careful", kind=ApprovalKind.HOST, subject="example.org:443",
        by_user="bob", created="2026-01-01T00:00:00Z",
    )  # fmt: skip
    eleagent.daemon.scripts |= {"grant_list": lambda call: GrantList([grant]), "grant_revoke": lambda call: grant}
    assert "example.org:443" in eleagent("approval", "grants").out
    assert eleagent("approval", "revoke", "g-1").out == "g-1 revoked: host example.org:443\n"
