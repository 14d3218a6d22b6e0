"""Does `eleagent logs` find in a timeline what is asked for, without having all of it sent?"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from eleagent.operations.sessions import SESSION_EVENTS
from eleagent.wire import events as ev
from eleagent.wire.sessions import SessionDetail, State
from eleagent.wire.timeline import Event
from eleagent.wire.wanted import Wanted

from .conftest import CommandLine
from .fakedaemon import Call, FakeSession, created, ended, timeline

TIMELINE = timeline(
    created(),
    ev.AgentToolCall(id="1", name="Bash", input='{"command":"make Report"}'),
    ev.AgentToolResult(id="1", text="report made"),
    ev.EgressTunnel(False, "none", "evil.example", 443, reason="no rule names it"),
    ev.AgentMessage("The report is there"),
)
LATER = timeline(*[created()] * 5, ev.AgentMessage("one more report"), ev.AgentMessage("something else"), ended())[5:]


@pytest.fixture(autouse=True)
def served(eleagent: CommandLine) -> None:
    """As the daemon does it: what is looked for, or what comes."""
    session = eleagent.serve(FakeSession(created(), ended()))
    running = msgspec.structs.replace(session.session, state=State.RUNNING, last_seq=len(TIMELINE))
    eleagent.daemon.scripts["session_get"] = lambda call: SessionDetail(session=running, report=None)

    def events(call: Call) -> Iterator[Event]:
        query = call.query
        types = frozenset(filter(None, query.get("types", "").split(",")))
        wanted = Wanted(text=query.get("text", ""), types=types, trouble=query.get("trouble") == "true")
        follow = query.get("follow") == "true"
        assert not (follow and wanted), "the daemon refuses that"
        after = max(int(query.get("after", 0)), len(TIMELINE) - int(query["tail"]) if "tail" in query else 0)
        return (one for one in TIMELINE + (LATER if follow else []) if one.seq > after and wanted.fits(one))

    eleagent.daemon.scripts["session_events"] = events


def seqs(eleagent: CommandLine, *arguments: str) -> list[int]:
    done = eleagent("logs", "--json", *arguments)
    assert done.code == 0, done.err
    return [msgspec.json.decode(line, type=Event).seq for line in done.out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--grep", "report"], [2, 3, 5]),
        (["--grep", "Report"], [2]),
        (["--type", "tool_call"], [2]),
        (["--type", "agent.tool_call,egress"], [2, 4]),
        (["--type", "agent", "--type", "session.created"], [1, 2, 3, 5]),
        (["--errors"], [4]),
        (["--type", "agent", "--grep", "made"], [3]),
        (["--tail", "2"], [4, 5]),
        (["--tail", "3", "--grep", "report"], [3, 5]),
        (["--grep", "nowhere"], []),
    ],
)
def test_what_is_looked_for_is_shown_and_nothing_else_sent(
    eleagent: CommandLine, arguments: list[str], found: list[int]
) -> None:
    assert seqs(eleagent, *arguments) == found
    (call,) = eleagent.daemon.called(SESSION_EVENTS)
    assert {"text", "types", "trouble", "tail"} & set(call.query)


def test_what_comes_later_is_looked_at_as_it_comes(eleagent: CommandLine) -> None:
    assert seqs(eleagent, "-f", "--grep", "report") == [2, 3, 5, 6]
    found, rest = eleagent.daemon.called(SESSION_EVENTS)
    assert (found.query["text"], rest.query["after"]) == ("report", "5")
    assert seqs(eleagent, "-f", "--tail", "1") == [5, 6, 7, 8]


def test_person_is_told_that_nothing_was_found(eleagent: CommandLine) -> None:
    done = eleagent("logs", "--grep", "nowhere")
    assert (done.code, done.out) == (0, "")
    assert "no event of it is what you look for" in done.err


def test_type_that_no_event_has_is_refused_with_those_there_are(eleagent: CommandLine) -> None:
    done = eleagent("logs", "--type", "tool_call,nonsense")
    assert done.code == 2
    assert "--type 'nonsense': no event is called so" in done.err
    assert "agent, approval" in done.err
    assert not eleagent.daemon.called(SESSION_EVENTS)
