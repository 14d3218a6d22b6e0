"""Is a list worked off once, taken up where it was left, and its exit code true?"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from eleagent.errors import LimitReached
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import ArtefactList, Session, SessionCreate, SessionDetail
from eleagent.wire.states import State
from eleagent.wire.timeline import Event

from .conftest import CommandLine
from .fakedaemon import NOW, Call, ended, timeline
from .test_commands import STATUS


class Daemon:
    """Sessions that end at once: a prompt with `fail` fails, one with `full` meets a budget."""

    def __init__(self, eleagent: CommandLine) -> None:
        self.tokens: dict[str, str] = {}
        self.bodies: list[SessionCreate] = []
        eleagent.daemon.scripts |= {
            "status": lambda call: msgspec.structs.replace(
                STATUS, limits=SessionLimits(max_cost_usd=5.0), user_day_usd=50.0
            ),
            "session_create": self.create,
            "session_events": self.events,
            "session_get": lambda call: SessionDetail(session=self.session(call.path["key"])),
            "artefact_list": lambda call: ArtefactList([], True),
        }

    def create(self, call: Call) -> Session:
        body = call.decoded(SessionCreate)
        if "full" in str(body.prompt):
            raise LimitReached("the day is over", limit="user_day_usd", used=50, allowed=50)
        key = self.tokens.setdefault(call.headers["Idempotency-Key"], f"s-{len(self.tokens):010d}")
        self.bodies.append(body)
        return self.session(key)

    def session(self, key: str) -> Session:
        return Session(key=key, name=key, agent="claude", owner="root", created=NOW, state=State.RUNNING)

    def events(self, call: Call) -> list[Event]:
        failed = "fail" in str(self.bodies[int(call.path["key"][2:])].prompt)
        return timeline(ended(State.FAILED, "exited", 7) if failed else ended())


@pytest.fixture
def sessions(eleagent: CommandLine) -> Daemon:
    return Daemon(eleagent)


def write(eleagent: CommandLine, *units: dict[str, Any]) -> None:
    (eleagent.folder / "work.jsonl").write_text("\n".join(map(json.dumps, units)))


def test_list_is_worked_off_and_run_again_does_only_what_is_not_done(eleagent: CommandLine, sessions: Daemon) -> None:
    write(eleagent, {"id": "a", "prompt": "good"}, {"id": "b", "prompt": "fail"}, {"id": "c", "prompt": "good too"})
    done = eleagent("run", "--tasks", "work.jsonl", "--concurrency", "2")
    assert done.code == 7
    assert "3 of 3 units, 2 at a time: at most 3 x 5 USD = 15.00 USD, and 50 USD a day for you" in done.err
    assert "2 succeeded, 1 failed" in done.err
    assert sorted(line.split()[0] for line in done.out.splitlines()) == ["a", "b", "c"]
    assert sorted(str(body.prompt) for body in sessions.bodies) == ["fail", "good", "good too"]

    again = eleagent("run", "--tasks", "work.jsonl")
    assert "1 of 3 units (2 are done)" in again.err
    assert (again.code, len(sessions.bodies), sessions.bodies[-1].prompt) == (7, 4, "fail")
    write(eleagent, {"id": "a", "prompt": "good"}, {"id": "b", "prompt": "mended"}, {"id": "c", "prompt": "good too"})
    last = eleagent("run", "--tasks", "work.jsonl", "--json")
    assert last.code == 0
    lines = [json.loads(line) for line in last.out.splitlines()]
    assert (lines[0]["id"], lines[0]["state"]) == ("b", "succeeded")
    assert lines[-1] == {"units": 3, "succeeded": 3, "failed": 0, "not_started": 0, "exit_code": 0}
    assert eleagent("run", "--tasks", "work.jsonl", "-q").code == 0
    assert len(sessions.bodies) == 5


def test_list_takes_up_a_session_that_an_earlier_run_left(eleagent: CommandLine, sessions: Daemon) -> None:
    write(eleagent, {"id": "a", "prompt": "good"})
    assert eleagent("run", "--tasks", "work.jsonl").code == 0
    progress = eleagent.folder / "work.jsonl.progress"
    started, _ = progress.read_text().splitlines()
    progress.write_text(started + "\n")  # as if that run had died while it followed
    assert eleagent("run", "--tasks", "work.jsonl").code == 0
    assert len(sessions.bodies) == 1
    progress.unlink()  # as if it had died between the daemon's answer and its own line
    assert eleagent("run", "--tasks", "work.jsonl").code == 0
    assert len(sessions.tokens) == 1


def test_list_stops_where_a_budget_is_used_up_and_says_what_is_left(eleagent: CommandLine, sessions: Daemon) -> None:
    write(eleagent, {"id": "a", "prompt": "good"}, {"id": "b", "prompt": "full"}, {"id": "c", "prompt": "good"})
    done = eleagent("run", "--tasks", "work.jsonl", "--concurrency", "1")
    assert done.code == 123
    assert "no more units are started: the day is over" in done.err
    assert "1 succeeded, 0 failed, 2 not started" in done.err


def test_list_counts_the_ceilings_that_its_units_ask_for(eleagent: CommandLine, sessions: Daemon) -> None:
    write(eleagent, {"id": "a", "prompt": "x", "limits": {"max_cost_usd": 0.5}}, {"id": "b", "prompt": "y"})
    assert "at most 2 = 2.50 USD" in eleagent("run", "--tasks", "work.jsonl", "--max-cost", "2").err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["do it"], "leave PROMPT and PROGRAM out"), (["-d"], "leave -d out"), (["-n", "x"], "leave -n out"),
        (["--", "true"], "leave PROMPT and PROGRAM out"),
    ],
)  # fmt: skip
def test_list_says_itself_what_is_to_be_done(eleagent: CommandLine, arguments: list[str], told: str) -> None:
    write(eleagent, {"prompt": "x"})
    done = eleagent("run", "--tasks", "work.jsonl", *arguments)
    assert (done.code, told in done.err) == (2, True)
