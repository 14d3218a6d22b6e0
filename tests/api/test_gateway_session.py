"""Can a session do with itself what its own door is for, with its own token alone, and nothing else?"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from eleagent.errors import NotFound
from eleagent.operations.inside import INSIDE
from eleagent.operations.operation import Operation
from eleagent.operations.table import OPERATIONS
from eleagent.roles import SESSION_TOKEN
from eleagent.wire.approvals import ApprovalState
from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent.wire.inside import OwnApproval, OwnSession, Question, Told
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import State, Usage
from eleagent_daemon.domain.doors import Terms
from eleagent_daemon.domain.policy import MODEL_ONLY
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.gateway.session import BODY_LIMIT_BYTES, BURST
from eleagent_daemon.identity import opaque
from eleagent_daemon.identity.keyring import Key, Keyring, Keys
from eleagent_daemon.identity.sessiontokens import SessionTokens

from ..doorsink import Admitting

KEY, OTHER = "s-aaaaaaaaaa", "s-bbbbbbbbbb"
PEPPERS = [Key(id=str(one), secret=bytes([one]) * 32, created=0) for one in range(2)]
TOKENS = SessionTokens(keyring=Keyring(keys=Keys(signing=[], peppers=PEPPERS)))


@dataclass
class Own:
    """A session in memory."""

    did: list[Any] = field(default_factory=list)

    def read(self) -> OwnSession:
        self.did.append("read")
        return OwnSession(
            key=KEY, name="", state=State.RUNNING, agent="command", owner="ada", project="default", policy="p",
            created="", started=None, timeout_s=None, limits=SessionLimits(), usage=Usage(),
        )  # fmt: skip

    async def report(self, text: str) -> Told:
        self.did.append(text)
        return Told(State.RUNNING)

    async def ask(self, question: Question) -> OwnApproval:
        self.did.append(question)
        return OwnApproval(id="a-1", subject=question.subject, state=ApprovalState.OPEN, expires=None, comment="")

    async def approval(self, identifier: str, wait_s: float) -> OwnApproval:
        self.did.append((identifier, wait_s))
        if identifier != "a-1":
            raise NotFound(f"this session has no question {identifier!r}")
        return OwnApproval(id="a-1", subject="x", state=ApprovalState.ALLOWED, expires=None, comment="")

    async def end(self) -> Told:
        self.did.append("end")
        return Told(State.STOPPING)


@dataclass
class Records(Admitting):
    payloads: list[EgressModel | EgressTunnel | SecurityFinding] = field(default_factory=list)

    async def record(self, payload: EgressModel | EgressTunnel | SecurityFinding, *, admitted: bool) -> None:
        self.payloads.append(payload)


@dataclass
class Lab:
    url: str
    own: Own
    records: Records
    agent: aiohttp.ClientSession

    async def ask(
        self, method: str, path: str, *, token: str | None = TOKENS.of(KEY, 1)[0], **more: Any
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self.agent.request(method, self.url + path, headers=headers, **more) as answer:
            return answer.status, json.loads(await answer.read())


@asynccontextmanager
async def lab() -> AsyncIterator[Lab]:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    own, records = Own(), Records()
    gateway = Gateway(credential=None)
    terms = Terms(session=KEY, policy=MODEL_ONLY, tokens=tuple(TOKENS.of(KEY, 1)))
    doors = await gateway.open({"session": listener}, terms, records, own=own)
    async with aiohttp.ClientSession() as agent:
        yield Lab(url=url, own=own, records=records, agent=agent)
    await doors.close()


@pytest.fixture
async def door() -> AsyncIterator[Lab]:
    async with lab() as one:
        yield one


async def test_session_reads_reports_asks_and_ends_itself(door: Lab) -> None:
    assert (await door.ask("GET", "/v1/session"))[1]["key"] == KEY
    assert await door.ask("POST", "/v1/session/reports", json={"text": "half"}) == (202, {"state": "running"})
    status, asked = await door.ask("POST", "/v1/session/approvals", json={"subject": "deploy", "why": "green"})
    assert (status, asked["state"]) == (202, "open")
    assert (await door.ask("GET", "/v1/session/approvals/a-1?wait_s=600"))[1]["state"] == "allowed"
    assert await door.ask("POST", "/v1/session/end") == (202, {"state": "stopping"})
    assert door.own.did == ["read", "half", Question("deploy", "green"), ("a-1", 60), "end"]
    assert door.records.payloads == []


def _body(operation: Operation) -> dict[str, Any]:
    return {"json": {}} if operation.body is not None else {}


FOREIGN = {
    "nobody": None,
    "another session's": TOKENS.of(OTHER, 1)[0],
    "this session's of another start": TOKENS.of(KEY, 2)[0],
    "another daemon's": opaque.derive("est", "s0aaaaaaaaaa", b"x" * 32).text,
    "an API key": opaque.make("eak").text,
    "empty": "",
    "longer": TOKENS.of(KEY, 1)[0] + "0",
    "no ascii": "ü",
}


@pytest.mark.parametrize("name", FOREIGN)
async def test_door_is_shut_to_every_token_but_its_sessions(door: Lab, name: str) -> None:
    for operation in INSIDE:
        path = operation.url(**dict.fromkeys(operation.parameters, "a-1"))
        status, problem = await door.ask(operation.method, path, token=FOREIGN[name], **_body(operation))
        assert (status, problem["code"]) == (401, "unauthenticated")
    assert door.own.did == []
    assert {payload.type for payload in door.records.payloads} == {"security.finding"}


async def test_door_opens_to_what_a_sandbox_got_before_the_keys_were_replaced(door: Lab) -> None:
    assert (await door.ask("GET", "/v1/session", token=TOKENS.of(KEY, 1)[1]))[0] == 200


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
async def test_door_has_no_operation_of_the_api(door: Lab, operation: Operation) -> None:
    for name in (KEY, OTHER):
        path = operation.url(**dict.fromkeys(operation.parameters, name))
        status, problem = await door.ask(operation.method, path, **_body(operation))
        assert (status, problem["code"]) == (404, "not_found")
    assert door.own.did == []


def test_operations_of_the_door_are_what_the_token_is_for() -> None:
    assert {operation.permission for operation in INSIDE} == SESSION_TOKEN
    assert not {(one.method, one.path) for one in INSIDE} & {(one.method, one.path) for one in OPERATIONS}


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("POST", "/v1/session/reports", {"data": b"{"}, 400),
        ("POST", "/v1/session/reports", {"json": {"text": 1}}, 400),
        ("POST", "/v1/session/reports", {"json": {"text": "x", "session": OTHER}}, 400),
        ("POST", "/v1/session/reports", {"data": b" " * (BODY_LIMIT_BYTES + 1)}, 413),
        ("GET", "/v1/session?key=s-bbbbbbbbbb", {}, 400),
        ("GET", "/v1/session/approvals/a-1?wait_s=-1", {}, 400),
        ("GET", "/v1/session/approvals/a-2", {}, 404),
        ("GET", "/v1/session/", {}, 404),
        ("PUT", "/v1/session", {}, 404),
        ("GET", "/v1/session/../sessions", {}, 404),
    ],
)
async def test_door_refuses_what_is_crooked(
    door: Lab, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    assert (await door.ask(method, path, **more))[0] == status
    assert not {"read", "end"} & {one for one in door.own.did if isinstance(one, str)}


async def test_door_takes_no_flood_of_words(door: Lab) -> None:
    asked = [door.ask("POST", "/v1/session/reports", json={"text": "x"}) for _ in range(BURST + 5)]
    statuses = [status for status, _ in await asyncio.gather(*asked)]
    assert statuses.count(429) >= 3
    assert (await door.ask("POST", "/v1/session/end"))[0] == 202


async def test_door_tells_malformed_requests_apart(door: Lab) -> None:
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\0 /v1/session HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    while not door.records.payloads:
        await asyncio.sleep(0.01)


def test_tokens_are_of_one_session_and_one_start() -> None:
    made = [token for key in (KEY, OTHER) for attempt in (1, 2) for token in TOKENS.of(key, attempt)]
    assert len(set(made)) == len(made) == 8
    assert TOKENS.of(KEY, 1) == TOKENS.of(KEY, 1)
    assert all(opaque.read("est", token) for token in made)
