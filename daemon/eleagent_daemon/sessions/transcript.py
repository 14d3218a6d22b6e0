"""How does a timeline read as a Markdown document?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from eleagent import textsafe
from eleagent.wire import events as ev
from eleagent.wire.driving import SessionDriver, SessionResumed
from eleagent.wire.inside import AgentAsked, AgentReported
from eleagent.wire.sessions import Session
from eleagent.wire.timeline import Event


def heading(session: Session) -> str:
    """The document's beginning."""
    facts = {
        "Session": session.key, "Agent": session.agent, "Owner": session.owner, "Policy": session.policy,
        "Created": session.created, "Goes on from": session.resumed_from,
    }  # fmt: skip
    lines = [f"- {name}: {textsafe.line(value)}" for name, value in facts.items() if value]
    return f"# {textsafe.line(session.title or session.key)}\n\n" + "\n".join(lines) + "\n"


def sections(events: Iterable[Event]) -> Iterator[str]:
    """One piece of Markdown for each event that a reader of the conversation wants. What an agent said keeps its own
    Markdown; no control character of it is kept.
    """
    for event in events:
        try:
            payload = event.payload()
        except (KeyError, msgspec.ValidationError):
            continue
        if (text := _section(payload)) is not None:
            yield f"\n{text}\n"


def _section(payload: ev.Payload) -> str | None:
    match payload:
        case ev.InputAccepted():
            return f"## {textsafe.line(payload.by_user)}\n\n{textsafe.safe(payload.text)}"
        case ev.AgentMessage():
            return f"## Agent\n\n{textsafe.safe(payload.text)}"
        case ev.AgentToolCall():
            return f"**{textsafe.line(payload.name)}**\n\n{_fenced(payload.input)}"
        case ev.AgentToolResult():
            return _fenced(payload.text) if payload.text else None
        case ev.OutputText():
            return _fenced(payload.text)
        case ev.ApprovalRequested():
            return f"> Asked to use {textsafe.line(payload.tool)} ({payload.id})"
        case ev.WallAsked():
            return f"> Asked for {payload.kind} {textsafe.line(payload.subject)} ({payload.id})"
        case AgentReported():
            return f"> Reported: {textsafe.line(payload.text)}"
        case AgentAsked():
            return f"> Asked: {textsafe.line(payload.subject)} ({payload.id})"
        case ev.ApprovalAnswered():
            who = f" by {textsafe.line(payload.by_user)}" if payload.by_user else ""
            comment = f": {textsafe.line(payload.comment)}" if payload.comment else ""
            return f"> {payload.id} was {'allowed' if payload.allow else 'denied'}{who}{comment}"
        case SessionResumed():
            return f"> Goes on from {payload.resumed_from}"
        case SessionDriver() if payload.driver:
            return f"> {textsafe.line(payload.driver)} drives"
        case ev.ArtefactStored():
            return f"> Artefact {textsafe.line(payload.path)}, {payload.size_bytes} bytes, sha256 {payload.sha256}"
        case ev.OutputGap():
            return f"> Output was not kept: {textsafe.line(payload.reason)}"
        case ev.SessionEnded():
            reason = f" ({textsafe.line(payload.reason)})" if payload.reason != payload.state else ""
            return f"> {payload.state}{reason}, exit {payload.exit_code}"
        case _:
            return None


def _fenced(text: str) -> str:
    """In a fence that nothing in the text can end."""
    safe = textsafe.safe(text).rstrip("\n")
    fence = "```"
    while fence in safe:
        fence += "`"
    return f"{fence}\n{safe}\n{fence}"
