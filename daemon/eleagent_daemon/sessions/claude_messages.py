"""What does one message of Claude Code's stream mean as events?"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from eleagent.wire.events import (
    AgentMessage,
    AgentNotice,
    AgentReady,
    AgentThinking,
    AgentToolCall,
    AgentToolResult,
    AgentTurnFinished,
)
from eleagent_daemon.sessions.adapter import Item, Preview

TEXT_LIMIT: Final = 64 * 1024
"""Characters of one tool input or result that the timeline keeps; the whole of it stays in the agent's own transcript.
"""

BLOCKS_LIMIT: Final = 500

_encode = msgspec.json.Encoder().encode


def clip(text: str, limit: int = TEXT_LIMIT) -> str:
    return text if len(text) <= limit else text[:limit]


def approval_id(session: str, native: str) -> str:
    """`a-` and 10 base32 characters, the same whenever the question is read again."""
    digest = hashlib.sha256(f"{session}\0{native}".encode()).digest()
    return "a-" + base64.b32encode(digest)[:10].decode().lower()


def ready(message: dict[str, Any]) -> AgentReady:
    return AgentReady(
        version=str(message.get("claude_code_version", "")),
        model=str(message.get("model", "")),
        tools=[str(tool) for tool in message.get("tools", [])],
        mcp_servers=[str(server.get("name")) for server in message.get("mcp_servers", [])],
        native_session=str(message.get("session_id", "")),
    )


def blocks(message: dict[str, Any]) -> Sequence[Item]:
    """The content blocks of an `assistant` or `user` message."""
    content = message["message"]["content"]
    parent = None if (said := message.get("parent_tool_use_id")) is None else clip(str(said), 100)
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    items: list[Item] = []
    if len(content) > BLOCKS_LIMIT:
        items.append(AgentNotice(kind="blocks_left_out", detail=f"{len(content) - BLOCKS_LIMIT} blocks of one message"))
    for block in content[:BLOCKS_LIMIT]:
        match block["type"]:
            case "text" if message["type"] == "assistant":
                items.append(AgentMessage(text=str(block["text"]), parent=parent))
            case "text":
                items.append(AgentNotice(kind="user_text", detail=clip(str(block["text"]), 4000)))
            case "thinking":
                if block.get("thinking"):
                    items.append(AgentThinking(text=str(block["thinking"]), parent=parent))
            case "redacted_thinking":
                pass
            case "tool_use":
                text = _encode(block["input"]).decode()
                items.append(
                    AgentToolCall(
                        id=str(block["id"]),
                        name=str(block["name"]),
                        input=clip(text),
                        parent=parent,
                        truncated=len(text) > TEXT_LIMIT,
                    )
                )
            case "tool_result":
                text = _result_text(block.get("content"))
                items.append(
                    AgentToolResult(
                        id=str(block["tool_use_id"]),
                        text=clip(text),
                        is_error=bool(block.get("is_error")),
                        truncated=len(text) > TEXT_LIMIT,
                        parent=parent,
                    )
                )
            case kind:
                items.append(notice(f"block.{kind}", block))
    return items


def preview(message: dict[str, Any]) -> Sequence[Item]:
    """The text of a token delta of the main conversation; everything else of the stream is not shown."""
    event = message.get("event", {})
    delta = event.get("delta", {})
    if message.get("parent_tool_use_id") is None and delta.get("type") == "text_delta":
        return (Preview(str(delta["text"])),)
    return ()


def turn_finished(message: dict[str, Any], *, confirmed: bool) -> AgentTurnFinished:
    """API failures come as subtype `success` with `is_error`: that is what counts."""
    return AgentTurnFinished(
        text=clip(str(message.get("result") or "")),
        is_error=bool(message.get("is_error")),
        subtype=str(message.get("subtype", "")),
        turns=int(message.get("num_turns") or 0),
        confirmed=confirmed,
    )


def notice(kind: str, message: dict[str, Any]) -> AgentNotice:
    return AgentNotice(kind=clip(kind, 100), detail=clip(_encode(message).decode(), 4000))


def _result_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else _encode(content).decode()
    parts = (str(part.get("text")) if part.get("type") == "text" else f"[{part.get('type')}]" for part in content)
    return "\n".join(parts)
