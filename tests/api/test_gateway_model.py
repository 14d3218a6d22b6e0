"""Does the model door, on a real socket before a stand-in for the provider, do what it promises?"""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from eleagent.errors import AuditUnavailable, BadRequest, ConfigError, CredentialMissing
from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.doors import PLACEHOLDER_KEY, Ruling, Terms, Wall
from eleagent_daemon.domain.policy import MODEL_ONLY, ApprovalRules, Policy
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.model import CONNECTION_LIMIT
from eleagent_daemon.gateway.service import Gateway, GatewayDoors

from ..doorsink import Admitting

REAL_KEY = "sk-ant-the-real-one"
BODY = {"model": "m", "max_tokens": 1, "stream": True, "tools": [{"name": "t"}], "messages": []}
OPENING = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
)

SCRIPT = '[[step]]\n[[step.call]]\ntool = "Bash"\n[[step]]\ntext = "Done."\n'


def ending(stop_reason: str) -> bytes:
    delta = {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 5}}
    return f'data: {json.dumps(delta)}\n\nevent: message_stop\ndata: {{"type":"message_stop"}}\n\n'.encode()


@dataclass
class Records(Admitting):
    """A sink in memory; `broken` plays a full disk, `slow_s` a slow one."""

    payloads: list[EgressModel | EgressTunnel | SecurityFinding] = field(default_factory=list)
    broken: bool = False
    slow_s: float = 0
    walls: list[Wall] = field(default_factory=list)
    allows: bool = False

    async def record(self, payload: EgressModel | EgressTunnel | SecurityFinding, *, admitted: bool) -> None:
        if self.broken:
            raise AuditUnavailable("the disk is full")
        await asyncio.sleep(self.slow_s)
        self.payloads.append(payload)

    async def ask(self, wall: Wall) -> Ruling:
        self.walls.append(wall)
        return Ruling(self.allows, "a-1", f"{wall.kind} {wall.subject} was denied by ada")

    @property
    def models(self) -> list[EgressModel]:
        return [payload for payload in self.payloads if isinstance(payload, EgressModel)]

    async def wait(self, count: int = 1) -> EgressModel:
        while len(self.models) < count:
            await asyncio.sleep(0.005)
        return self.models[-1]


@dataclass
class Lab:
    """One session's model door at `url`, its records and the client that plays the agent."""

    url: str
    doors: GatewayDoors
    records: Records
    agent: aiohttp.ClientSession

    async def post(
        self, body: Any = BODY, path: str = "/v1/messages?beta=true", **headers: str
    ) -> tuple[int, dict[str, Any] | bytes]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", "x-api-key": PLACEHOLDER_KEY, **headers}
        async with self.agent.post(self.url + path, data=io.BytesIO(raw), headers=sent) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text


Provider = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def lab(
    provider: Provider | None = None,
    *,
    credential: Credential | None = None,
    base_url: str | None = None,
    script: str | None = None,
    policy: Policy = MODEL_ONLY,
) -> AsyncIterator[Lab]:
    upstream = web.Server(provider) if provider else None
    there = socket.create_server(("127.0.0.1", 0))
    here = socket.create_server(("127.0.0.1", 0))
    port = here.getsockname()[1]
    serving = await asyncio.get_running_loop().create_server(upstream, sock=there) if upstream else None
    gateway = Gateway(
        credential=credential or Credential.api_key(REAL_KEY),
        base_url=base_url or f"http://127.0.0.1:{there.getsockname()[1]}",
    )
    records = Records()
    doors = await gateway.open({"model": here}, Terms(session="s", policy=policy, model_script=script), records)
    try:
        async with aiohttp.ClientSession(auto_decompress=False) as agent:
            yield Lab(url=f"http://127.0.0.1:{port}", doors=doors, records=records, agent=agent)
    finally:
        await doors.close()
        await gateway.close()
        if upstream and serving:
            serving.close()
            await upstream.shutdown(0.2)
        there.close()


async def streaming(request: web.BaseRequest, *chunks: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Set-Cookie": "account=1"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
    return response


async def test_request_goes_on_with_the_real_key_and_nothing_foreign() -> None:
    seen: dict[str, Any] = {}

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        seen.update(headers=request.headers, target=request.raw_path, body=await request.read())
        return await streaming(request, OPENING, ending("end_turn"))

    async with lab(provider) as door:
        status, _ = await door.post(
            b'{"model": "m",  "messages": []}',
            **{"anthropic-beta": "files-api-2025-04-14,effort-2025-11-24", "X-App": "cli", "X-Other": "1"},
        )
        event = await door.records.wait()

    assert status == 200
    assert seen["target"] == "/v1/messages?beta=true"
    assert seen["body"] == b'{"model":"m","messages":[]}'
    assert seen["headers"]["x-api-key"] == REAL_KEY
    assert seen["headers"]["anthropic-beta"] == "effort-2025-11-24"
    assert seen["headers"]["x-app"] == "cli"
    assert {"X-Other", "Cookie", "Authorization"}.isdisjoint(seen["headers"])
    assert PLACEHOLDER_KEY not in str(seen)
    assert REAL_KEY not in str(event)


async def test_oauth_token_goes_as_bearer_with_its_beta() -> None:
    seen: dict[str, str] = {}

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        seen.update(request.headers)
        return await streaming(request, ending("end_turn"))

    async with lab(provider, credential=Credential.oauth_token("oat-real")) as door:
        await door.post(authorization=f"Bearer {PLACEHOLDER_KEY}")

    assert seen["Authorization"] == "Bearer oat-real"
    assert seen["anthropic-beta"] == "oauth-2025-04-20"
    assert "x-api-key" not in seen


async def test_large_body_is_checked_and_arrives_whole() -> None:
    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        request._client_max_size = 0
        received.append(await request.read())
        return await streaming(request, ending("end_turn"))

    received: list[bytes] = []
    body = {"model": "m", "system": "ä" * (2 << 20)}
    async with lab(provider) as door:
        assert (await door.post(body))[0] == 200

    assert json.loads(received[0]) == body


async def test_stream_is_passed_on_unbuffered_and_counted() -> None:
    go_on = asyncio.Event()

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        response = await streaming(request, OPENING)
        await go_on.wait()
        await response.write(ending("end_turn"))
        return response

    async with (
        lab(provider) as door,
        door.agent.post(door.url + "/v1/messages", json=BODY, headers={"x-api-key": PLACEHOLDER_KEY}) as answer,
    ):
        assert await answer.content.readany() == OPENING
        assert not door.doors.model.turn_over
        go_on.set()
        assert await answer.content.readany() == ending("end_turn")
        # the agent has not seen the end of the stream yet, and the view already knows
        assert door.doors.model.turn_over
        assert "Set-Cookie" not in answer.headers
        event = await door.records.wait()

    assert door.doors.model.usage == Usage(requests=1, input_tokens=7, output_tokens=5, turns=1, unpriced_tokens=12)
    assert event.usage == Usage(input_tokens=7, output_tokens=5, turns=1, unpriced_tokens=12)
    assert (event.allowed, event.status, event.stop_reason, event.model) == (True, 200, "end_turn", "m")
    assert event.bytes_down == len(OPENING + ending("end_turn"))
    assert event.bytes_up == len(json.dumps(BODY))


async def test_turn_is_not_over_after_a_call_of_a_tool_or_beside_the_making_of_a_title() -> None:
    reasons = iter(["tool_use", "end_turn", "end_turn"])

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        return await streaming(request, OPENING, ending(next(reasons)))

    async with lab(provider) as door:
        over = [door.doors.model.turn_over]
        for body in (BODY, {**BODY, "tools": []}, BODY):
            await door.post(body)
            over.append(door.doors.model.turn_over)

    assert over == [False, False, False, True]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages?beta=false"),
        ("POST", "/v1/messages?beta=true&x=1"),
        ("POST", "/v1/messages/"),
        ("POST", "/v1//messages"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/messages/../files"),
        ("POST", "/v1/files"),
        ("GET", "/v1/models"),
        ("POST", "/api/event_logging/v2/batch"),
        ("GET", "/"),
    ],
)
async def test_other_route_is_refused_by_name_and_recorded(method: str, path: str) -> None:
    async with lab() as door:
        url = URL(door.url + path, encoded=True)
        async with door.agent.request(method, url, headers={"x-api-key": PLACEHOLDER_KEY}) as answer:
            error = (await answer.json())["error"]
            assert answer.status == 403
        event = await door.records.wait()

    assert error["type"] == "permission_error"
    assert "POST /v1/messages" in error["message"]
    assert (event.allowed, event.rule, event.status) == (False, "route", 403)
    assert door.doors.model.usage == Usage(refused=1)


async def test_head_is_answered_here() -> None:
    async with lab() as door, door.agent.head(door.url + "/") as answer:
        assert answer.status == 200
        assert (await door.records.wait()).rule == "local"


async def test_foreign_credential_is_refused_and_a_finding_without_its_value() -> None:
    async with lab() as door:
        status, body = await door.post(**{"x-goog-api-key": "AIza-foreign"})
        event = await door.records.wait()

    finding = door.records.payloads[0]
    assert isinstance(finding, SecurityFinding)
    assert (status, event.rule, finding.kind) == (403, "credential", "foreign_credential")
    assert "x-goog-api-key" in finding.detail
    assert "AIza" not in f"{door.records.payloads} {body!r}"


async def test_query_is_not_recorded_since_it_can_hold_a_key() -> None:
    async with lab() as door:
        await door.post(path="/v1/messages?key=AIza-foreign")
        assert "AIza" not in str(await door.records.wait())


async def test_request_without_the_placeholder_is_refused() -> None:
    async with lab() as door, door.agent.post(door.url + "/v1/messages", json=BODY) as answer:
        assert answer.status == 403
        assert "placeholder" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "raw", "status"),
    [
        ({"content-encoding": "gzip"}, b"{}", 403),
        ({"content-type": "text/plain"}, b"{}", 400),
        ({}, b"{", 400),
        ({}, b'{"model":"m","mcp_servers":[]}', 403),
        ({}, b'{"model":"m","system":"' + b"x" * 300_000 + b'","container":"c"}', 403),
        ({}, b'{"model":"' + b"x" * (32 << 20) + b'"}', 413),
    ],
)
async def test_body_that_is_not_let_through_never_reaches_the_provider(
    headers: dict[str, str], raw: bytes, status: int
) -> None:
    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("it was asked")

    async with lab(provider) as door:
        answered, body = await door.post(raw, **headers)
        event = await door.records.wait()

    assert answered == status == event.status
    assert isinstance(body, dict)
    assert body["error"]["message"].startswith("EleAgent: ")
    assert door.doors.model.failure == event.reason != ""


@pytest.mark.parametrize("status", [401, 403])
async def test_credential_that_the_provider_refuses_is_never_a_401(status: int) -> None:
    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"error": {"message": f"bad {REAL_KEY}"}}, status=status)

    async with lab(provider) as door:
        answered, body = await door.post()
        event = await door.records.wait()

    assert (answered, event.status, event.allowed) == (403, 403, True)
    assert "the provider refused the daemon's credential" in str(body)
    assert door.doors.model.failure == (
        f"the provider refused the daemon's credential (HTTP {status}): set another key and restart the daemon"
    )
    assert REAL_KEY not in f"{body!r}{event}"


async def test_error_of_the_provider_is_passed_on_and_told() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(error, status=529, headers={"retry-after": "1"})

    async with lab(provider) as door:
        assert await door.post() == (529, error)
        assert (await door.records.wait()).status == 529
        assert door.doors.model.failure == "the upstream answered 529 (overloaded_error: Overloaded)"


async def test_error_of_the_provider_without_a_word_is_told_by_its_status() -> None:
    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=503, text="<html>", content_type="text/html")

    async with lab(provider) as door:
        assert (await door.post())[0] == 503
        assert door.doors.model.failure == "the upstream answered 503"


async def test_refused_request_after_a_call_of_a_tool_ends_the_turn_with_a_failure() -> None:
    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        return await streaming(request, OPENING, ending("tool_use"))

    async with lab(provider) as door:
        await door.post()
        assert not door.doors.model.turn_over
        await door.post({**BODY, "container": "c"})
        assert door.doors.model.turn_over
        assert "container" in door.doors.model.failure


async def test_upstream_that_is_down_is_one_clear_502() -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    async with lab(base_url=url) as door:
        status, body = await door.post()
        event = await door.records.wait()

    assert status == 502
    assert isinstance(body, dict)
    assert body["error"] == {"type": "api_error", "message": f"EleAgent: {event.reason}"}
    assert url in event.reason
    assert "\n" not in event.reason


async def test_redirect_of_the_upstream_is_not_followed() -> None:
    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})

    async with lab(provider) as door:
        assert (await door.post())[0] == 502
        assert "redirects" in (await door.records.wait()).reason


async def test_stream_that_the_upstream_breaks_off_ends_with_an_error_event() -> None:
    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        response = await streaming(request, OPENING)
        assert request.transport
        request.transport.close()
        return response

    async with lab(provider) as door:
        status, body = await door.post()
        event = await door.records.wait()

    assert status == 200
    assert isinstance(body, bytes)
    assert b"event: error\n" in body
    assert "broke off" in event.reason
    assert event.usage.input_tokens == 7
    assert door.doors.model.failure == event.reason


async def test_request_that_the_agent_breaks_off_ends_upstream_too_and_is_recorded() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        while request.transport is not None:
            await asyncio.sleep(0.005)
        left.set()
        return web.Response()

    async with lab(provider) as door:
        request = asyncio.ensure_future(door.post())
        await asked.wait()
        assert not door.doors.model.turn_over
        request.cancel()
        event = await door.records.wait()
        await left.wait()

    assert event.reason == "broken off by the agent"
    assert event.allowed


async def test_event_is_kept_though_the_agent_hangs_up_while_it_is_written() -> None:
    async with lab(script=SCRIPT) as door:
        door.records.slow_s = 0.1
        assert (await door.post())[0] == 200
        await door.agent.close()
        await asyncio.sleep(0.02)
        await door.doors.close()

        assert [event.stop_reason for event in door.records.models] == ["tool_use"]


async def test_close_breaks_off_what_is_under_way_records_it_and_frees_the_port() -> None:
    asked = asyncio.Event()

    async def provider(request: web.BaseRequest) -> web.StreamResponse:
        response = await streaming(request, OPENING)
        asked.set()
        await asyncio.sleep(3600)
        return response

    async with lab(provider) as door:
        request = asyncio.ensure_future(door.post())
        await asked.wait()
        await asyncio.wait_for(door.doors.close(), 3)

        assert [event.reason for event in door.records.models] == ["broken off by the gateway"]
        with pytest.raises(aiohttp.ClientError):
            await request
        with pytest.raises(aiohttp.ClientError):
            await door.post()


async def test_listener_is_not_read_beyond_the_limit_of_connections() -> None:
    async with lab(script=SCRIPT) as door:
        host, port = "127.0.0.1", int(door.url.rpartition(":")[2])
        held = [await asyncio.open_connection(host, port) for _ in range(CONNECTION_LIMIT)]
        late_reader, late_writer = await asyncio.open_connection(host, port)
        late_writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(late_reader.read(1), 0.2)
        held[0][1].close()
        assert (await late_reader.read(15)) == b"HTTP/1.1 200 OK"
        for _, writer in [*held[1:], (late_reader, late_writer)]:
            writer.close()


async def test_nothing_passes_while_nothing_can_be_recorded() -> None:
    async with lab(script=SCRIPT) as door:
        door.records.broken = True
        assert (await door.post())[0] == 200
        status, body = await door.post()
        assert status == 403
        assert "recorded" in str(body)
        door.records.broken = False
        assert [(await door.post())[0], (await door.post())[0]] == [403, 200]


async def test_policy_without_a_model_refuses() -> None:
    async with lab(script=SCRIPT, policy=Policy(name="mute", model=False)) as door:
        assert (await door.post())[0] == 403
        assert (await door.records.wait()).rule == "mute: model"


async def test_script_answers_behind_the_same_door() -> None:
    async with lab(script=SCRIPT) as door:
        await door.post()
        over = door.doors.model.turn_over
        await door.post({**BODY, "messages": [{"role": "assistant", "content": "x"}]})
        counted = await door.post(path="/v1/messages/count_tokens?beta=true")
        events = [await door.records.wait(3), *door.records.models]

    assert [event.stop_reason for event in events[1:]] == ["tool_use", "end_turn", ""]
    assert {event.upstream for event in events} == {"script"}
    assert isinstance(counted[1], dict)
    assert counted[1]["input_tokens"] > 0
    assert (over, door.doors.model.turn_over, door.doors.model.failure) == (False, True, "")
    assert door.doors.model.usage.requests == 3


def test_check_names_the_upstream_or_what_is_missing() -> None:
    bare, keyed = Gateway(credential=None), Gateway(credential=Credential.api_key(REAL_KEY))

    assert keyed.check(Terms(session="s", policy=MODEL_ONLY)) == "https://api.anthropic.com"
    assert bare.check(Terms(session="s", policy=MODEL_ONLY, model_script=SCRIPT)) == "script"
    assert bare.check(Terms(session="s", policy=Policy(name="mute", model=False))) == ""
    with pytest.raises(CredentialMissing, match=r"ANTHROPIC_API_KEY.*--model-script"):
        bare.check(Terms(session="s", policy=MODEL_ONLY))
    with pytest.raises(BadRequest, match="model script"):
        keyed.check(Terms(session="s", policy=MODEL_ONLY, model_script="["))


@pytest.mark.parametrize("url", ["http://api.anthropic.com", "http://10.0.0.1", "ftp://x", "https://u:p@x", "x", ""])
def test_base_url_that_would_show_the_credential_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Gateway(credential=Credential.api_key(REAL_KEY), base_url=url)


async def test_provider_at_a_private_address_is_not_asked() -> None:
    class Rebound:
        async def resolve(self, host: str, port: int) -> list[str]:
            return ["93.184.216.34", "10.0.0.1"]

        async def connect(self, address: str, port: int) -> Any:
            raise AssertionError("it was connected to")

        async def own_addresses(self) -> frozenset[Any]:
            return frozenset()

    gateway = Gateway(credential=Credential.api_key(REAL_KEY), base_url="https://provider.example", network=Rebound())
    here, records = socket.create_server(("127.0.0.1", 0)), Records()
    url = f"http://127.0.0.1:{here.getsockname()[1]}"
    doors = await gateway.open({"model": here}, Terms(session="s", policy=MODEL_ONLY), records)
    async with aiohttp.ClientSession() as agent:
        status, body = await Lab(url, doors, records, agent).post()
    await doors.close()
    await gateway.close()

    assert status == 502
    assert "10.0.0.1" in str(body)


@pytest.mark.parametrize(("allows", "status"), [(True, 200), (False, 403)])
async def test_credential_is_used_as_a_person_says_where_the_policy_asks(allows: bool, status: int) -> None:
    policy = Policy(name="asking", approvals=ApprovalRules(credentials=True))
    async with lab(script=SCRIPT, policy=policy) as door:
        door.records.allows = allows
        got, body = await door.post()
        await door.records.wait()
    assert got == status
    assert [(wall.kind, wall.subject) for wall in door.records.walls] == [("credential", "model:script")]
    if not allows:
        assert isinstance(body, dict)
        assert "denied by ada" in body["error"]["message"]
        assert door.records.models[-1].rule == "approval a-1"
