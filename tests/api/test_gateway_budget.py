"""Does nothing reach the provider that a budget does not pay, and is what was broken off paid all the same?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from eleagent.errors import LimitReached
from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.doors import PLACEHOLDER_KEY, Grant, Terms
from eleagent_daemon.domain.limits import Ask, reached
from eleagent_daemon.domain.policy import MODEL_ONLY
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.gateway.spending import TOKENS_A_SECOND

from ..doorsink import Admitting

BODY = {"model": "claude-opus-4-8", "max_tokens": 8000, "stream": True, "messages": []}
OPENING = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":100,"output_tokens":1}}}\n\n'
)
END = (
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":40}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@dataclass
class Purse:
    """Grants `most` tokens, nothing when it is None; remembers what was asked and paid."""

    most: int | None = 8000
    room: int = 1 << 30
    asked: list[Ask] = field(default_factory=list)
    paid: list[tuple[int, Usage, bool]] = field(default_factory=list)

    async def reserve(self, ask: Ask) -> Grant:
        self.asked.append(ask)
        if self.most is None:
            raise reached("max_cost_usd", 5.0, 5.0)
        return Grant(len(self.asked), self.most)

    async def settle(self, grant: Grant, usage: Usage, *, estimated: bool) -> None:
        self.paid.append((grant.id, usage, estimated))

    async def send(self, count: int) -> None:
        self.room -= count
        if self.room < 0:
            raise reached("max_egress_bytes", 2 << 20, 1 << 20)


@dataclass
class Sink(Admitting):
    events: list[EgressModel] = field(default_factory=list)

    async def record(self, payload: EgressModel | EgressTunnel | SecurityFinding, *, admitted: bool) -> None:
        assert isinstance(payload, EgressModel)
        self.events.append(payload)


@dataclass
class Lab:
    url: str
    purse: Purse
    sink: Sink
    agent: aiohttp.ClientSession
    bodies: list[dict[str, Any]]
    usage: Any

    def post(self, **changes: Any) -> Any:
        headers = {"x-api-key": PLACEHOLDER_KEY, "content-type": "application/json"}
        return self.agent.post(f"{self.url}/v1/messages", data=json.dumps(BODY | changes), headers=headers)


@asynccontextmanager
async def lab(*chunks: bytes, purse: Purse | None = None, stall: bool = False) -> AsyncIterator[Lab]:
    """A provider that answers with `chunks`, and then hangs where it is to `stall`."""
    bodies: list[dict[str, Any]] = []
    purse, sink = purse or Purse(), Sink()

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        bodies.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if stall:
            await asyncio.sleep(30)
        return response

    upstream = web.Server(provider)
    there, here = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    serving = await asyncio.get_running_loop().create_server(upstream, sock=there)
    gateway = Gateway(
        credential=Credential.api_key("sk-ant-real"), base_url=f"http://127.0.0.1:{there.getsockname()[1]}"
    )
    port = here.getsockname()[1]
    doors = await gateway.open({"model": here}, Terms(session="s", policy=MODEL_ONLY), sink, purse)
    try:
        async with aiohttp.ClientSession() as agent:
            yield Lab(f"http://127.0.0.1:{port}", purse, sink, agent, bodies, lambda: doors.model.usage)
    finally:
        await doors.close()
        await gateway.close()
        serving.close()
        await upstream.shutdown(0.1)


async def test_request_is_reserved_before_it_is_sent_and_settled_from_the_stream() -> None:
    async with lab(OPENING, END) as door:
        async with door.post() as answer:
            await answer.read()
        (ask,) = door.purse.asked
        assert (ask.model, ask.output_tokens) == ("claude-opus-4-8", 8000)
        assert ask.price is not None
        ((_, usage, estimated),) = door.purse.paid
    assert not estimated
    assert (usage.requests, usage.turns, usage.input_tokens, usage.output_tokens) == (1, 1, 100, 40)
    assert usage.cost_microusd == 100 * 5 + 40 * 25
    assert door.usage().cost_microusd == usage.cost_microusd
    assert door.sink.events[0].usage.cost_microusd == usage.cost_microusd


async def test_request_without_money_does_not_leave_and_is_told_why() -> None:
    async with lab(purse=Purse(most=None)) as door, door.post() as answer:
        error = (await answer.json())["error"]
    assert (answer.status, door.bodies, door.purse.paid) == (403, [], [])
    assert error["message"] == ("EleAgent: the session's budget is used up: 5.00 USD of 5.00 USD (limit max_cost_usd)")
    assert (door.sink.events[0].allowed, door.sink.events[0].rule) == (False, "max_cost_usd")


async def test_answer_is_asked_for_as_short_as_the_budget_pays() -> None:
    async with lab(OPENING, END, purse=Purse(most=2000)) as door, door.post() as answer:
        await answer.read()
    assert door.bodies[0]["max_tokens"] == 2000


async def test_body_past_the_egress_limit_does_not_leave() -> None:
    async with lab(purse=Purse(room=10)) as door, door.post() as answer:
        assert "what the session may send is used up" in (await answer.json())["error"]["message"]
    assert (answer.status, door.bodies, door.purse.asked) == (403, [], [])


@pytest.mark.parametrize("chunks", [(), (OPENING, b": " + b"x" * 3000 + b"\n\n")], ids=["unanswered", "half-way"])
async def test_answer_that_the_agent_broke_off_is_paid_as_an_estimate(chunks: tuple[bytes, ...]) -> None:
    async with lab(*chunks, stall=True) as door:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3), door.post() as answer:
                await answer.read()
        while not door.purse.paid:
            await asyncio.sleep(0.01)
        ((_, usage, estimated),) = door.purse.paid
    assert estimated
    assert usage.input_tokens == (100 if chunks else door.purse.asked[0].input_tokens)
    assert usage.output_tokens >= 0.25 * TOKENS_A_SECOND, "what the provider wrote is billed, though nobody read it"
    assert usage.cost_microusd > 0
    assert door.usage().cost_microusd == usage.cost_microusd


async def test_answer_that_says_nothing_of_what_it_was_is_paid_as_an_estimate() -> None:
    async with lab(b'event: message_stop\ndata: {"type":"message_stop"}\n\n') as door:
        async with door.post() as answer:
            await answer.read()
        while not door.purse.paid:
            await asyncio.sleep(0.01)
        ((_, usage, estimated),) = door.purse.paid
    assert estimated
    assert (usage.input_tokens, usage.output_tokens > 0) == (door.purse.asked[0].input_tokens, True)


async def test_request_of_a_session_that_ends_is_paid() -> None:
    async with lab(OPENING, stall=True) as door:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2), door.post() as answer:
                await answer.content.readany()
        purse = door.purse
    assert len(purse.paid) == 1


async def test_request_that_could_not_be_recorded_gives_its_money_back() -> None:
    async with lab() as door:
        door.sink.unwritable = True
        async with door.post() as answer:
            await answer.read()
        ((_, usage, estimated),) = door.purse.paid
    assert (answer.status >= 400, door.bodies, usage, estimated) == (True, [], Usage(), False)


def test_limit_reached_is_an_error_of_its_own_for_scripts() -> None:
    err = reached("user_day_usd", 50, 50)
    assert isinstance(err, LimitReached)
    assert (err.code, err.status, err.exit_code) == ("limit_reached", 403, 123)
