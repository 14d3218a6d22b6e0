"""How do sessions and the gateway meet? Sessions hand over listeners and terms; the gateway tells what it saw."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Protocol

import msgspec

from eleagent.wire.approvals import ApprovalKind
from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent.wire.inside import OwnApproval, OwnSession, Question, Told
from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.limits import Ask
from eleagent_daemon.domain.policy import Policy

PLACEHOLDER_KEY = "sk-ant-eleagent-placeholder-not-a-key"
"""What the agent holds in place of a key. It is no secret: the listener is the session's identity."""


LOCAL = "local"
"""The rule of what a door answers itself."""


class Terms(msgspec.Struct, frozen=True):
    """What one session may do at its doors. `model_script`: the text of a rehearsal script that plays the model.
    `usage` and `stop_reason` are where an earlier daemon's view of the session ended. `tokens` are what may be shown at
    the session door.
    """

    session: str
    policy: Policy
    model_script: str | None = None
    usage: Usage = Usage()
    stop_reason: str = ""
    tokens: tuple[str, ...] = ()


class Grant(msgspec.Struct, frozen=True):
    """A request may be sent if it asks for no longer answer than this."""

    id: int
    output_tokens: int


class Purse(Protocol):
    """What a session may still spend. The doors ask before anything is sent."""

    async def reserve(self, ask: Ask) -> Grant:
        """Returns when there is room for it. Raises LimitReached."""

    async def settle(self, grant: Grant, usage: Usage, *, estimated: bool) -> None:
        """What it came to; `estimated` where it was broken off."""

    async def send(self, count: int) -> None:
        """So many bytes are about to leave; returns when they may. Raises LimitReached."""


class Unbounded:
    """A purse without a bottom, for a gateway by itself."""

    async def reserve(self, ask: Ask) -> Grant:
        return Grant(0, ask.output_tokens)

    async def settle(self, grant: Grant, usage: Usage, *, estimated: bool) -> None:
        return

    async def send(self, count: int) -> None:
        return


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What is about to leave, and by which rule. `door`: `tunnel` or `model`."""

    door: str
    rule: str
    host: str
    port: int = 0
    method: str = ""
    path: str = ""
    model: str = ""

    @property
    def target(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


class Wall(msgspec.Struct, frozen=True):
    """What a session ran into and a person is asked for: `subject` is exactly what would be allowed, `hold_s` how long
    who asks can wait (None: for ever).
    """

    kind: ApprovalKind
    subject: str
    why: str
    hold_s: float | None


class Ruling(msgspec.Struct, frozen=True):
    """`approval` is the question's id; `reason` a sentence for who asked."""

    allowed: bool
    approval: str
    reason: str


class Sink(Protocol):
    """Where the gateway's observations and questions go; an observation returns when it is durable."""

    async def admit(self, attempt: Attempt) -> int:
        """Before a byte leaves; what to `settle` it by. Raises AuditUnavailable: then none may leave."""

    async def settle(self, admitted: int, payload: EgressModel | EgressTunnel) -> None:
        """What came of what was admitted."""

    async def record(self, payload: EgressModel | EgressTunnel | SecurityFinding, *, admitted: bool) -> None:
        """For the session's timeline, and where it was not `admitted` for the audit log."""

    async def ask(self, wall: Wall) -> Ruling:
        """What a person says; not allowed where nobody answers in time."""


class Self(Protocol):
    """What one session may do with itself, from inside its sandbox. All that it says is claimed."""

    def read(self) -> OwnSession: ...

    async def report(self, text: str) -> Told: ...

    async def ask(self, question: Question) -> OwnApproval:
        """Put, or as it stands where the same was asked before. Raises Throttled for one too many."""

    async def approval(self, identifier: str, wait_s: float) -> OwnApproval:
        """Once it is answered, or as it is after `wait_s`. Raises NotFound for what is no question of its own."""

    async def end(self) -> Told:
        """Returns before it is stopped."""


class ModelView(Protocol):
    """What the model door saw of a session: the host's own word on usage and on whether a turn is over."""

    @property
    def usage(self) -> Usage: ...

    @property
    def turn_over(self) -> bool:
        """No request is under way, and the last one that ended was not answered with a call of a tool."""

    @property
    def failure(self) -> str:
        """Why the last request failed, empty when it did not."""

    @property
    def traffic(self) -> int:
        """Bytes that went either way, to tell whether anything does."""


class OpenDoors(Protocol):
    @property
    def model(self) -> ModelView: ...

    async def close(self) -> None:
        """Close listeners and connections; what was under way is recorded as broken off."""


class Gateway(Protocol):
    def check(self, terms: Terms) -> str:
        """The upstream that would serve these terms. Raises CredentialMissing or BadRequest (the script)."""

    async def open(
        self, sockets: Mapping[str, socket.socket], terms: Terms, sink: Sink, purse: Purse, own: Self
    ) -> OpenDoors:
        """Serve the listeners, by name (`tunnel`, `model`, `session`). They are the gateway's from here on."""
