"""Which states does a session have, in which group is each shown, and with which code does it end?"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class State(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    BUDGET_EXCEEDED = "budget_exceeded"
    ISOLATION_FAILED = "isolation_failed"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        return STATES[self].exit_codes != ""

    @property
    def group(self) -> Group:
        return STATES[self].group


class Group(StrEnum):
    """The sections of a list of sessions, in the order in which they are shown."""

    NEEDS_YOU = "Needs you"
    WORKING = "Working"
    IDLE = "Idle"
    DONE = "Done"
    FAILED = "Failed"


class Standing(NamedTuple):
    """`exit_codes` of `eleagent run` are empty for a state in which a session still lives."""

    group: Group
    exit_codes: str
    meaning: str


STATES: Final[Mapping[State, Standing]] = MappingProxyType(
    {
        State.QUEUED: Standing(Group.IDLE, "", "accepted, waits for a slot; `ps` shows its place"),
        State.STARTING: Standing(Group.WORKING, "", "its sandbox is made and attested; the agent does not run yet"),
        State.RUNNING: Standing(Group.WORKING, "", "the agent works"),
        State.WAITING: Standing(Group.NEEDS_YOU, "", "the agent waits at a wall for a person's answer"),
        State.PAUSED: Standing(Group.NEEDS_YOU, "", "nothing in the sandbox runs until it is unpaused"),
        State.STOPPING: Standing(Group.WORKING, "", "told to end; artefacts are still collected"),
        State.SUCCEEDED: Standing(Group.DONE, "0", "the agent says that it is done, and its process ended with 0"),
        State.FAILED: Standing(Group.FAILED, "the agent's own, 122, 125, 137", "the agent failed, or could not go on"),
        State.STOPPED: Standing(Group.DONE, "130, 137", "a person ended it"),
        State.TIMED_OUT: Standing(Group.FAILED, "124", "its time was up, or it made no progress"),
        State.BUDGET_EXCEEDED: Standing(Group.FAILED, "123", "a limit on money, tokens, turns or output was reached"),
        State.ISOLATION_FAILED: Standing(Group.FAILED, "126", "a control of its sandbox was not, or no longer, there"),
        State.LOST: Standing(Group.FAILED, "125", "its sandbox is gone and nobody saw how it ended"),
    }
)
"""The published table; `docs/states.md` is made from it."""
