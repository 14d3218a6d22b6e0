"""What do a session and EleAgent tell each other at the session's own door, from inside its sandbox?"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from eleagent.wire.approvals import ApprovalState
from eleagent.wire.limits import SessionLimits
from eleagent.wire.payload import Payload, Provenance
from eleagent.wire.sessions import State, Usage

URL_VARIABLE = "ELEAGENT_SESSION_URL"
TOKEN_VARIABLE = "ELEAGENT_SESSION_TOKEN"  # noqa: S105  # no secret: a variable's name
"""What every process in a sandbox finds in its environment."""

TEXT_LIMIT = 500
"""Characters of a report, of a question and of what leads to it."""


class OwnSession(msgspec.Struct, frozen=True, kw_only=True):
    """What a session may know of itself: no path of the host, and nothing of anybody else's."""

    key: str
    name: str
    state: State
    agent: str
    owner: str
    project: str
    policy: str
    created: str
    started: str | None
    timeout_s: float | None
    limits: SessionLimits
    usage: Usage


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the agent says it is."""

    text: str


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`subject` is what a person is asked to allow, `why` what led to it; both in the agent's own words."""

    subject: str
    why: str = ""


class OwnApproval(msgspec.Struct, frozen=True, kw_only=True):
    """A question of the session's own. `comment` is what the person who answered said."""

    id: str
    subject: str
    state: ApprovalState
    expires: str | None
    comment: str


class Told(msgspec.Struct, frozen=True):
    """It is in the timeline, or under way: the state that the session is in or goes to."""

    state: State


class AgentReported(Payload, frozen=True):
    """What the agent says of its progress."""

    type: ClassVar[str] = "agent.reported"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    text: str


class AgentAsked(Payload, frozen=True):
    """A question to a person that the agent put in its own words: nothing outside the sandbox waits for the answer."""

    type: ClassVar[str] = "agent.asked"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    id: str
    subject: str
    why: str
    expires: str | None = None


REPORTS: dict[str, type[Payload]] = {cls.type: cls for cls in (AgentReported, AgentAsked)}
