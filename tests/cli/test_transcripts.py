"""Is a timeline taken away whole, and played again at a person's pace?"""

from __future__ import annotations

import os
import time

import msgspec

from eleagent.cli.transcripts import LONGEST_PAUSE_S, Pace
from eleagent.operations.table import BY_ID
from eleagent.wire import events as ev

from .conftest import CommandLine
from .fakedaemon import FakeSession, created, ended


def test_export_goes_to_stdout_or_into_a_new_file(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended()))
    eleagent.daemon.scripts["session_export"] = lambda call: [b"# title\n", b"text\n"]
    assert eleagent("session", "export").out == "# title\ntext\n"
    assert eleagent.daemon.called(BY_ID["session_export"])[0].query == {"format": "markdown"}
    done = eleagent("session", "export", "@", "--format", "jsonl", "-o", "talk.jsonl")
    assert done.code == 0
    assert (eleagent.folder / "talk.jsonl").read_bytes() == b"# title\ntext\n"
    assert (eleagent.folder / "talk.jsonl").stat().st_mode & 0o777 == 0o600
    again = eleagent("session", "export", "-o", "talk.jsonl")
    assert (again.code, "exists already" in again.err) == (2, True)
    assert eleagent("session", "export", "-o", "talk.jsonl", "--yes").code == 0


def spread(session: FakeSession, seconds: int) -> None:
    """Events that lie `seconds` apart."""
    session.events = [
        msgspec.structs.replace(event, ts=f"2026-01-01T00:00:{number * seconds:02}Z")
        for number, event in enumerate(session.events)
    ]


def test_replay_takes_its_time_and_q_ends_it(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), ev.AgentMessage("first"), ev.AgentMessage("second"), ended()))
    spread(session, 2)
    terminal = eleagent.on_terminal("session", "replay", "--speed", "4")
    terminal.read_until("first")
    assert b"second" not in terminal.seen
    terminal.type("q")
    assert terminal.wait() == 0
    assert b"second" not in terminal.seen


def test_replay_without_a_terminal_shows_all(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), ev.AgentMessage("first"), ended()))
    spread(session, 1)
    assert "first" in eleagent("session", "replay", "--speed", "64").out


def test_pace_waits_as_long_as_the_session_did_but_never_long() -> None:
    pace = Pace(10.0)
    began = time.monotonic()
    for stamp in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T09:00:00Z"):
        assert pace.wait_for(stamp)
    assert 0.1 <= time.monotonic() - began < 0.1 + LONGEST_PAUSE_S


def test_pace_is_held_and_changed_by_keys() -> None:
    read, write = os.pipe()
    pace = Pace(1.0, keys=read)
    os.write(write, b" ++ ")
    assert pace.wait_for("2026-01-01T00:00:00Z")
    assert pace.speed == 4.0
    os.write(write, b"-q")
    assert not pace.wait_for("2026-01-01T00:00:01Z")
    os.close(read)
    os.close(write)
