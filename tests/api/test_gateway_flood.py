"""What does a session that floods or holds its doors cost the others, the record and the log?"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent_daemon.domain.doors import PLACEHOLDER_KEY, Terms
from eleagent_daemon.domain.policy import MODEL_ONLY
from eleagent_daemon.gateway.connection import Patience
from eleagent_daemon.gateway.model import CONNECTION_LIMIT, ModelDoor
from eleagent_daemon.gateway.record import BURST, Recorder, SessionView
from eleagent_daemon.gateway.script import ScriptUpstream, parse_script
from eleagent_daemon.gateway.service import Gateway, GatewayDoors

from ..doorsink import Admitting

SCRIPT = '[[step]]\ntext = "Done."\n'
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    f"x-api-key: {PLACEHOLDER_KEY}\r\nContent-Length: {{}}\r\n\r\n"
)

QUICK = Patience(head_s=0.2, idle_s=0.5, body_s=1.0, body_rate=1 << 20)


@dataclass
class Records(Admitting):
    payloads: list[EgressModel | EgressTunnel | SecurityFinding] = field(default_factory=list)

    async def record(self, payload: EgressModel | EgressTunnel | SecurityFinding, *, admitted: bool) -> None:
        self.payloads.append(payload)

    @property
    def models(self) -> list[EgressModel]:
        return [payload for payload in self.payloads if isinstance(payload, EgressModel)]

    def counted(self, rule: str) -> int:
        """Attempts, as the events tell them."""
        return sum(p.count for p in self.payloads if not isinstance(p, SecurityFinding) and p.rule == rule)


@dataclass
class Session:
    ports: dict[str, int]
    doors: GatewayDoors
    records: Records

    async def connect(self, name: str = "model") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.ports[name])


@asynccontextmanager
async def session(gateway: Gateway) -> AsyncIterator[Session]:
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in ("model", "tunnel")}
    records = Records()
    doors = await gateway.open(listeners, Terms("s", MODEL_ONLY, SCRIPT), records)
    yield Session({name: one.getsockname()[1] for name, one in listeners.items()}, doors, records)
    await doors.close()


@asynccontextmanager
async def patient(patience: Patience) -> AsyncIterator[tuple[Session, Records]]:
    listener, records, view = socket.create_server(("127.0.0.1", 0)), Records(), SessionView()
    recorder = Recorder(records)
    door = ModelDoor(
        listener=listener,
        policy=MODEL_ONLY,
        upstream=ScriptUpstream(parse_script(SCRIPT)),
        recorder=recorder,
        view=view,
        turns=asyncio.Semaphore(1),
        ask=records.ask,
        patience=patience,
    )
    doors = GatewayDoors(doors=[door], recorder=recorder, view=view)
    yield Session({"model": listener.getsockname()[1]}, doors, records), records
    await doors.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The status line; the rest of the answer is read too."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if lengths and b" 200 " not in head.splitlines()[0]:
        await reader.readexactly(int(lengths[0].split(b":")[1]))
    return head.splitlines()[0]


async def test_flood_of_refused_requests_is_counted_whole_in_few_events_and_slowed_down() -> None:
    sent = 0

    async def attack(one: Session, until: float) -> None:
        nonlocal sent
        reader, writer = await one.connect()
        while time.monotonic() < until:
            sent += 1
            writer.write(GET)
            assert b" 403 " in await answer(reader)
        writer.close()

    async with session(Gateway(credential=None)) as one:
        until = time.monotonic() + 2.5
        await asyncio.gather(*(attack(one, until) for _ in range(CONNECTION_LIMIT)))

    assert one.records.counted("route") == sent == one.doors.model.usage.refused
    assert BURST < sent < BURST + 5 * CONNECTION_LIMIT
    assert len(one.records.payloads) < BURST + 6


async def test_flood_of_findings_and_of_answers_from_here_is_counted_in_few_events() -> None:
    foreign = GET.replace(b"Host: x", b"Host: x\r\nAuthorization: Bearer other")
    async with session(Gateway(credential=None)) as one:
        for request in (foreign * 80, HEAD * 30):
            reader, writer = await one.connect()
            writer.write(request)
            writer.write_eof()
            await asyncio.wait([asyncio.ensure_future(reader.read())], timeout=0.5)
            writer.close()

    assert len(one.records.payloads) < BURST + 6
    told = {type(payload) for payload in one.records.payloads}
    assert told == {EgressModel, SecurityFinding}


async def test_flood_at_the_tunnel_door_is_counted_too() -> None:
    async with session(Gateway(credential=None)) as one:
        for _ in range(BURST + 30):
            _, writer = await one.connect("tunnel")
            writer.write(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n")
            writer.close()
        while one.records.counted("model-only") < BURST:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)

    tunnels = [payload for payload in one.records.payloads if isinstance(payload, EgressTunnel)]
    assert one.records.counted("model-only") > BURST
    assert len(tunnels) <= BURST + 2
    assert any(tunnel.count > 1 for tunnel in tunnels)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Api-Key: sk-ant-secret\x00\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_malformed_http_is_an_event_and_no_line_of_the_log(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with session(Gateway(credential=None)) as one:
        reader, writer = await one.connect()
        writer.write(raw)
        text = await reader.read()
        writer.close()

    assert text.startswith(b"HTTP/1.0 400 ")
    assert json.loads(text.partition(b"\r\n\r\n")[2])["error"]["message"].startswith("EleAgent: ")
    [event] = one.records.payloads
    assert isinstance(event, EgressModel)
    assert (event.allowed, event.rule, event.status) == (False, "malformed", 400)
    assert "secret" not in f"{event}{text!r}"
    assert one.doors.model.usage.refused == 1
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_malformed_framing_of_a_body_is_an_event_and_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    chunked = POST.format(0).replace("Content-Length: 0", "Transfer-Encoding: chunked").encode()
    async with patient(QUICK) as (one, records):
        reader, writer = await one.connect()
        writer.write(chunked)
        await asyncio.sleep(0.05)
        writer.write(b"nonsense\r\n")
        assert b" 400 " in await answer(reader)
        writer.close()

    assert [(event.allowed, event.status) for event in records.models] == [(False, 400)]
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_flood_of_malformed_connections_is_bounded_and_counted() -> None:
    async with session(Gateway(credential=None)) as one:
        code = (
            "import socket\n"
            "for _ in range(600):\n"
            f"    with socket.create_connection(('127.0.0.1', {one.ports['model']})) as peer:\n"
            "        peer.sendall(b'\\0\\r\\n\\r\\n')\n"
        )
        attacker = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        await asyncio.sleep(2)
        if attacker.returncode is None:
            attacker.kill()
        await attacker.wait()

    assert BURST < one.records.counted("malformed") < 420
    assert one.records.counted("malformed") == one.doors.model.usage.refused
    assert len(one.records.payloads) < BURST + 6


async def test_head_that_does_not_come_whole_is_cut_off_and_recorded() -> None:
    async with patient(QUICK) as (one, records):
        reader, writer = await one.connect()
        begun = time.monotonic()
        for byte in HEAD[:-2]:
            if reader.at_eof():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert await reader.read() == b""
        writer.close()

    assert time.monotonic() - begun < 1
    assert [(event.rule, "within 0.2 s" in event.reason) for event in records.models] == [("malformed", True)]


async def test_connection_that_says_nothing_is_closed() -> None:
    async with patient(QUICK) as (one, records):
        reader, writer = await one.connect()
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()

    assert records.payloads == []


async def test_idle_connection_is_kept_for_a_while_and_then_closed() -> None:
    async with patient(QUICK) as (one, _):
        reader, writer = await one.connect()
        for _ in range(2):
            writer.write(HEAD)
            assert b" 200 " in await answer(reader)
            await asyncio.sleep(0.3)  # longer than a head may take
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()


async def test_next_head_has_to_come_in_time_too() -> None:
    async with patient(Patience(head_s=0.2, idle_s=30)) as (one, records):
        reader, writer = await one.connect()
        writer.write(HEAD)
        assert b" 200 " in await answer(reader)
        writer.write(HEAD[:9])
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()

    assert [event.rule for event in records.models] == ["local", "malformed"]


async def test_body_that_comes_too_slowly_is_refused_and_a_slow_one_at_the_rate_is_not() -> None:
    body = json.dumps({"model": "m", "system": "x" * 700_000}).encode()
    async with patient(QUICK) as (one, records):
        reader, writer = await one.connect()
        writer.write(POST.format(len(body)).encode())
        for at in range(0, len(body), 200_000):
            writer.write(body[at : at + 200_000])
            await asyncio.sleep(0.1)
        assert b" 200 " in await answer(reader)
        writer.close()

        reader, writer = await one.connect()
        writer.write(POST.format(1000).encode() + b"{")
        begun = time.monotonic()
        assert b" 400 " in await answer(reader)
        writer.close()

    assert time.monotonic() - begun < 0.8
    assert ["too slowly" in event.reason for event in records.models] == [False, True]


async def test_ten_thousand_connects_leave_other_sessions_and_the_loop_responsive() -> None:
    gateway = Gateway(credential=None)
    async with session(gateway) as noisy, session(gateway) as quiet:
        code = (
            "import socket\n"
            "for at in range(10_000):\n"
            "    with socket.socket() as peer:\n"
            "        peer.setblocking(False)\n"
            f"        peer.connect_ex(('127.0.0.1', ({noisy.ports['model']}, {noisy.ports['tunnel']})[at % 2]))\n"
        )
        attacker = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        reader, writer = await quiet.connect()
        worst, asked = 0.0, 0
        while attacker.returncode is None or asked < 20:
            begun = time.monotonic()
            writer.write(HEAD)
            assert b" 200 " in await answer(reader)
            worst, asked = max(worst, time.monotonic() - begun), asked + 1
            await asyncio.sleep(0.02)
        assert await attacker.wait() == 0
        writer.close()

    assert worst < 0.3


async def test_heavy_bodies_of_one_session_leave_another_responsive() -> None:
    nested = b'{"model":"m","messages":[{"role":"user","content":[{"type":"tool_use","input":['
    nested += b"[[[[]]]]," * ((31 << 20) // 9) + b"0]}]}]}"
    gateway = Gateway(credential=None)
    async with session(gateway) as noisy, session(gateway) as quiet:
        attacker = subprocess.Popen(
            [sys.executable, "-c", ATTACK, str(noisy.ports["model"]), POST.format(len(nested))], stdin=subprocess.PIPE
        )
        feeding = asyncio.get_running_loop().run_in_executor(None, attacker.communicate, nested)
        reader, writer = await quiet.connect()
        worst = 0.0
        while not feeding.done():
            begun = time.monotonic()
            writer.write(HEAD)
            assert b" 200 " in await answer(reader)
            worst = max(worst, time.monotonic() - begun)
            await asyncio.sleep(0.05)
        writer.close()

    assert noisy.records.counted("body") == 2
    assert worst < 0.3


ATTACK = """
import socket, sys
body = sys.stdin.buffer.read()
for _ in range(2):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
        peer.sendall(sys.argv[2].encode() + body)
        assert b" 400 " in peer.recv(100)
"""
