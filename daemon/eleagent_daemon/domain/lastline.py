"""What did an agent say or do last, in one line? For lists; what it says is claimed."""

from __future__ import annotations

from typing import Final

from eleagent.wire.events import AgentMessage, AgentToolCall, OutputText
from eleagent.wire.payload import Payload

LINE_CHARS: Final = 120


def last_line(payload: Payload) -> str:
    """Empty for an event that says nothing of the kind."""
    match payload:
        case AgentMessage(text=text) | OutputText(text=text):
            end = text.rstrip()
            return end[end.rfind("\n") + 1 :][:LINE_CHARS]
        case AgentToolCall(name=name):
            return f"● {name}"[:LINE_CHARS]
        case _:
            return ""
