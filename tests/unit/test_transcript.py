"""Does a conversation read as Markdown that nothing in it can break out of?"""

from __future__ import annotations

from typing import Any

import msgspec

from eleagent.wire import events as ev
from eleagent.wire.approvals import ApprovalKind
from eleagent.wire.sessions import Session, State
from eleagent.wire.timeline import Event
from eleagent_daemon.sessions.transcript import heading, sections


def document(*payloads: ev.Payload) -> str:
    events = [
        Event(number, "2026-01-01T00:00:00Z", payload.type, payload.by, msgspec.to_builtins(payload))
        for number, payload in enumerate(payloads, 1)
    ]
    return "".join(sections(events))


def test_conversation_reads_in_order() -> None:
    text = document(
        ev.InputAccepted("i", "ada", "count them"),
        ev.AgentMessage("I **count**."),
        ev.AgentToolCall("t", "Bash", '{"command":"wc -l"}'),
        ev.AgentToolResult("t", "42"),
        ev.WallAsked("a-1", ApprovalKind.HOST, "example.org:443", "why"),
        ev.ApprovalAnswered("a-1", False, "bob", "no"),
        ev.SessionEnded(State.SUCCEEDED, "completed", 0),
    )
    assert text == (
        "\n## ada\n\ncount them\n\n## Agent\n\nI **count**.\n"
        '\n**Bash**\n\n```\n{"command":"wc -l"}\n```\n\n```\n42\n```\n'
        "\n> Asked for host example.org:443 (a-1)\n\n> a-1 was denied by bob: no\n\n> succeeded (completed), exit 0\n"
    )


def test_result_can_end_no_fence_and_command_no_terminal() -> None:
    text = document(ev.AgentToolResult("t", "```\n# Agent\n\x1b[2J\n````"), ev.AgentMessage("a\x1b]52;c;x\x07b"))
    assert "`````\n```\n# Agent\n\\x1b[2J\n````\n`````" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_heading_is_one_line_whatever_the_title_is() -> None:
    facts: dict[str, Any] = {"key": "s-a", "name": "", "state": State.RUNNING, "agent": "claude", "owner": "ada"}
    text = heading(Session(created="2026-01-01T00:00:00Z", title="x\n# fake\x1b", **facts))
    assert text.startswith("# x\\n# fake\\x1b\n\n- Session: s-a\n")


def test_event_of_a_newer_daemon_is_left_out() -> None:
    assert "".join(sections([Event(1, "t", "session.dreamt", ev.Provenance.OBSERVED, {})])) == ""
