"""Which request bodies does the model door let through, and what is then sent?"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from eleagent_daemon.domain.policy import MODEL_ONLY, Policy
from eleagent_daemon.gateway.body import check_body
from eleagent_daemon.gateway.denial import Denied
from eleagent_daemon.gateway.weight import DENSE_LIMIT_BYTES, PIECE_BYTES, members, weigh

SAMPLE = Path(__file__).parent / "data" / "claude-request.json"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}

FILE = {"type": "image", "source": {"type": "file", "file_id": "f"}}


def body(**parts: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 1, "messages": [], **parts}).encode()


def said(*blocks: Any) -> bytes:
    return body(messages=[{"role": "user", "content": list(blocks)}])


def refusal(raw: bytes, policy: Policy = MODEL_ONLY) -> Denied:
    with pytest.raises(Denied) as caught:
        check_body(raw, policy)
    return caught.value


def test_body_of_the_real_cli_passes_and_is_encoded_equal() -> None:
    raw = SAMPLE.read_bytes()

    checked = check_body(raw, MODEL_ONLY)

    assert json.loads(checked.encoded) == json.loads(raw) == checked.message
    assert checked.model.startswith("claude-")
    assert checked.offers_tools


def test_body_is_encoded_anew() -> None:
    assert check_body(b'{ "model" : "m\\u00e9" }\n', MODEL_ONLY).encoded == '{"model":"mé"}'.encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'"x"',
        b'{"model":"m"',
        b'{"model":"m"} {}',
        b'{"model":"m"}x',
        b'{"model":"m","model":"n"}',
        b'{"model":"m","metadata":{"user_id":"a","user_id":"b"}}',
        b'{"model":"m","temperature":NaN}',
        b'{"model":"m","temperature":-Infinity}',
        b'{"model":"m","temperature":1e999}',
        b'{"model":"m","max_tokens":' + b"9" * 5000 + b"}",
        b'{"model":"\xff"}',
        b'{"model":"\\ud800"}',
        b'\xef\xbb\xbf{"model":"m"}',
        b'{"model":"m","system":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","tools":[{"input_schema":' + b"[" * 300 + b"]" * 300 + b"}]}",
        b'{"model":"m","tools":[{"input_schema":' + b"[" * 5_000 + b"]" * 5_000 + b"}]}",
        b"{}",
        b'{"model":1}',
        b'{"model":"m","stream":1}',
        b'{"model":"m","messages":{}}',
        b'{"model":"m","messages":[1]}',
        b'{"model":"m","messages":[{"role":"root","content":""}]}',
        b'{"model":"m","messages":[{"role":[],"content":""}]}',
        b'{"model":"m","messages":[{"role":"user","content":7}]}',
        b'{"model":"m","tools":[{"type":7}]}',
    ],
)
def test_body_that_is_malformed_is_a_bad_request(raw: bytes) -> None:
    assert refusal(raw).http_status == 400


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (body(mcp_servers=[]), "mcp_servers"),
        (body(container={"skills": []}), "container"),
        (body(anything=1), "anything"),
        (body(metadata={"url": "x"}), "url"),
        (body(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "web_search_20250305"),
        (body(tools=[{"type": "web_fetch_20260209", "name": "web_fetch"}]), "web_fetch_20260209"),
        (body(tools=[{"type": "code_execution_20260521", "name": "c"}]), "code_execution_20260521"),
        (body(tools=[{"type": "mcp_toolset", "mcp_server_name": "c"}]), "mcp_toolset"),
        (body(tools=[{"type": "bash_evil_20250124", "name": "c"}]), "bash_evil_20250124"),
        (body(tools=[{"name": "t", "input_schema": {}, "url": "x"}]), "url"),
        (body(tools=[{"name": "t", "allowed_callers": ["code_execution_20250825"]}]), "code_execution_20250825"),
        (said({"type": "image", "source": {"type": "url", "url": "https://x"}}), "url"),
        (said(FILE), "file"),
        (said({"type": "image", "source": {"type": "base64", "url": "https://x"}}), "url"),
        (said({"type": "document", "source": {"type": "url", "url": "https://x"}}), "url"),
        (said({"type": "text", "text": "", "source": {"type": "url", "url": "https://x"}}), "source"),
        (said({"type": "container_upload", "file_id": "f"}), "container_upload"),
        (said({"type": "mcp_tool_use"}), "mcp_tool_use"),
        (said({"type": "server_tool_use", "name": "web_fetch"}), "server_tool_use"),
        (said({"type": "web_search_tool_result"}), "web_search_tool_result"),
        (said({}), "None"),
        (said({"type": ["text"]}), "list"),
        (said({"type": "image", "source": {"type": {"base64": 1}}}), "dict"),
        (said({"type": "server_tool_use", "name": []}), "server_tool_use"),
        (body(tools=[{"name": "t", "allowed_callers": [{}]}]), "allowed_callers"),
        (said({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]}), "url"),
        (said({"type": "document", "source": {"type": "content", "content": [FILE]}}), "file"),
        (body(system=[{"type": "image", "source": {"type": "url"}}]), "url"),
        (body(messages=[{"role": "user", "content": "", "container": "c"}]), "container"),
        (body(tools=[{"type": "bash_20250124", "name": "bash", "url": "https://x"}]), "url"),
        (body(tools=[{"type": "text_editor_20250728", "name": "e", "container": "c"}]), "container"),
        (body(tools=[{"type": "memory_20250818", "name": "memory", "mcp_servers": []}]), "mcp_servers"),
        (body(tools=[{"type": "bash_٢٠٢٥٠١٢٤", "name": "bash"}]), "bash_"),
        (body(tools=[{"name": "t", "cache_control": {"type": "ephemeral", "url": "x"}}]), "url"),
        (said({"type": "text", "text": "", "image_url": "https://x"}), "image_url"),
        (said({"type": "image", "image_url": {"url": "https://x"}}), "image_url"),
        (said({"type": "tool_result", "tool_use_id": "t", "file_id": "f"}), "file_id"),
        (said({"type": "tool_use", "id": "t", "name": "t", "input": {}, "server": "s"}), "server"),
        (said({"type": "tool_use", "id": "t", "name": "t", "input": {}, "caller": {"url": "x"}}), "url"),
        (said({"type": "text", "text": "", "cache_control": {"type": "ephemeral", "url": "x"}}), "url"),
        (said({"type": "text", "text": "", "citations": [{"type": "char_location", "fetch": "x"}]}), "fetch"),
        (said({"type": "document", "source": IMAGE["source"], "citations": {"url": "x"}}), "url"),
        (body(context_management={"edits": [{"type": "fetch_20251015"}]}), "fetch_20251015"),
        (body(context_management={"edits": [{"type": "clear_thinking_20251015", "url": "x"}]}), "url"),
        (body(context_management={"edits": [{"type": "compact_20260112", "trigger": {"url": "x"}}]}), "url"),
        (body(output_format={"type": "json_schema", "url": "x"}), "url"),
    ],
)  # fmt: skip
def test_body_with_a_way_out_is_refused_and_the_part_named(raw: bytes, named: str) -> None:
    denied = refusal(raw)

    assert denied.http_status == 403
    assert denied.rule == "model-only: body"
    assert named in denied.message


@pytest.mark.parametrize(
    "raw",
    [
        body(tools=[{"type": "custom", "name": "t", "input_schema": {"source": {"type": "url"}, "mcp_servers": 1}}]),
        body(tools=[{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "e"}]),
        body(tools=[{"type": "memory_20250818", "name": "memory"}]),
        said(
            {"type": "tool_use", "id": "t", "name": "t", "input": {"source": {"type": "url"}, "container": [1.5, None]}}
        ),
        said({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}, IMAGE]}),
        said({"type": "document", "source": {"type": "content", "content": [IMAGE]}}),
        said({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
        said(
            {"type": "search_result", "source": "https://x", "title": "t", "content": [{"type": "text", "text": "x"}]}
        ),
        body(messages=[{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}]),
        body(tools=[{"type": "text_editor_20250728", "name": "e", "max_characters": 9, "cache_control": None}]),
        body(context_management={"edits": [{"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses"}}]}),
        said({"type": "text", "text": "x", "citations": [{"type": "char_location", "cited_text": "y"}]}),
        said({"type": "tool_use", "id": "t", "name": "t", "input": {}, "caller": {"type": "direct"}}),
        said({"type": "text", "text": 'a "quoted" \\\\ [text], {with: structure} ' * 60_000}),
    ],
)
def test_body_that_stays_here_passes_unchanged(raw: bytes) -> None:
    assert json.loads(check_body(raw, MODEL_ONLY).encoded) == json.loads(raw)


def test_server_tool_passes_when_the_policy_names_its_stem() -> None:
    searching = Policy(name="searching", server_tools=frozenset({"web_search"}))
    raw = body(
        tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        messages=[
            {
                "role": "assistant",
                "content": [{"type": "server_tool_use", "name": "web_search"}, {"type": "web_search_tool_result"}],
            }
        ],
    )

    assert json.loads(check_body(raw, searching).encoded) == json.loads(raw)
    assert "web_fetch" in refusal(body(tools=[{"type": "web_fetch_20250910"}]), searching).message
    assert "web_fetch" in refusal(said({"type": "web_fetch_tool_result"}), searching).message


def test_refusal_shows_hostile_names_in_plain_text() -> None:
    assert refusal(body(**{"\x1b[2J": 1})).message.isprintable()


@pytest.mark.parametrize("part", [b"[[[[]]]],", b"[],", b"1,", b'{"a":{}},', b'"",', b'"\\\\",[],'])
def test_body_of_more_values_than_a_request_needs_is_refused_before_it_is_parsed(part: bytes) -> None:
    raw = b'{"model":"m","messages":[' + part * ((31 << 20) // len(part)) + b"0]}"

    tracemalloc.start()
    denied = refusal(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert denied.http_status == 400
    assert "brackets, commas and colons" in denied.message
    assert peak < 100 << 20


@pytest.mark.parametrize("part", [b"\\n", b'\\"', b"\\u00e9", "😀".encode()])
def test_body_of_more_escapes_than_a_context_can_hold_is_refused_before_it_is_parsed(part: bytes) -> None:
    raw = b'{"model":"m","system":"' + part * (DENSE_LIMIT_BYTES + 1) + b'"}'

    assert "beyond ASCII" in refusal(raw).message


def test_structure_is_told_from_text_across_the_pieces_it_is_weighed_in() -> None:
    for shift in range(8):
        text = "x" * (PIECE_BYTES - 20 + shift) + '\\"[],:{}\\\\' * 4
        value = {"a": text, 'b":\\': [{"c": text}, []]}
        raw = json.dumps(value).encode()
        assert weigh(raw) == members(value) == 3
