"""Does the tunnel door, on real sockets, let through what policy names and nothing else?"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent_daemon.domain.addresses import Address
from eleagent_daemon.domain.doors import Ruling, Terms, Wall
from eleagent_daemon.domain.policy import MODEL_ONLY, ApprovalRules, HostRule, Policy
from eleagent_daemon.gateway.network import HostNetwork, Streams
from eleagent_daemon.gateway.record import Recorder
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.gateway.tunnel import TunnelDoor

from ..doorsink import Admitting

PUBLIC = "93.184.216.34"
OPEN = Policy(name="open", tunnel=(HostRule("a.example", 443), HostRule(".b.example", 8443)))
ASKING = Policy(name="asking", tunnel=(HostRule("a.example", 443),), approvals=ApprovalRules(hosts=True, hold_s=7))
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class Lab(Admitting):
    """The door's network: names resolve to `addresses`, and every connection ends at a server on this loopback.
    It also is the sink of the door's events."""

    port: int = 0
    server_port: int = 0
    addresses: list[str] = field(default_factory=lambda: [PUBLIC])
    own: frozenset[Address] = frozenset()
    looked_up: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    served: asyncio.Queue[Streams] = field(default_factory=asyncio.Queue)
    events: list[EgressTunnel] = field(default_factory=list)
    findings: list[SecurityFinding] = field(default_factory=list)
    slow_s: float = 0
    walls: list[Wall] = field(default_factory=list)
    allows: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The server's side of a tunnel."""
        self.writers.append(writer)
        self.served.put_nowait((reader, writer))

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    async def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        await asyncio.sleep(self.slow_s)
        if not self.addresses:
            raise socket.gaierror("no such name")
        return self.addresses

    async def connect(self, address: str, port: int) -> Streams:
        self.connected.append(f"{address}:{port}")
        return await asyncio.open_connection("127.0.0.1", self.server_port)

    async def own_addresses(self) -> Collection[Address]:
        return self.own

    async def record(self, payload: EgressModel | EgressTunnel | SecurityFinding, *, admitted: bool) -> None:
        if isinstance(payload, EgressTunnel):
            self.events.append(payload)
        elif isinstance(payload, SecurityFinding):
            self.findings.append(payload)

    async def person(self, wall: Wall) -> Ruling:
        self.walls.append(wall)
        await self.answered.wait()
        return Ruling(self.allows, "a-1", f"{wall.kind} {wall.subject} was {'allowed' if self.allows else 'denied'}")

    async def event(self) -> EgressTunnel:
        while not self.events:
            await asyncio.sleep(0.005)
        return self.events[0]

    async def ask(self, target: str = "a.example:443", head: bytes | None = None) -> tuple[Streams, bytes]:
        """The agent's side: the streams, and the first piece of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(head or f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        return (reader, writer), await reader.read(65536)

    async def tunnel(self, hello: bytes) -> tuple[Streams, Streams]:
        agent, answer = await self.ask()
        assert answer == ESTABLISHED
        agent[1].write(hello)
        return agent, await self.served.get()


@asynccontextmanager
async def lab(policy: Policy = OPEN, *, idle_s: float = 60) -> AsyncIterator[Lab]:
    found = Lab()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.server_port = server.sockets[0].getsockname()[1]
    listener = socket.create_server(("127.0.0.1", 0))
    found.port = listener.getsockname()[1]
    door = TunnelDoor(
        listener=listener, policy=policy, network=found, recorder=Recorder(found), ask=found.person, idle_s=idle_s
    )
    try:
        yield found
    finally:
        await door.close()
        server.close()
        found.close()


def hello(name: str | None = "a.example") -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


async def test_allowed_host_is_reached_at_the_checked_address_and_counted() -> None:
    first = hello()
    async with lab() as door:
        (reader, writer), (there, back) = await door.tunnel(first)
        assert await there.readexactly(len(first)) == first
        back.write(b"answer")
        assert await reader.readexactly(6) == b"answer"
        writer.close()
        back.close()
        event = await door.event()

    assert (door.looked_up, door.connected) == (["a.example"], [f"{PUBLIC}:443"])
    assert (event.allowed, event.rule, event.host, event.port) == (True, "a.example:443", "a.example", 443)
    assert (event.address, event.bytes_up, event.bytes_down) == (PUBLIC, len(first), 6)
    assert door.findings == []


async def test_nothing_is_looked_up_before_the_audit_log_has_it() -> None:
    async with lab() as door:
        (_, writer), (_, back) = await door.tunnel(hello())
        writer.close()
        back.close()
        event = await door.event()
    assert [(one.door, one.target) for one in door.admitted] == [("tunnel", "a.example:443")]
    assert door.settled == {1: event}
    async with lab() as door:
        door.unwritable = True
        _, answer = await door.ask()
        event = await door.event()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert (door.looked_up, door.connected, door.settled) == ([], [], {})
    assert (event.allowed, event.rule) == (False, "record")


async def test_half_close_is_handed_on_each_way() -> None:
    first = hello()
    async with lab() as door:
        (reader, writer), (there, back) = await door.tunnel(first)
        writer.write_eof()
        assert await there.read() == first
        back.write(b"x" * 1_000_000)
        back.write_eof()
        assert len(await reader.read()) == 1_000_000
        assert (await door.event()).bytes_down == 1_000_000


async def test_slow_reader_holds_the_sender_back() -> None:
    async with lab() as door:
        (reader, _), (_, back) = await door.tunnel(hello())
        written = 0

        async def flood() -> None:
            nonlocal written
            while written < 256 << 20:
                back.write(b"x" * 65536)
                written += 65536
                await asyncio.wait_for(back.drain(), 0.3)

        with pytest.raises(TimeoutError):  # the kernel's and the gateway's buffers are full
            await flood()
        while written:
            written -= len(await reader.read(1 << 20))


@pytest.mark.parametrize("target", ["c.example:443", "a.example:444", "x.a.example:443", "xb.example:8443"])
async def test_host_that_no_rule_names_is_refused_without_a_lookup(target: str) -> None:
    async with lab() as door:
        _, answer = await door.ask(target)
        event = await door.event()

    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert f"EleAgent: {target} is refused: no rule of policy open names it\n".encode() in answer
    assert (event.allowed, event.rule) == (False, "open")
    assert door.looked_up == door.connected == []


@pytest.mark.parametrize("target", ["api.anthropic.com:443", "a.example:443"])
async def test_model_only_points_to_the_model_door(target: str) -> None:
    async with lab(MODEL_ONLY) as door:
        _, answer = await door.ask(target)

    assert answer.startswith(b"HTTP/1.1 403")
    assert b"through the model door alone" in answer
    assert door.looked_up == []


async def test_suffix_rule_takes_in_what_is_below() -> None:
    async with lab() as door:
        assert (await door.ask("X.B.example.:8443"))[1] == ESTABLISHED


@pytest.mark.parametrize(
    ("head", "status", "rule"),
    [
        (b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 403, "method"),
        (b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n", 403, "address"),
        (b"CONNECT 0x7f.1:443 HTTP/1.1\r\n\r\n", 403, "address"),
        (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", 400, "malformed"),
        (b"CONNECT a.example:443 HTTP/1.1\nHost: a.example\n\r\n\r\n", 400, "malformed"),
        (b"CONNECT a.example:443 HTTP/1.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 400, "malformed"),
    ],
)
async def test_head_that_is_no_proper_connect_is_refused_and_recorded(head: bytes, status: int, rule: str) -> None:
    async with lab() as door:
        _, answer = await door.ask(head=head)
        event = await door.event()

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\n\r\nEleAgent: " in answer
    assert (event.allowed, event.rule) == (False, rule)
    assert door.looked_up == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        [PUBLIC, "10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["2002:7f00:1::"],
        ["93.184.216.9"],
    ],
)
async def test_name_with_any_address_that_is_denied_is_not_connected_to(addresses: list[str]) -> None:
    async with lab() as door:
        door.addresses, door.own = addresses, frozenset({IPv4Address("93.184.216.9")})
        _, answer = await door.ask()
        event = await door.event()

    assert answer.startswith(b"HTTP/1.1 403")
    assert (event.allowed, event.rule, event.address) == (False, "address", "")
    assert addresses[-1] in event.reason
    assert door.connected == []


async def test_name_that_does_not_resolve_is_a_502() -> None:
    async with lab() as door:
        door.addresses = []
        _, answer = await door.ask()

    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway")


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (hello("b.example"), "its TLS name is 'b.example'"),
        (hello(None), "its TLS name is absent"),
        (b"GET / HTTP/1.1\r\n\r\n", "it is not TLS"),
        (b"\x16\3\1", "it ended before a TLS ClientHello"),
    ],
)
async def test_tunnel_with_another_name_is_closed_before_one_byte_passes(first: bytes, said: str) -> None:
    async with lab() as door:
        (reader, writer), (there, _) = await door.tunnel(first)
        writer.write_eof()
        assert await reader.read() == b""
        assert await there.read() == b""
        event = await door.event()

    assert (event.allowed, event.reason, event.bytes_up) == (False, said, 0)
    assert [(finding.kind, said in finding.detail) for finding in door.findings] == [("sni_mismatch", True)]


async def test_idle_tunnel_is_closed_and_a_busy_one_is_not() -> None:
    async with lab(idle_s=0.3) as door:
        (reader, writer), (_, back) = await door.tunnel(hello())
        for _ in range(5):
            await asyncio.sleep(0.1)
            back.write(b"x")
            assert await reader.readexactly(1) == b"x"
        assert await reader.read() == b""
        writer.close()
        assert (await door.event()).reason == "idle for 0.3 s"


async def test_peer_that_resets_ends_the_tunnel_on_both_sides() -> None:
    async with lab() as door:
        (reader, _), (_, back) = await door.tunnel(hello())
        back.transport.abort()
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(1)


async def test_close_breaks_off_tunnels_and_records_them() -> None:
    found = Lab()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.server_port = server.sockets[0].getsockname()[1]
    listener = socket.create_server(("127.0.0.1", 0))
    found.port = listener.getsockname()[1]
    doors = await Gateway(credential=None, network=found).open({"tunnel": listener}, Terms("s", OPEN), found)
    (reader, _), (there, _) = await found.tunnel(hello())
    await there.read(1)

    await asyncio.wait_for(doors.close(), 3)

    assert [event.reason for event in found.events] == ["broken off by the gateway"]
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", found.port)
    found.close()
    server.close()


async def test_close_while_a_name_is_looked_up_is_recorded() -> None:
    async with lab() as door:
        door.slow_s = 3600
        asking = asyncio.ensure_future(door.ask())
        while not door.looked_up:
            await asyncio.sleep(0.005)

    await asking
    assert [(event.allowed, event.reason) for event in door.events] == [(False, "broken off by the gateway")]
    door.close()


async def test_hosts_own_addresses_are_known() -> None:
    assert IPv4Address("127.0.0.1") in await HostNetwork().own_addresses()


# Where the policy asks


async def test_host_that_no_rule_names_passes_when_a_person_allows_it() -> None:
    async with lab(ASKING) as door:
        door.allows = True
        asking = asyncio.create_task(door.ask("new.example:443"))
        while not door.walls:
            await asyncio.sleep(0.005)
        assert not asking.done(), "its connection is held"
        assert door.looked_up == [], "and nothing is looked up"
        door.answered.set()
        agent, answer = await asking
        assert answer == ESTABLISHED
        agent[1].write(hello("new.example"))
        _, back = await door.served.get()
        agent[1].close()
        back.close()
        event = await door.event()
    assert (event.allowed, event.rule) == (True, "approval a-1")
    assert [(wall.kind, wall.subject, wall.hold_s) for wall in door.walls] == [("host", "new.example:443", 7)]


async def test_host_that_a_person_denies_gets_one_clear_403() -> None:
    async with lab(ASKING) as door:
        door.answered.set()
        _, answer = await door.ask("new.example:443")
        event = await door.event()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"host new.example:443 was denied" in answer
    assert (event.allowed, event.rule, door.looked_up, door.connected) == (False, "approval a-1", [], [])


async def test_person_is_not_asked_for_what_a_rule_names_or_policy_refuses() -> None:
    async with lab(ASKING) as door:
        await door.tunnel(hello())
        _, answer = await door.ask("10.0.0.1:443")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert door.walls == []
    async with lab() as door:
        await door.ask("new.example:443")
        assert door.walls == []


async def test_address_that_is_never_reachable_stays_so_whoever_allows_its_name() -> None:
    async with lab(ASKING) as door:
        door.allows, door.addresses = True, ["169.254.169.254"]
        door.answered.set()
        _, answer = await door.ask("new.example:443")
        assert b"never reachable from a sandbox" in answer
        assert door.connected == []


async def test_agent_that_left_while_a_person_was_asked_is_no_finding() -> None:
    async with lab(ASKING) as door:
        door.allows = True
        asking = asyncio.create_task(door.ask("new.example:443"))
        while not door.walls:
            await asyncio.sleep(0.005)
        door.writers[-1].write_eof()
        await asyncio.sleep(0.02)
        door.answered.set()
        event = await door.event()
        await asking
    assert (event.allowed, door.findings, door.connected) == (False, [], [])
    assert "it left while a person was asked" in event.reason
