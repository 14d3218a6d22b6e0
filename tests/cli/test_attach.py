"""Can a person converse at a terminal while a session writes above the line they type?"""

from __future__ import annotations

import threading

from eleagent.errors import Conflict
from eleagent.operations.table import BY_ID
from eleagent.wire import events as ev
from eleagent.wire.sessions import InputAccepted, SessionInput

from .conftest import CommandLine
from .fakedaemon import Call, FakeSession, created, ended


def talking(eleagent: CommandLine, *payloads: ev.Payload) -> FakeSession:
    """A session whose last event waits for something to be said."""
    session = eleagent.serve(FakeSession(created(), *payloads, ended()))
    session.gates = {len(session.events): threading.Event()}

    def accept(call: Call) -> InputAccepted:
        return InputAccepted("i", 1, lease=4)

    eleagent.daemon.scripts["session_input"] = accept
    return session


def said(eleagent: CommandLine) -> list[SessionInput]:
    return [call.decoded(SessionInput) for call in eleagent.daemon.called(BY_ID["session_input"])]


def test_what_is_typed_is_said_and_the_lease_goes_along(eleagent: CommandLine) -> None:
    session = talking(eleagent, ev.AgentMessage("ready when you are"))
    terminal = eleagent.on_terminal("attach")
    terminal.read_until("ready when you are")
    terminal.type("hellp\x7fo\r")
    eleagent.daemon.wait_for(BY_ID["session_input"])
    terminal.type("\x1b[200~two\rlines\x1b[201~\r")
    eleagent.daemon.wait_for(BY_ID["session_input"], 2)
    session.gates[len(session.events)].set()
    assert terminal.wait() == 0
    assert said(eleagent) == [SessionInput("hello"), SessionInput("two\nlines", lease=4)]


def test_leaving_leaves_the_session_alone_and_the_terminal_whole(eleagent: CommandLine) -> None:
    talking(eleagent, ev.AgentMessage("ready"))
    terminal = eleagent.on_terminal("attach")
    terminal.read_until("ready")
    terminal.type("half a line\x10\x11")
    assert terminal.wait() == 0
    assert b"which goes on" in terminal.seen
    assert terminal.seen.count(b"\x1b[?2004h") == terminal.seen.count(b"\x1b[?2004l") == 1
    assert not said(eleagent)
    assert not eleagent.daemon.called(BY_ID["session_stop"])


def test_ctrl_c_interrupts_the_turn(eleagent: CommandLine) -> None:
    talking(eleagent, ev.AgentMessage("ready"))
    terminal = eleagent.on_terminal("attach")
    terminal.read_until("ready")
    terminal.interrupt()
    eleagent.daemon.wait_for(BY_ID["session_interrupt"])
    assert terminal.wait() == 0


def test_driver_that_was_replaced_is_told_and_asked_to_say_it_again(eleagent: CommandLine) -> None:
    session = talking(eleagent, ev.AgentMessage("ready"))
    answers = iter([InputAccepted("i", 1, lease=1), Conflict("it changed hands"), InputAccepted("i", 2, lease=3)])

    def accept(_call: Call) -> InputAccepted:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    eleagent.daemon.scripts["session_input"] = accept
    terminal = eleagent.on_terminal("attach")
    terminal.read_until("ready")
    for number, text in enumerate(("one", "two", "two"), 1):
        terminal.type(f"{text}\r")
        eleagent.daemon.wait_for(BY_ID["session_input"], number)
    terminal.read_until("not sent: it changed hands")
    session.gates[len(session.events)].set()
    terminal.wait()
    assert [one.lease for one in said(eleagent)] == [None, 1, None]


def test_line_is_drawn_anew_on_a_terminal_of_another_size(eleagent: CommandLine) -> None:
    talking(eleagent, ev.AgentMessage("ready"))
    terminal = eleagent.on_terminal("attach")
    terminal.read_until("ready")
    terminal.resize(80)
    typed = "the quick brown fox jumps over the lazy dog and on"
    terminal.type(typed)
    terminal.read_until(typed)
    terminal.settle()
    seen = len(terminal.seen)
    terminal.resize(40)
    while terminal.seen.count(typed[-20:].encode()) < 2:
        terminal.read_more()
    terminal.type("\x15\x04")
    assert terminal.wait() == 0
    assert typed.encode() not in terminal.seen[seen:], "what does not fit is not drawn"


def test_attach_shows_the_newest_of_the_past(eleagent: CommandLine) -> None:
    talking(eleagent, *(ev.AgentMessage(f"message {number}") for number in range(300)))
    terminal = eleagent.on_terminal("attach", "-n", "10")
    terminal.read_until("message 299")
    terminal.type("\x04")
    assert terminal.wait() == 0
    assert b"message 100" not in terminal.seen


def test_attach_without_a_terminal_says_what_else_to_do(eleagent: CommandLine) -> None:
    talking(eleagent)
    done = eleagent("attach")
    assert (done.code, "session send" in done.err) == (2, True)
    done = eleagent("run", "-i", "x")
    assert (done.code, eleagent.daemon.called(BY_ID["session_create"])) == (2, [])
