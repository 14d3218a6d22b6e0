"""What came of a session? One pure decision from what the host saw and what the adapter understood."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from eleagent.wire.sessions import State
from eleagent_daemon.domain.sandbox import Phase, Status
from eleagent_daemon.sessions.adapter import Verdict

KILLED = 137
BUDGET = 123
UNANSWERED = 122
TIMED_OUT = 124
ENGINE = 125
REFUSED = 126
VIOLATED = "isolation_violated"


class Cause(StrEnum):
    """Why we ended it; the process's own end has none."""

    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    VIOLATION = "violation"
    UNWRITABLE = "timeline_unwritable"
    OVERFLOW = "output_limit"
    LIMIT = "limit_reached"
    HUNG = "no_progress"
    LEFT = "ended_itself"


@dataclass(frozen=True)
class Outcome:
    state: State
    reason: str
    exit_code: int
    agent_exit_code: int | None = None
    detail: str = ""


def decide(
    status: Status, *, cause: Cause | None, by: str, verdict: Verdict, unanswered: int = 0, why: str = ""
) -> Outcome:
    """`verdict` is the adapter's, for the process's own end; whatever the host did or saw goes before it. `unanswered`
    are questions that were denied since nobody said anything, `why` is the sentence that its cause came with.
    """
    own = status.exit_code
    match cause:
        case Cause.VIOLATION:
            detail = "the sandbox was found changed; it was killed"
            return Outcome(State.ISOLATION_FAILED, VIOLATED, REFUSED, own, detail)
        case Cause.TIMED_OUT:
            return Outcome(State.TIMED_OUT, "timed_out", TIMED_OUT, own)
        case Cause.HUNG:
            return Outcome(State.TIMED_OUT, "no_progress", TIMED_OUT, own, why)
        case Cause.LIMIT:
            return Outcome(State.BUDGET_EXCEEDED, "limit_reached", BUDGET, own, why)
        case Cause.STOPPED:
            return Outcome(State.STOPPED, "stopped", KILLED, own, f"by {by}")
        case Cause.LEFT:
            return Outcome(State.STOPPED, "ended_itself", KILLED, own, "it asked at its own door to be ended")
        case Cause.OVERFLOW:
            detail = "the agent said more than a timeline may hold (session.output_bytes)"
            return Outcome(State.BUDGET_EXCEEDED, "output_limit", BUDGET, own, detail)
        case Cause.UNWRITABLE:
            return Outcome(
                State.FAILED, "timeline_unwritable", ENGINE, own, "its events could not be kept, so it was stopped"
            )
        case None:
            pass
    if status.phase is not Phase.EXITED or own is None:
        return Outcome(State.LOST, "lost", ENGINE, None, status.error or "its sandbox is gone and nobody saw it end")
    if status.oom and own == KILLED:  # else it was another process of it, and it went on
        return Outcome(State.FAILED, "out_of_memory", KILLED, own, "the kernel killed it at its memory limit")
    if unanswered and verdict.reason != "interrupted":
        questions = "1 question was" if unanswered == 1 else f"{unanswered} questions were"
        detail = f"{questions} denied, since nobody answered"
        return Outcome(State.FAILED, "approval_unanswered", UNANSWERED, own, detail)
    if verdict.succeeded:
        return Outcome(State.SUCCEEDED, verdict.reason, verdict.exit_code, own, verdict.detail)
    state = State.STOPPED if verdict.reason == "interrupted" else State.FAILED
    return Outcome(state, verdict.reason, verdict.exit_code, own, verdict.detail)


def explained(outcome: Outcome, timeout_s: float | None) -> str:
    """Its detail, which adds to the state and does not repeat it; `timeout_s` is what the session had."""
    return f"after {timeout_s:g} s" if outcome.reason == "timed_out" and timeout_s else outcome.detail
