"""What can be in a session's timeline?

One struct an event type; `TYPES` is the whole catalogue. `observed` is what the host saw for itself, `claimed` is what
came through the agent's pipes, where any process of the sandbox can write.
"""

from __future__ import annotations

from typing import ClassVar

from eleagent.wire.approvals import ApprovalKind, Deciding
from eleagent.wire.attestation import Report
from eleagent.wire.driving import DRIVING
from eleagent.wire.inside import REPORTS
from eleagent.wire.limits import Raise, SessionLimits
from eleagent.wire.observations import OBSERVATIONS
from eleagent.wire.payload import Payload as Payload
from eleagent.wire.payload import Provenance as Provenance
from eleagent.wire.sessions import State, Usage
from eleagent.wire.timeline import ENDED


class SessionCreated(Payload, frozen=True):
    type: ClassVar[str] = "session.created"
    agent: str
    owner: str
    policy: str
    runtime: str
    prompt: str | None = None
    argv: list[str] | None = None
    data: list[str] = []
    model: str | None = None
    scripted: bool = False
    ask: bool = False
    timeout_s: float | None = None


class SessionQueued(Payload, frozen=True):
    type: ClassVar[str] = "session.queued"
    position: int


class SessionStarting(Payload, frozen=True):
    type: ClassVar[str] = "session.starting"
    attempt: int
    image: str
    uid: int
    agent_version: str | None = None
    agent_digest: str | None = None


class DataUnreadable(Payload, frozen=True):
    """Files below a data source that the sandbox's user can't read, or that were masked (sockets, devices), before the
    start.
    """

    type: ClassVar[str] = "data.unreadable"
    source: str
    paths: list[str]
    count: int
    masked: list[str] = []


class SandboxAttested(Payload, frozen=True):
    type: ClassVar[str] = "sandbox.attested"
    report: Report


class SandboxViolation(Payload, frozen=True):
    """A repeated attestation differs from the first: the session is stopped."""

    type: ClassVar[str] = "sandbox.violation"
    differences: list[str]


class DoorsOpened(Payload, frozen=True):
    """Listeners on the sandbox's own loopback; the listener is the session's identity."""

    type: ClassVar[str] = "doors.opened"
    ports: dict[str, int]
    upstream: str


class SessionStarted(Payload, frozen=True):
    """`boot_id` is the host's (random(4)), to tell a reboot."""

    type: ClassVar[str] = "session.started"
    boot_id: str = ""


class SessionAdopted(Payload, frozen=True):
    """A daemon that came back found the session alive and reads on."""

    type: ClassVar[str] = "session.adopted"
    attested: bool


class InputAccepted(Payload, frozen=True):
    type: ClassVar[str] = "input.accepted"
    id: str
    by_user: str
    text: str


class InputDelivered(Payload, frozen=True):
    """The agent's own echo of an input."""

    type: ClassVar[str] = "input.delivered"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    id: str


class AgentReady(Payload, frozen=True):
    type: ClassVar[str] = "agent.ready"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    version: str
    model: str
    tools: list[str]
    mcp_servers: list[str]
    native_session: str


class AgentMessage(Payload, frozen=True):
    type: ClassVar[str] = "agent.message"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    text: str
    parent: str | None = None


class AgentThinking(Payload, frozen=True):
    type: ClassVar[str] = "agent.thinking"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    text: str
    parent: str | None = None


class AgentToolCall(Payload, frozen=True):
    """`input` is the tool's input as JSON text, at most 64 KiB; `truncated` says that there was more."""

    type: ClassVar[str] = "agent.tool_call"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    id: str
    name: str
    input: str
    parent: str | None = None
    truncated: bool = False


class AgentToolResult(Payload, frozen=True):
    type: ClassVar[str] = "agent.tool_result"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    id: str
    text: str
    is_error: bool = False
    truncated: bool = False
    parent: str | None = None


class AgentTurnFinished(Payload, frozen=True):
    """The agent says that a turn is over. `confirmed`: the model door saw the model end its turn too."""

    type: ClassVar[str] = "agent.turn_finished"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    text: str
    is_error: bool
    subtype: str
    turns: int
    confirmed: bool


class AgentNotice(Payload, frozen=True):
    """Anything else the agent said: a retry, a task, a kind this version does not know. `detail` is JSON text,
    shortened.
    """

    type: ClassVar[str] = "agent.notice"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    kind: str
    detail: str = ""


class OutputText(Payload, frozen=True):
    """What a program wrote; invalid UTF-8 is shown as U+FFFD. `stream` is `out` or `err`."""

    type: ClassVar[str] = "output.text"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    stream: str
    text: str


class OutputGap(Payload, frozen=True):
    """Output that could not be kept; `size_bytes` is None where nobody can know."""

    type: ClassVar[str] = "output.gap"
    reason: str
    size_bytes: int | None = None


class ApprovalRequested(Payload, frozen=True):
    """A question per tool under `--ask`; what is asked is the agent's claim. `native` is the agent's own id of it."""

    type: ClassVar[str] = "approval.requested"
    by: ClassVar[Provenance] = Provenance.CLAIMED
    id: str
    tool: str
    input: str
    native: str


class WallAsked(Payload, frozen=True):
    """A question at a wall (a host, a credential, a budget), which is enforced outside the sandbox."""

    type: ClassVar[str] = "approval.asked"
    id: str
    kind: ApprovalKind
    subject: str
    why: str
    expires: str | None = None


class ApprovalAnswered(Payload, frozen=True):
    type: ClassVar[str] = "approval.answered"
    id: str
    allow: bool
    by_user: str
    comment: str = ""
    decided_by: Deciding = Deciding.PERSON
    grant: str = ""

    @property
    def unanswered(self) -> bool:
        """Denied, since no person said anything."""
        return self.decided_by in (Deciding.EXPIRY, Deciding.UNATTENDED)


class EgressModel(Payload, frozen=True):
    """One request at the model door. `rule` allowed or refused it; `status` is what the agent was answered.

    Past a burst of refused ones an event a second stands for `count` of one rule: the last of them, with all bytes.
    """

    type: ClassVar[str] = "egress.model"
    allowed: bool
    rule: str
    method: str
    path: str
    status: int
    model: str = ""
    upstream: str = ""
    reason: str = ""
    stop_reason: str = ""
    usage: Usage = Usage()
    bytes_up: int = 0
    bytes_down: int = 0
    duration_ms: int = 0
    count: int = 1


class EgressTunnel(Payload, frozen=True):
    """One CONNECT. `address` is the checked one that was connected to, empty where nothing was; `count` as above."""

    type: ClassVar[str] = "egress.tunnel"
    allowed: bool
    rule: str
    host: str
    port: int
    address: str = ""
    reason: str = ""
    bytes_up: int = 0
    bytes_down: int = 0
    duration_ms: int = 0
    count: int = 1


class SecurityFinding(Payload, frozen=True):
    """Something that a well-behaved agent does not do, seen by the host; `count` as for an attempt at a door."""

    type: ClassVar[str] = "security.finding"
    kind: str
    detail: str
    count: int = 1


class SandboxExited(Payload, frozen=True):
    """The sandbox has ended by itself or was ended; what follows is collecting and removing."""

    type: ClassVar[str] = "sandbox.exited"
    exit_code: int
    oom: bool = False


class ArtefactStored(Payload, frozen=True):
    type: ClassVar[str] = "artefact.stored"
    path: str
    size_bytes: int
    sha256: str


class ArtefactsSkipped(Payload, frozen=True):
    type: ClassVar[str] = "artefacts.skipped"
    items: list[str]
    count: int


class SessionStopping(Payload, frozen=True):
    type: ClassVar[str] = "session.stopping"
    reason: str
    by_user: str
    detail: str = ""


class LimitNear(Payload, frozen=True):
    """Most of a limit is used. `limit` is its name as in SessionLimits or the settings, `text` a sentence."""

    type: ClassVar[str] = "limit.near"
    limit: str
    used: float
    allowed: float
    text: str


class LimitMet(Payload, frozen=True):
    """A limit is used up. `action`: the session is stopped, paused, or it is only told (`tell`)."""

    type: ClassVar[str] = "limit.met"
    limit: str
    used: float
    allowed: float
    action: str
    text: str


class LimitsChanged(Payload, frozen=True):
    """`day_raise` is how far it may go past a limit of the day."""

    type: ClassVar[str] = "limits.changed"
    by_user: str
    limits: SessionLimits
    timeout_s: float | None = None
    day_raise: Raise | None = None


class UsageUnpriced(Payload, frozen=True):
    """The price list does not name this model: it is counted in tokens alone, and no limit on money holds it."""

    type: ClassVar[str] = "usage.unpriced"
    model: str


class UsageEstimated(Payload, frozen=True):
    """A request was under way when the daemon died: it counts as all that it may have used."""

    type: ClassVar[str] = "usage.estimated"
    usage: Usage


class SessionPaused(Payload, frozen=True):
    """Nothing in the sandbox runs from here on. `hold` is why: a person (`person`) or a part of EleAgent."""

    type: ClassVar[str] = "session.paused"
    hold: str
    by_user: str
    detail: str = ""


class SessionUnpaused(Payload, frozen=True):
    """One reason to be paused is gone. `running`: it was the last, and the sandbox goes on, attested anew."""

    type: ClassVar[str] = "session.unpaused"
    hold: str
    by_user: str
    running: bool


class SessionEnded(Payload, frozen=True):
    """The last event. `exit_code` is EleAgent's, `agent_exit_code` the program's own as the runtime saw it."""

    type: ClassVar[str] = ENDED
    state: State
    reason: str
    exit_code: int
    agent_exit_code: int | None = None
    detail: str = ""
    usage: Usage = Usage()
    artefacts: int = 0


TYPES: dict[str, type[Payload]] = OBSERVATIONS | DRIVING | REPORTS | {cls.type: cls for cls in Payload.__subclasses__()}
