"""Does any control sequence of an agent reach the terminal? Through the real command line, on a pseudo-terminal."""

from __future__ import annotations

import re

import pytest

from eleagent.errors import EleAgentError
from eleagent.wire import events as ev
from eleagent.wire.sessions import ArtefactList, SessionDetail
from eleagent.wire.timeline import Notice

from .conftest import CommandLine, Terminal
from .fakedaemon import FakeSession, created, ended

PAYLOADS = {
    "sgr": "\x1b[35m",
    "title": "\x1b]0;PWNED\x07",
    "title_st": "\x1b]2;PWNED\x1b\\",
    "clipboard": "\x1b]52;c;UFdORUQ=\x07",
    "link": "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\",
    "notify9": "\x1b]9;PWNED\x07",
    "notify777": "\x1b]777;notify;P;W\x07",
    "erase": "\x1b[2J",
    "scrollback": "\x1b[3J",
    "home": "\x1b[H",
    "move": "\x1b[12;20H",
    "reset": "\x1bc",
    "dcs": "\x1bPq#0\x1b\\",
    "apc": "\x1b_Gf=100;AAAA\x1b\\",
    "pm": "\x1b^x\x1b\\",
    "report": "\x1b[6n",
    "alternate": "\x1b[?47l",
    "mouse": "\x1b[?1003h",
    "c1_csi": "\x9b31m",
    "c1_osc": "\x9d0;PWNED\x9c",
    "nul": "a\x00b",
    "del": "a\x7f",
    "shift_out": "\x0e",
    "bell": "\x07",
    "return": "good\rbad",
    "backspace": "good\b\b\b\bevil",
    "bidi": "\u202eevil\u2066",
    "invisible": "\u200b\u2060\U000e0041",
}

OURS = re.compile(rb"\x1b\[(?:[0-9]{1,2}m|K)|\r(?=\x1b\[K|\n)|[\n\t]")
"""All that the command line itself may write beside text: its colours, its status line, the terminal driver's CR LF."""

FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\U000e0000-\U000e007f]"
)


def assert_clean(seen: bytes, payload: str) -> None:
    rest = OURS.sub(b"", seen).decode()
    assert not FORBIDDEN.search(rest), f"{FORBIDDEN.search(rest)} in {rest!r}"
    # Our own colours are no alibi for the agent's.
    assert payload.encode() not in seen


def hostile(text: str) -> list[ev.Payload]:
    """An agent that says `text` wherever it can say something."""
    return [
        created(model=text),
        ev.SessionQueued(1),
        ev.DataUnreadable(text, [text], 1, [text]),
        ev.InputAccepted("i", text, text),
        ev.AgentReady(text, text, [text], [text], text),
        ev.AgentThinking(text),
        ev.AgentMessage(f"{text}\n  {text}"),
        ev.AgentToolCall("t", text, f'{{"command": "{text}"}}'),
        ev.AgentToolResult("t", text, is_error=True),
        ev.AgentNotice(text, text),
        ev.AgentTurnFinished(text, True, text, 1, False),
        ev.OutputGap(text, 1),
        ev.ApprovalRequested("a", text, text, text),
        ev.ApprovalAnswered("a", False, text, text, grant=text),
        ev.EgressModel(False, text, text, text, 403, reason=text),
        ev.EgressTunnel(False, text, text, 443, reason=text),
        ev.SecurityFinding(text, text),
        ev.ArtefactsSkipped([text], 1),
        ev.SessionStopping(text, text),
        ended(detail=text, reason=text),
    ]


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_control_sequence_of_an_agent_reaches_the_terminal(eleagent: CommandLine, name: str) -> None:
    text = PAYLOADS[name]
    assert len(PAYLOADS) == 28
    eleagent.serve(FakeSession(*hostile(text), artefacts={text: b"x"}))
    terminal = eleagent.on_terminal("run", "x")
    refuse_what_is_asked(terminal)
    terminal.wait()
    assert_clean(terminal.seen, text)
    assert terminal.seen.count(b"\n") > 15


def refuse_what_is_asked(terminal: Terminal) -> None:
    """The hostile agent asks too: a person sees it and says no."""
    terminal.read_until("Allow?")
    terminal.type("n\n")


@pytest.mark.parametrize(
    "arguments", [["run", "--", "p"], ["run", "-q", "--", "p"], ["logs"], ["logs", "--json"], ["run", "-q", "x"]]
)
def test_no_control_sequence_reaches_the_terminal_in_any_form(eleagent: CommandLine, arguments: list[str]) -> None:
    text = "".join(PAYLOADS.values())
    output = [ev.OutputText("out", text), ev.OutputText("err", text), ev.AgentMessage(text)]
    eleagent.serve(FakeSession(*hostile(text)[:-1], *output, ended()))
    terminal = eleagent.on_terminal(*arguments)
    if arguments[0] == "run":
        refuse_what_is_asked(terminal)
    assert terminal.wait() == 0
    assert_clean(terminal.seen, text)
    assert b"PWNED" in terminal.seen


def test_no_control_sequence_of_a_preview_reaches_the_terminal(eleagent: CommandLine) -> None:
    import time

    session = eleagent.serve(FakeSession(created(), ended()))
    text = "".join(PAYLOADS.values())

    def stream(_call: object) -> object:
        yield session.events[0]
        yield Notice("preview", text=text[-60:])
        time.sleep(0.6)
        yield session.events[1]

    eleagent.daemon.scripts["session_events"] = stream
    terminal = eleagent.on_terminal("run", "x")
    terminal.wait()
    assert "✎".encode() in terminal.seen
    assert_clean(terminal.seen, text)


def test_no_control_sequence_of_names_and_errors_reaches_the_terminal(eleagent: CommandLine) -> None:
    import msgspec

    text = "".join(PAYLOADS.values())
    session = eleagent.serve(FakeSession(*hostile(text), artefacts={text: text.encode()}))
    detail = SessionDetail(
        session=msgspec.structs.replace(session.session, name=text, title=text, policy=text, data=[text])
    )
    eleagent.daemon.scripts["session_get"] = lambda call: detail

    def refuse(_call: object) -> None:
        raise EleAgentError(text)

    eleagent.daemon.scripts["status"] = refuse
    for arguments in (
        ["session", "show"],
        ["artefact", "ls"],
        ["artefact", "cat", "@", text.replace("\0", "")],
        ["status"],
    ):
        listed = eleagent.daemon.scripts["artefact_list"](None)
        assert isinstance(listed, ArtefactList)
        if arguments[1:2] == ["cat"]:
            eleagent.daemon.scripts["artefact_get"] = lambda call: [text.encode(), b"\xff\xfe"]
        terminal = eleagent.on_terminal(*arguments)
        terminal.wait()
        assert_clean(terminal.seen, text)
        assert b"PWNED" in terminal.seen
