"""Which operations are there on sessions?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Answer, Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import driving, limits, sessions, timeline

SESSION_CREATE: Final = Operation(
    id="session_create", method="POST", path="/v1/sessions", permission=Permission.SESSION_CREATE,
    audit="session.create", effect=Effect.ACT,
    summary="Start a session; Idempotency-Key makes a repeat return the first",
    body=sessions.SessionCreate, body_kind=Body.JSON, limit_bytes=sessions.PROMPT_BODY_BYTES,
    result=sessions.Session, status=202,
    recorded=("agent", "name", "policy", "model", "runtime"),
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
    audit="session.read", effect=Effect.CONTENT,
    summary="The timeline after a seq or its last `tail` events, at most `limit`, and on as it grows with follow=true; "
    "or of it what has a text, is of some types (comma-separated) or tells of trouble",
    result=timeline.Event, answer=Answer.NDJSON,
    query=(
        ("after", int), ("tail", int), ("limit", int), ("follow", bool), ("preview", bool), ("text", str),
        ("types", str), ("trouble", bool),
    ),
)  # fmt: skip
SESSION_FIND: Final = Operation(
    id="session_find", method="GET", path="/v1/sessions/{key}/find", permission=Permission.SESSION_CONTENT,
    audit="session.find", effect=Effect.CONTENT,
    summary="The seqs of events with a text, of some types (comma-separated) or that tell of trouble; from `after` on, "
    "or back from `before`",
    result=sessions.Found,
    query=(("text", str), ("types", str), ("trouble", bool), ("after", int), ("before", int), ("limit", int)),
)  # fmt: skip
SESSION_INPUT: Final = Operation(
    id="session_input", method="POST", path="/v1/sessions/{key}/input", permission=Permission.SESSION_DRIVE,
    audit="session.send", effect=Effect.ACT, summary="Say something to the agent", body=sessions.SessionInput,
    body_kind=Body.JSON, limit_bytes=sessions.PROMPT_BODY_BYTES, result=sessions.InputAccepted, status=202,
)  # fmt: skip
SESSION_RESUME: Final = Operation(
    id="session_resume", method="POST", path="/v1/sessions/{key}/resume", permission=Permission.SESSION_CREATE,
    audit="session.resume", effect=Effect.ACT, summary="Go on with an ended session in a new sandbox",
    body=sessions.SessionResume, body_kind=Body.JSON, limit_bytes=sessions.PROMPT_BODY_BYTES,
    result=sessions.Session, status=202,
)  # fmt: skip
SESSION_REMOVE: Final = Operation(
    id="session_remove", method="DELETE", path="/v1/sessions/{key}", permission=Permission.SESSION_REMOVE,
    audit="session.remove", effect=Effect.ACT, summary="Delete an ended session: timeline, artefacts, HOME and files",
    result=sessions.Accepted,
)  # fmt: skip
SESSION_EXPORT: Final = Operation(
    id="session_export", method="POST", path="/v1/sessions/{key}/export", permission=Permission.SESSION_CONTENT,
    audit="session.export", effect=Effect.ACT, summary="Write the timeline as JSON lines or Markdown and send it",
    answer=Answer.BYTES, query=(("format", str),), recorded=("format",),
)  # fmt: skip
SESSION_HANDOVER: Final = Operation(
    id="session_handover", method="POST", path="/v1/sessions/{key}/handover", permission=Permission.SESSION_DRIVE,
    audit="session.handover", effect=Effect.ACT, summary="Let somebody else drive, or take the session over",
    body=driving.SessionHandover, body_kind=Body.JSON, result=sessions.Session, recorded=("to",),
)  # fmt: skip
SESSION_INTERRUPT: Final = Operation(
    id="session_interrupt", method="POST", path="/v1/sessions/{key}/interrupt", permission=Permission.SESSION_STOP,
    audit="session.interrupt", effect=Effect.TAKE_AWAY, summary="Interrupt the turn under way; the session lives on",
    result=sessions.Accepted, status=202,
)  # fmt: skip
SESSION_STOP: Final = Operation(
    id="session_stop", method="POST", path="/v1/sessions/{key}/stop", permission=Permission.SESSION_STOP,
    audit="session.stop", effect=Effect.TAKE_AWAY, summary="SIGTERM to the whole sandbox, then SIGKILL",
    body=sessions.SessionStop, body_kind=Body.JSON, result=sessions.Accepted, status=202, recorded=("grace_s",),
)  # fmt: skip
SESSION_PAUSE: Final = Operation(
    id="session_pause", method="POST", path="/v1/sessions/{key}/pause", permission=Permission.SESSION_STOP,
    audit="session.pause", effect=Effect.TAKE_AWAY, summary="Nothing in the sandbox runs until it is unpaused",
    body=sessions.SessionPause, body_kind=Body.JSON, result=sessions.Accepted, status=202,
)  # fmt: skip
SESSION_UNPAUSE: Final = Operation(
    id="session_unpause", method="POST", path="/v1/sessions/{key}/unpause", permission=Permission.SESSION_MANAGE,
    audit="session.unpause", effect=Effect.ACT, summary="Let a session go on that a person paused",
    result=sessions.Accepted, status=202,
)  # fmt: skip
SESSION_RENAME: Final = Operation(
    id="session_rename", method="POST", path="/v1/sessions/{key}/rename", permission=Permission.SESSION_MANAGE,
    audit="session.rename", effect=Effect.ACT, summary="Call a session by another name",
    body=sessions.SessionRename, body_kind=Body.JSON, result=sessions.Session, recorded=("name",),
)  # fmt: skip
SESSION_LIMITS: Final = Operation(
    id="session_limits", method="PATCH", path="/v1/sessions/{key}/limits", permission=Permission.SESSION_MANAGE,
    audit="session.limits", effect=Effect.ACT, summary="Change the limits of a live session; one that met them goes on",
    body=limits.LimitsUpdate, body_kind=Body.JSON, result=sessions.Session,
)  # fmt: skip
