"""Does a scripted model say what its script says, in the provider's words?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from eleagent.errors import BadRequest
from eleagent_daemon.gateway.meter import meter_for
from eleagent_daemon.gateway.script import ScriptUpstream, parse_script
from eleagent_daemon.gateway.upstream import Call

SCRIPT = """
[[step]]
text = "I will look at the reports, all of them."
delay_ms = 1
[[step.call]]
tool = "Bash"
input = { command = "ls /data; echo 'ä'" }
[[step.call]]
tool = "Read"
input = { file_path = "/data/a", limit = 3 }
[[step]]
text = "Done."
[[step]]
status = 529
error = "overloaded"
"""


async def ask(assistant_messages: int, *, tools: bool = True, stream: bool = True, path: str = "") -> tuple[int, bytes]:
    turns = [{"role": role, "content": "x"} for role in ["user", *["assistant", "user"] * assistant_messages]]
    message: dict[str, Any] = {"model": "m", "messages": turns, "stream": stream, "tools": [{"name": "Bash"}] * tools}
    call = Call(f"/v1/messages{path}", {}, (), json.dumps(message).encode(), message)
    async with ScriptUpstream(parse_script(SCRIPT)).ask(call) as answer:
        body = b"".join([chunk async for chunk in answer.chunks])
        meter = meter_for(answer.headers["content-type"])
    meter.feed(body)
    meter.end()
    assert meter.complete
    return answer.status, body


def events(body: bytes) -> list[dict[str, Any]]:
    pairs = [block.split("\n") for block in body.decode().strip().split("\n\n")]
    decoded = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]
    assert all(name == data["type"] for name, data in decoded)
    return [data for _, data in decoded]


def text_of(body: bytes) -> str:
    return "".join(event["delta"].get("text", "") for event in events(body) if event["type"] == "content_block_delta")


async def test_step_streams_text_and_calls_as_the_provider_does() -> None:
    status, body = await ask(0)
    told = events(body)

    assert status == 200
    assert [told[0]["type"], told[-2]["type"], told[-1]["type"]] == ["message_start", "message_delta", "message_stop"]
    starts = [e["content_block"] for e in told if e["type"] == "content_block_start"]
    assert [(b["type"], b.get("name"), b.get("input")) for b in starts] == [
        ("text", None, None),
        ("tool_use", "Bash", {}),
        ("tool_use", "Read", {}),
    ]
    deltas = {
        index: [e["delta"] for e in told if e["type"] == "content_block_delta" and e["index"] == index]
        for index in range(3)
    }
    assert "".join(d["text"] for d in deltas[0]) == "I will look at the reports, all of them."
    assert json.loads("".join(d["partial_json"] for d in deltas[1])) == {"command": "ls /data; echo 'ä'"}
    assert json.loads("".join(d["partial_json"] for d in deltas[2])) == {"file_path": "/data/a", "limit": 3}
    assert len({block["id"] for block in starts[1:]}) == 2
    assert told[-2]["delta"]["stop_reason"] == "tool_use"
    assert told[-2]["usage"]["output_tokens"] > told[0]["message"]["usage"]["output_tokens"]


async def test_step_is_chosen_by_the_count_of_assistant_messages() -> None:
    assert b"Done." in (await ask(1))[1]
    assert b"end_turn" in (await ask(1))[1]
    assert (await ask(2))[0] == 529
    assert "no step 8" in text_of((await ask(7))[1])


async def test_failing_step_has_the_providers_error() -> None:
    assert json.loads((await ask(2))[1]) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "overloaded"},
    }


async def test_request_without_tools_does_not_count() -> None:
    assert b"reports" not in (await ask(0, tools=False))[1]
    assert (await ask(2, tools=False))[0] == 200


async def test_request_without_stream_gets_one_document() -> None:
    message = json.loads((await ask(0, stream=False))[1])

    assert message["content"][0] == {"type": "text", "text": "I will look at the reports, all of them."}
    assert message["content"][1]["input"] == {"command": "ls /data; echo 'ä'"}
    assert message["stop_reason"] == "tool_use"


async def test_tokens_are_counted() -> None:
    assert json.loads((await ask(0, path="/count_tokens?beta=true"))[1])["input_tokens"] > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step = []", "no [[step]]"),
        ("", "missing required field `step`"),
        ("[[step]", "not TOML"),
        ("steps = 1", "steps"),
        ("[[step]]", "step 1: it has neither text nor call nor status"),
        ("[[step]]\ntext='a'\n[[step]]\ntext=1", "step 2, text: Expected `str`"),
        ("[[step]]\ntext='a'\n[[step.call]]\ntool='a'\n[[step.call]]\ninput={}", "step 1, call 2: Object missing"),
        ("[[step]]\ntext='a'\nfoo=1", "step 1: Object contains unknown field `foo`"),
        ("[[step]]\nstatus=200", "step 1: it has neither"),
        ("[[step]]\nstatus=99", "step 1: status 99"),
        ("[[step]]\nstatus=500\ntext='x'", "step 1: a step with a status"),
        ("[[step]]\ntext='a'\nerror='x'", "step 1: error needs a status"),
        ("[[step]]\ntext='a'\ndelay_ms=-1", "step 1: delay_ms -1"),
        ("[[step]]\n[[step.call]]\ntool='a'\ninput={d=2026-01-01}", "step 1: call 1, input"),
        ("[[step]]\n[[step.call]]\ntool='a'\ninput={d=nan}", "step 1: call 1, input"),
    ],
)
def test_bad_script_is_refused_naming_step_and_field(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_script(text)

    assert caught.value.message.startswith("model script: ")
    assert said in caught.value.message
