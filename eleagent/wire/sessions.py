"""What is a session, and what does one say to make or drive it?"""

from __future__ import annotations

import msgspec

from eleagent.wire.approvals import ApprovalMode
from eleagent.wire.attestation import Report
from eleagent.wire.limits import Raise, SessionLimits
from eleagent.wire.states import State as State

PROMPT_LIMIT_BYTES = 1_000_000
"""A prompt, UTF-8."""

PROMPT_BODY_BYTES = 6 * PROMPT_LIMIT_BYTES + (1 << 20)
"""A request with a prompt in it: JSON makes 6 bytes of a control character; all else that is asked for has 1 MiB."""

KEY_PATTERN = r"^s-[a-z2-7]{10}$"


class Usage(msgspec.Struct, frozen=True):
    """Counted by the gateway from the provider's own stream, never from what the agent says.

    `cache_write_1h_tokens` are among `cache_write_tokens`. `turns` are requests for a message. `cost_microusd` is at
    list price; `unpriced_tokens` are of models that the price list does not name, and cost nothing in it.
    """

    requests: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    turns: int = 0
    cost_microusd: int = 0
    unpriced_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens

    def plus(self, other: Usage) -> Usage:
        """Field by field."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class SessionCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of `prompt` (an agent that converses) and `argv` (a program) is given.

    `project` is whose members may see it, unless it is `private`. `data` are absolute host paths, accepted over the
    Unix socket only. `model_script` is the text of a rehearsal script that plays the model. `timeout_s` counts from
    release. `stay`: when a turn is over it waits for more to be said.
    """

    agent: str = "claude"
    prompt: str | None = None
    argv: list[str] | None = None
    data: list[str] = []
    name: str | None = None
    model: str | None = None
    runtime: str | None = None
    policy: str | None = None
    timeout_s: float | None = None
    env: dict[str, str] = {}
    ask: bool = False
    approvals: ApprovalMode = ApprovalMode.POLICY
    stay: bool = False
    model_script: str | None = None
    limits: SessionLimits = SessionLimits()
    project: str | None = None
    private: bool = False


class View(msgspec.Struct, frozen=True):
    """Somebody read what the session said or made though it is neither theirs nor shared with them: which act it was,
    the reason that they gave, and when it was last.
    """

    by_user: str
    what: str
    why: str
    at: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Times are RFC 3339 in UTC. `eleagent run` exits with `exit_code`; `reason` is the authority for scripts.

    `paused_by` names what holds it still; it goes on when the last of them is gone. `limits` are
    what holds for it, `user_day_usd` and `key_day_usd` what its user and the
    API key that started it may spend a day (0: no limit), `day_raises` how far it alone may go
    past that and other limits of a day.
    `kept_until`: its sandbox was found changed, and is kept to be looked at.
    `driver` is whose input it takes, by the lease of that number. `resumed_from` and `resumed_by` are the sessions
    before and after it, `conversation` the first of them all. `views` are the newest of those who read it without
    being of those whom it is shared with. After `deletion_due` it is deleted with all that it left.
    `last_line` is the end of what the agent said last, by its own word.
    """

    key: str
    name: str
    state: State
    agent: str
    owner: str
    created: str
    started: str | None = None
    ended: str | None = None
    title: str = ""
    reason: str | None = None
    exit_code: int | None = None
    agent_exit_code: int | None = None
    runtime: str = ""
    policy: str = ""
    model: str | None = None
    scripted: bool = False
    ask: bool = False
    image: str | None = None
    agent_version: str | None = None
    agent_digest: str | None = None
    data: list[str] = []
    usage: Usage = Usage()
    last_seq: int = 0
    last_line: str = ""
    artefacts: int = 0
    unreadable: list[str] = []
    queue_position: int | None = None
    project: str = "default"
    private: bool = False
    credential: str = ""
    paused_by: list[str] = []
    timeout_s: float | None = None
    limits: SessionLimits = SessionLimits()
    user_day_usd: float = 0.0
    key_day_usd: float = 0.0
    day_raises: list[Raise] = []
    kept_until: str | None = None
    driver: str = ""
    lease: int = 0
    resumed_from: str = ""
    resumed_by: str = ""
    conversation: str = ""
    deletion_due: str | None = None
    views: list[View] = []


class SessionResume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an ended session goes on: as it was asked for, but for what is given here."""

    prompt: str | None = None
    name: str | None = None
    timeout_s: float | None = None
    approvals: ApprovalMode = ApprovalMode.POLICY
    stay: bool = False


class SessionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/sessions/{key}`: the session and the proof of its isolation."""

    session: Session
    report: Report | None = None


class SessionList(msgspec.Struct, frozen=True):
    sessions: list[Session]


class Found(msgspec.Struct, frozen=True):
    """The seqs of what was looked for, the nearest first. `goes_on_at`: the search stopped there, since it had read
    much; ask again from there.
    """

    seqs: list[int]
    goes_on_at: int | None = None


class SessionInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`lease` is the one that the sender believes to hold: refused when somebody else drove meanwhile."""

    text: str
    lease: int | None = None


class InputAccepted(msgspec.Struct, frozen=True):
    """The input is in the timeline as `seq` before the agent gets it."""

    id: str
    seq: int
    lease: int = 0


class SessionStop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SIGTERM, then SIGKILL after `grace_s` seconds (the daemon's setting when absent)."""

    grace_s: float | None = None


class SessionRename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` is one that no other live session of the same owner has."""

    name: str


class SessionPause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`reason` is a person's own words, for the record."""

    reason: str = ""


class Accepted(msgspec.Struct, frozen=True):
    key: str
    state: State


class Artefact(msgspec.Struct, frozen=True):
    """A regular file that a session left in /artefacts; `sha256` is hex. `path` is relative and may be hostile text."""

    path: str
    size_bytes: int
    sha256: str
    mode: int = 0o644


class ArtefactList(msgspec.Struct, frozen=True):
    """`complete` is false while the session still runs: the list is then of the last collection.

    `skipped` names what was not kept (a link, a socket, a file past the limits) and why.
    """

    artefacts: list[Artefact]
    complete: bool
    skipped: list[str] = []
