"""May this request body go to the provider?

The provider can itself reach out (web fetch, code execution, MCP servers, URL sources), so a body is parsed, walked by
allow-lists and encoded anew: what was checked is what is sent. It is weighed before it is parsed, since parsing holds
the interpreter: other sessions wait meanwhile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import msgspec

from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.gateway.denial import Denied
from eleagent_daemon.gateway.weight import members, weigh

BODY_LIMIT_BYTES: Final = 32 << 20
"""The provider's own limit for a request (docs.anthropic.com, API overview)."""

TOP_LEVEL: Final = frozenset({
    "model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream", "stop_sequences",
    "temperature", "top_k", "top_p", "metadata", "thinking", "service_tier", "context_management",
    "output_config", "output_format", "speed", "cache_control", "diagnostics", "inference_geo",
})  # fmt: skip
OPTIONS: Final = {
    "metadata": {"user_id"},
    "thinking": {"type", "budget_tokens", "display"},
    "context_management": {"edits"},
    "output_config": {"effort", "format", "task_budget"},
    "output_format": {"type", "schema"},
    "diagnostics": {"previous_message_id"},
    "tool_choice": {"type", "name", "disable_parallel_tool_use"},
}
"""Objects that are options: their keys are held too."""
CACHE_CONTROL: Final = frozenset({"type", "ttl", "scope"})
EDITS: Final = {
    "clear_thinking": {"type", "keep"},
    "clear_tool_uses": {"type", "trigger", "keep", "clear_at_least", "clear_tool_inputs", "exclude_tools"},
    "compact": {"type", "trigger", "pause_after_compaction", "instructions"},
}
"""Stems of what `context_management` may do to a conversation, each with its keys."""
MEASURE: Final = frozenset({"type", "value"})

TOOL_KEYS: Final = frozenset({
    "type", "name", "description", "input_schema", "cache_control", "strict", "defer_loading",
    "eager_input_streaming", "input_examples", "allowed_callers",
})  # fmt: skip
CLIENT_TOOL_KEYS: Final = TOOL_KEYS - {"description", "input_schema", "eager_input_streaming"}
CLIENT_TOOLS: Final = {
    "bash": CLIENT_TOOL_KEYS,
    "text_editor": CLIENT_TOOL_KEYS | {"max_characters"},
    "memory": CLIENT_TOOL_KEYS,
}
"""Stems of the provider's tool types that the client executes, each with its keys."""

BLOCKS: Final = {
    "text": {"text", "citations"},
    "image": {"source"},
    "document": {"source", "title", "context", "citations"},
    "search_result": {"source", "title", "content", "citations"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "tool_use": {"id", "name", "input", "caller"},
    "tool_result": {"tool_use_id", "content", "is_error"},
    "tool_reference": {"tool_name"},
    "compaction": {"content", "encrypted_content"},
}
"""Kinds of content, each with its keys besides `type` and `cache_control` (docs.anthropic.com, Messages)."""
CITATION: Final = frozenset({
    "type", "cited_text", "document_index", "document_title", "file_id", "start_char_index", "end_char_index",
    "start_page_number", "end_page_number", "start_block_index", "end_block_index", "search_result_index", "source",
    "title", "url", "encrypted_index",
})  # fmt: skip
"""A citation is the provider's word on where an answer is from: nothing is fetched for it."""
SERVER_BLOCKS: Final = {
    "web_search_tool_result": "web_search",
    "web_fetch_tool_result": "web_fetch",
    "code_execution_tool_result": "code_execution",
    "bash_code_execution_tool_result": "code_execution",
    "text_editor_code_execution_tool_result": "code_execution",
}
"""What comes back into a conversation from a server-side tool that the policy names."""

SOURCES: Final = frozenset({"base64", "text", "content"})
ROLES: Final = frozenset({"user", "assistant", "system"})

_VERSIONED = re.compile(r"(.+)_[0-9]{8}")


@dataclass(frozen=True)
class CheckedBody:
    """`encoded` is what is sent; `message` is the same, parsed."""

    encoded: bytes
    message: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.message["model"])[:100]

    @property
    def offers_tools(self) -> bool:
        return bool(self.message.get("tools"))


def check_body(raw: bytes, policy: Policy) -> CheckedBody:
    """Raises Denied with status 400 for what is no JSON object, 403 for a part that policy does not let through."""
    try:
        written = weigh(raw)
        message = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        why = ascii(str(error))[1:-1][:200]
        raise Denied("body", f"EleAgent: the body is not strict JSON in UTF-8: {why}", http_status=400) from error
    if members(message) != written:
        raise Denied("body", "EleAgent: the body is not strict JSON: a key is there twice", http_status=400)
    _Walk(policy).request(message)
    return CheckedBody(encoded=msgspec.json.encode(message), message=message)


def _word(value: Any) -> str:
    """A JSON text, or what stands there instead, which no allow-list has."""
    return value if isinstance(value, str) else f"({type(value).__name__})"


def _stem(tool_type: str) -> str:
    match = _VERSIONED.fullmatch(tool_type)
    return match[1] if match else tool_type


class _Walk:
    """Goes through one request; every method raises Denied at the first part that is not let through."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def request(self, message: dict[str, Any]) -> None:
        self._keys(message, TOP_LEVEL, "the request")
        if not isinstance(message.get("model"), str):
            self._malformed("model", "a text")
        if not isinstance(message.get("stream", False), bool):
            self._malformed("stream", "true or false")
        for name, keys in OPTIONS.items():
            if (option := message.get(name)) is not None:
                self._keys(option, keys, name)
        self._edits((message.get("context_management") or {}).get("edits"), "context_management.edits")
        self._cache_control(message, "the request")
        for index, tool in enumerate(self._list(message.get("tools"), "tools")):
            self._tool(tool, f"tools[{index}]")
        self._content(message.get("system"), "system")
        for index, turn in enumerate(self._list(message.get("messages"), "messages")):
            at = f"messages[{index}]"
            self._keys(turn, {"role", "content"}, at)
            if _word(turn.get("role")) not in ROLES:
                self._malformed(f"{at}.role", "user, assistant or system")
            self._content(turn.get("content"), f"{at}.content")

    def _tool(self, tool: Any, at: str) -> None:
        kind = self._object(tool, at).get("type")
        if kind is None or kind == "custom":
            self._keys(tool, TOOL_KEYS, at)
        elif not isinstance(kind, str):
            self._malformed(f"{at}.type", "a text")
        elif keys := CLIENT_TOOLS.get(_stem(kind)):
            self._keys(tool, keys, at)
        elif _stem(kind) not in self._policy.server_tools:
            self._deny(f"{at}.type {kind[:60]!a}: a tool that the provider runs is a way out")
        self._cache_control(tool, at)
        for caller in self._list(tool.get("allowed_callers"), f"{at}.allowed_callers"):
            if caller != "direct" and (not isinstance(caller, str) or _stem(caller) not in self._policy.server_tools):
                self._deny(f"{at}.allowed_callers {str(caller)[:60]!a}: a tool that the provider runs is a way out")

    def _content(self, content: Any, at: str) -> None:
        if content is None or isinstance(content, str):
            return
        for index, block in enumerate(self._list(content, at)):
            self._block(block, f"{at}[{index}]")

    def _block(self, block: Any, at: str) -> None:
        kind = _word(self._object(block, at).get("type"))
        if kind == "server_tool_use" and _word(block.get("name")) in self._policy.server_tools:
            return
        if SERVER_BLOCKS.get(kind) in self._policy.server_tools:
            return
        if kind not in BLOCKS:
            self._deny(f"{at}.type {kind[:60]!a}: this kind of content is not known to be harmless")
        self._keys(block, BLOCKS[kind] | {"type", "cache_control"}, at)
        self._cache_control(block, at)
        self._citations(block.get("citations"), f"{at}.citations")
        if (caller := block.get("caller")) is not None:
            self._keys(caller, {"type", "tool_id"}, f"{at}.caller")
        if "source" in block and not (kind == "search_result" and isinstance(block["source"], str)):
            self._source(block["source"], f"{at}.source")
        self._content(block.get("content"), f"{at}.content")

    def _source(self, source: Any, at: str) -> None:
        kind = _word(self._object(source, at).get("type"))
        if kind not in SOURCES:
            self._deny(f"{at}.type {kind[:60]!a}: the provider would fetch it; send the data itself")
        self._keys(source, {"type", "media_type", "data", "content"}, at)
        self._content(source.get("content"), f"{at}.content")

    def _edits(self, edits: Any, at: str) -> None:
        for index, edit in enumerate(self._list(edits, at)):
            here = f"{at}[{index}]"
            kind = _word(self._object(edit, here).get("type"))
            if _stem(kind) not in EDITS:
                self._deny(f"{here}.type {kind[:60]!a}: this change of a conversation is not known to be harmless")
            self._keys(edit, EDITS[_stem(kind)], here)
            for name in ("trigger", "keep", "clear_at_least"):
                if isinstance(edit.get(name), dict):
                    self._keys(edit[name], MEASURE, f"{here}.{name}")

    def _citations(self, citations: Any, at: str) -> None:
        """On or off for a document; what an answer cites for a text."""
        if isinstance(citations, dict):
            self._keys(citations, {"enabled"}, at)
            return
        for index, citation in enumerate(self._list(citations, at)):
            self._keys(citation, CITATION, f"{at}[{index}]")

    def _cache_control(self, part: dict[str, Any], at: str) -> None:
        if (control := part.get("cache_control")) is not None:
            self._keys(control, CACHE_CONTROL, f"{at}.cache_control")

    def _keys(self, value: Any, allowed: frozenset[str] | set[str], at: str) -> None:
        if foreign := sorted(self._object(value, at).keys() - allowed):
            self._deny(f"{at} has the key {foreign[0][:60]!a}, which is not let through")

    def _object(self, value: Any, at: str) -> dict[str, Any]:
        return value if isinstance(value, dict) else self._malformed(at, "an object")

    def _list(self, value: Any, at: str) -> list[Any]:
        if value is None:
            return []
        return value if isinstance(value, list) else self._malformed(at, "a list")

    def _malformed(self, at: str, wanted: str) -> NoReturn:
        raise Denied("body", f"EleAgent: {at} is not {wanted}", http_status=400)

    def _deny(self, what: str) -> NoReturn:
        raise Denied(f"{self._policy.name}: body", f"EleAgent: policy {self._policy.name} refuses {what}")
