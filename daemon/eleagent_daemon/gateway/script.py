"""What does a scripted model say? It plays the model's part in rehearsals and CI (`--model-script FILE`).

A script is TOML: `[[step]]` tables with `text`, `delay_ms` and `[[step.call]]` (`tool`, `input`), or with `status` and
`error` for a step that fails. A request is answered by the step whose number is the count of assistant messages in it,
so a script needs no memory, and later turns and resumed sessions go on where they were. A request that offers no tools
(the making of a title) gets a short text. A sub-agent begins a conversation of its own, and so at the first step.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from eleagent.errors import BadRequest
from eleagent_daemon.gateway.denial import error_json
from eleagent_daemon.gateway.upstream import Answer, Call

CHUNK_CHARACTERS: Final = 24
BYTES_A_TOKEN: Final = 4
"""Roughly; a script has no tokenizer, and its usage is a rehearsal's."""


class ScriptCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tool: str
    input: dict[str, Any] = {}


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str = ""
    call: list[ScriptCall] = []
    delay_ms: int = 0
    status: int = 200
    error: str = ""


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    step: list[Step]


def parse_script(text: str) -> Script:
    """Raises BadRequest naming step and field, counted from 1."""
    try:
        script = msgspec.convert(tomllib.loads(text), Script)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"model script: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise BadRequest(f"model script: {_for_people(str(error))}") from error
    if not script.step:
        raise BadRequest("model script: it has no [[step]]")
    for number, step in enumerate(script.step, 1):
        if problem := _problem(step):
            raise BadRequest(f"model script: step {number}: {problem}")
    return script


def _for_people(message: str) -> str:
    """`… - at `$.step[0].call[1].tool`` becomes `step 1, call 2, tool: …`."""
    what, _, where = message.partition(" - at ")
    named = re.sub(r"\[(\d+)\]", lambda match: f" {int(match[1]) + 1}", where.strip("`").removeprefix("$").lstrip("."))
    return f"{named.replace('.', ', ')}: {what}" if named else what


def _problem(step: Step) -> str | None:
    if step.status != 200 and not 400 <= step.status <= 599:
        return f"status {step.status} is not 200 or an error (400 to 599)"
    if step.status != 200 and (step.text or step.call):
        return "a step with a status fails and can't have text or call too"
    if step.status == 200 and step.error:
        return "error needs a status (400 to 599)"
    if step.status == 200 and not (step.text or step.call):
        return "it has neither text nor call nor status"
    if not 0 <= step.delay_ms <= 60_000:
        return f"delay_ms {step.delay_ms} is not between 0 and 60000"
    for number, call in enumerate(step.call, 1):
        try:
            json.dumps(call.input, allow_nan=False)
        except (TypeError, ValueError) as error:
            return f"call {number}, input: {error}"
    return None


class ScriptUpstream:
    """Answers like the provider's Messages API (docs.anthropic.com, streaming): a stream, one document, or a count."""

    name = "script"

    def __init__(self, script: Script) -> None:
        self._script = script

    @asynccontextmanager
    async def ask(self, call: Call) -> AsyncIterator[Answer]:
        tokens = max(1, len(call.body) // BYTES_A_TOKEN)
        step = self._step(call.message)
        if "/count_tokens" in call.target:
            yield _document(200, msgspec.json.encode({"input_tokens": tokens}))
        elif step.status != 200:
            yield _document(step.status, error_json(step.status, step.error or "the script says so"))
        else:
            message = _message(step, call.message, tokens)
            if call.message.get("stream"):
                yield Answer(200, {"content-type": "text/event-stream"}, _stream(message, step.delay_ms / 1000))
            else:
                yield _document(200, msgspec.json.encode(message))

    def _step(self, request: dict[str, Any]) -> Step:
        if not request.get("tools"):
            return Step(text="Rehearsal")
        number: int = sum(turn["role"] == "assistant" for turn in request.get("messages") or ())
        if number < len(self._script.step):
            return self._script.step[number]
        return Step(text=f"The model script has no step {number + 1}: it ends here.")


def _document(status: int, body: bytes) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return Answer(status, {"content-type": "application/json"}, chunks())


def _message(step: Step, request: dict[str, Any], input_tokens: int) -> dict[str, Any]:
    """The whole message. Its ids are made from the request, so that one script plays the same way twice."""
    seed = hashlib.sha256(msgspec.json.encode(request.get("messages"))).hexdigest()[:20]
    content: list[dict[str, Any]] = [{"type": "text", "text": step.text}] if step.text else []
    content += [
        {"type": "tool_use", "id": f"toolu_script_{seed}_{number}", "name": call.tool, "input": call.input}
        for number, call in enumerate(step.call)
    ]
    return {
        "id": f"msg_script_{seed}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": "tool_use" if step.call else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": input_tokens,
            "output_tokens": max(1, len(msgspec.json.encode(content)) // BYTES_A_TOKEN),
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
        },
    }


async def _stream(message: dict[str, Any], delay_s: float) -> AsyncIterator[bytes]:
    for event in _events(message):
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event))
        if delay_s and event["type"] == "content_block_delta":
            await asyncio.sleep(delay_s)


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    usage = message["usage"]
    opening = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": opening}
    for index, block in enumerate(message["content"]):
        is_text = block["type"] == "text"
        start = {**block, "text": ""} if is_text else {**block, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": start}
        whole = block["text"] if is_text else json.dumps(block["input"])
        for at in range(0, len(whole), CHUNK_CHARACTERS):
            part = whole[at : at + CHUNK_CHARACTERS]
            delta = (
                {"type": "text_delta", "text": part} if is_text else {"type": "input_json_delta", "partial_json": part}
            )
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}
