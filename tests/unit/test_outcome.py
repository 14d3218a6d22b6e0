"""What came of it, for everything that the host may have done or seen?"""

from __future__ import annotations

import pytest

from eleagent.wire.sessions import State
from eleagent_daemon.domain.sandbox import Phase, Status
from eleagent_daemon.sessions.adapter import Verdict
from eleagent_daemon.sessions.command import CommandAdapter
from eleagent_daemon.sessions.outcome import Cause, decide, explained

DONE = Verdict(succeeded=True, reason="completed", exit_code=0)
FAILED = Verdict(succeeded=False, reason="model_failed", exit_code=125, detail="refused")
INTERRUPTED = Verdict(succeeded=False, reason="interrupted", exit_code=130)
EXITED = Status(phase=Phase.EXITED, exit_code=3)


@pytest.mark.parametrize(
    ("status", "cause", "verdict", "state", "reason", "code", "own"),
    [
        (EXITED, None, DONE, State.SUCCEEDED, "completed", 0, 3),
        (EXITED, None, FAILED, State.FAILED, "model_failed", 125, 3),
        (EXITED, None, INTERRUPTED, State.STOPPED, "interrupted", 130, 3),
        (EXITED, Cause.VIOLATION, DONE, State.ISOLATION_FAILED, "isolation_violated", 126, 3),
        (EXITED, Cause.TIMED_OUT, DONE, State.TIMED_OUT, "timed_out", 124, 3),
        (EXITED, Cause.STOPPED, DONE, State.STOPPED, "stopped", 137, 3),
        (EXITED, Cause.UNWRITABLE, DONE, State.FAILED, "timeline_unwritable", 125, 3),
        (Status(phase=Phase.EXITED, exit_code=137, oom=True), None, DONE, State.FAILED, "out_of_memory", 137, 137),
        (Status(phase=Phase.EXITED, exit_code=0, oom=True), None, DONE, State.SUCCEEDED, "completed", 0, 0),
        (Status(phase=Phase.EXITED, exit_code=137, oom=True), Cause.STOPPED, DONE, State.STOPPED, "stopped", 137, 137),
        (Status(phase=Phase.EXITED), None, DONE, State.LOST, "lost", 125, None),
        (Status(phase=Phase.GONE, exit_code=0), None, DONE, State.LOST, "lost", 125, None),
        (Status(phase=Phase.LOST), None, DONE, State.LOST, "lost", 125, None),
        (Status(phase=Phase.GONE), Cause.STOPPED, DONE, State.STOPPED, "stopped", 137, None),
    ],
)
def test_decide_table(status, cause, verdict, state, reason, code, own) -> None:
    outcome = decide(status, cause=cause, by="ada", verdict=verdict)
    assert (outcome.state, outcome.reason, outcome.exit_code, outcome.agent_exit_code) == (state, reason, code, own)
    assert outcome.state.ended


@pytest.mark.parametrize("cause", [None, *Cause])
def test_decide_never_succeeds_where_somebody_ended_it(cause: Cause | None) -> None:
    outcome = decide(EXITED, cause=cause, by="ada", verdict=DONE)
    assert (outcome.state is State.SUCCEEDED) == (cause is None)
    assert (outcome.exit_code == 0) == (cause is None)


def test_decide_says_who_stopped_it_and_why_it_was_lost() -> None:
    assert decide(EXITED, cause=Cause.STOPPED, by="ada", verdict=DONE).detail == "by ada"
    lost = Status(phase=Phase.LOST, error="engine restarted")
    assert decide(lost, cause=None, by="", verdict=DONE).detail == "engine restarted"


@pytest.mark.parametrize("cause", [None, *Cause])
def test_explained_adds_to_the_state_and_does_not_repeat_it(cause: Cause | None) -> None:
    outcome = decide(EXITED, cause=cause, by="ada", verdict=FAILED)
    told = explained(outcome, 90.0)
    assert (told == "after 90 s") == (cause is Cause.TIMED_OUT)
    assert not told.startswith((outcome.state.value, outcome.reason))


@pytest.mark.parametrize("code", [0, 1, 2, 126, 137, 255])
def test_decide_program_exits_with_its_own_code(code: int) -> None:
    verdict = CommandAdapter(argv=("x",), env={}, model_door=False).verdict(code)
    outcome = decide(Status(phase=Phase.EXITED, exit_code=code), cause=None, by="", verdict=verdict)
    assert (outcome.exit_code, outcome.agent_exit_code, outcome.reason) == (code, code, "exited")
    assert outcome.state is (State.FAILED if code else State.SUCCEEDED)
