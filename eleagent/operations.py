"""Which operations does the daemon offer, and what does each need?

The one table behind the router, both clients, the OpenAPI document and the authorisation tests. An operation without a
permission and an audit name can't be built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from eleagent.permissions import Permission
from eleagent.wire import agents, events, sessions, system


class Effect(StrEnum):
    """READ: changes nothing. CONTENT: reads what a session said or made. ACT: changes something. TAKE_AWAY: only takes
    away, so it works even when the audit log can't be written.
    """

    READ = "read"
    CONTENT = "content"
    ACT = "act"
    TAKE_AWAY = "take_away"


class Body(StrEnum):
    """JSON: a decoded struct of at most 1 MiB. BYTES: a raw stream of at most `limit_bytes`."""

    NONE = "none"
    JSON = "json"
    BYTES = "bytes"


class Answer(StrEnum):
    """JSON: one struct. NDJSON: a stream, one struct a line. BYTES: a raw stream."""

    JSON = "json"
    NDJSON = "ndjson"
    BYTES = "bytes"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`path` has `{name}` parameters; `query` maps each query parameter to its type (int, str or bool)."""

    id: str
    method: str
    path: str
    permission: Permission
    audit: str
    effect: Effect
    summary: str
    body: type[Any] | None = None
    body_kind: Body = Body.NONE
    limit_bytes: int = 1 << 20
    result: type[Any] | None = None
    answer: Answer = Answer.JSON
    status: int = 200
    query: tuple[tuple[str, type[Any]], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.permission, Permission):
            raise TypeError(f"operation {self.id!r} has no permission")
        if not re.fullmatch(r"[a-z_]+\.[a-z_]+", self.audit):
            raise ValueError(f"operation {self.id!r} has no audit name of the form noun.verb: {self.audit!r}")
        if (self.body is None) != (self.body_kind is not Body.JSON):
            raise ValueError(f"operation {self.id!r}: a JSON body needs a type, and only a JSON body has one")
        if self.result is None and self.answer is not Answer.BYTES:
            raise ValueError(f"operation {self.id!r} has no result type")

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)}", self.path))

    def url(self, **parameters: str) -> str:
        """The path with each parameter percent-encoded. Raises KeyError when one is missing."""
        from urllib.parse import quote

        return re.sub(r"{(\w+)}", lambda match: quote(parameters[match[1]], safe=""), self.path)


STATUS: Final = Operation(
    id="status", method="GET", path="/v1/status", permission=Permission.SYSTEM_READ, audit="system.status",
    effect=Effect.READ, summary="Which daemon this is and who you are to it", result=system.Status,
)  # fmt: skip
DOCTOR: Final = Operation(
    id="doctor", method="GET", path="/v1/doctor", permission=Permission.SYSTEM_READ, audit="system.doctor",
    effect=Effect.READ, summary="What this host can enforce, and what to do about the rest", result=system.Doctor,
)  # fmt: skip
OPENAPI: Final = Operation(
    id="openapi", method="GET", path="/v1/openapi.json", permission=Permission.SYSTEM_READ, audit="system.openapi",
    effect=Effect.READ, summary="This table as an OpenAPI 3.1 document", result=dict,
)  # fmt: skip
AUDIT_LIST: Final = Operation(
    id="audit_list", method="GET", path="/v1/audit", permission=Permission.AUDIT_READ, audit="audit.read",
    effect=Effect.CONTENT, summary="Audit records after a seq, or the newest with newest=true; oldest first",
    result=system.AuditList, query=(("after", int), ("limit", int), ("session", str), ("newest", bool)),
)  # fmt: skip
SESSION_CREATE: Final = Operation(
    id="session_create", method="POST", path="/v1/sessions", permission=Permission.SESSION_CREATE,
    audit="session.create", effect=Effect.ACT,
    summary="Start a session; Idempotency-Key makes a repeat return the first",
    body=sessions.SessionCreate, body_kind=Body.JSON, result=sessions.Session, status=202,
)  # fmt: skip
SESSION_LIST: Final = Operation(
    id="session_list", method="GET", path="/v1/sessions", permission=Permission.SESSION_READ, audit="session.list",
    effect=Effect.READ, summary="Sessions, newest first; live ones only unless all=true", result=sessions.SessionList,
    query=(("all", bool), ("limit", int)),
)  # fmt: skip
SESSION_GET: Final = Operation(
    id="session_get", method="GET", path="/v1/sessions/{key}", permission=Permission.SESSION_READ, audit="session.show",
    effect=Effect.READ, summary="One session by key, unique prefix, name or @", result=sessions.SessionDetail,
)  # fmt: skip
SESSION_EVENTS: Final = Operation(
    id="session_events", method="GET", path="/v1/sessions/{key}/events", permission=Permission.SESSION_CONTENT,
    audit="session.read", effect=Effect.CONTENT, summary="The timeline after a seq, and on as it grows with follow=1",
    result=events.Event, answer=Answer.NDJSON,
    query=(("after", int), ("follow", bool), ("preview", bool)),
)  # fmt: skip
SESSION_INPUT: Final = Operation(
    id="session_input", method="POST", path="/v1/sessions/{key}/input", permission=Permission.SESSION_DRIVE,
    audit="session.send", effect=Effect.ACT, summary="Say something to the agent", body=sessions.SessionInput,
    body_kind=Body.JSON, result=sessions.InputAccepted, status=202,
)  # fmt: skip
SESSION_INTERRUPT: Final = Operation(
    id="session_interrupt", method="POST", path="/v1/sessions/{key}/interrupt", permission=Permission.SESSION_STOP,
    audit="session.interrupt", effect=Effect.TAKE_AWAY, summary="Interrupt the turn under way; the session lives on",
    result=sessions.Accepted, status=202,
)  # fmt: skip
SESSION_STOP: Final = Operation(
    id="session_stop", method="POST", path="/v1/sessions/{key}/stop", permission=Permission.SESSION_STOP,
    audit="session.stop", effect=Effect.TAKE_AWAY, summary="SIGTERM to the whole sandbox, then SIGKILL",
    body=sessions.SessionStop, body_kind=Body.JSON, result=sessions.Accepted, status=202,
)  # fmt: skip
APPROVAL_ANSWER: Final = Operation(
    id="approval_answer", method="POST", path="/v1/sessions/{key}/approvals/{id}", permission=Permission.SESSION_DRIVE,
    audit="approval.answer", effect=Effect.ACT, summary="Answer a question per tool (--ask)",
    body=sessions.ApprovalAnswer, body_kind=Body.JSON, result=sessions.Accepted, status=202,
)  # fmt: skip
ARTEFACT_LIST: Final = Operation(
    id="artefact_list", method="GET", path="/v1/sessions/{key}/artefacts", permission=Permission.ARTEFACT_READ,
    audit="artefact.list", effect=Effect.READ, summary="What the session left in /artefacts",
    result=sessions.ArtefactList,
)  # fmt: skip
ARTEFACT_GET: Final = Operation(
    id="artefact_get", method="GET", path="/v1/sessions/{key}/artefact", permission=Permission.ARTEFACT_READ,
    audit="artefact.read", effect=Effect.CONTENT, summary="The bytes of one artefact", answer=Answer.BYTES,
    query=(("path", str),),
)  # fmt: skip
AGENT_LIST: Final = Operation(
    id="agent_list", method="GET", path="/v1/agents", permission=Permission.AGENT_READ, audit="agent.list",
    effect=Effect.READ, summary="Agents and what each still needs", result=agents.AgentList,
)  # fmt: skip
AGENT_LOCK: Final = Operation(
    id="agent_lock", method="GET", path="/v1/agents/{name}/lock", permission=Permission.AGENT_READ, audit="agent.lock",
    effect=Effect.READ, summary="The version and digest that this release accepts for an agent's binary",
    result=agents.AgentLock,
)  # fmt: skip
AGENT_INSTALL: Final = Operation(
    id="agent_install", method="PUT", path="/v1/agents/{name}/binary", permission=Permission.AGENT_INSTALL,
    audit="agent.install", effect=Effect.ACT, summary="Upload an agent's binary; only the lock's digest is taken",
    body_kind=Body.BYTES, limit_bytes=1 << 30, result=agents.Agent,
)  # fmt: skip
IMAGE_LIST: Final = Operation(
    id="image_list", method="GET", path="/v1/images", permission=Permission.IMAGE_READ, audit="image.list",
    effect=Effect.READ, summary="EleAgent's images on the engine", result=agents.ImageList,
)  # fmt: skip
IMAGE_BUILD: Final = Operation(
    id="image_build", method="POST", path="/v1/images", permission=Permission.IMAGE_BUILD, audit="image.build",
    effect=Effect.ACT, summary="Build an agent's image", body=agents.ImageBuild, body_kind=Body.JSON,
    result=agents.BuildStep, answer=Answer.NDJSON,
)  # fmt: skip

OPERATIONS: Final[tuple[Operation, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Operation)
)
