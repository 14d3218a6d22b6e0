"""Where may a session tunnel to? The CONNECT door holds host, port and the TLS name, which is all that it can see."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from eleagent.errors import LimitReached, Refused
from eleagent.wire.approvals import ApprovalKind
from eleagent.wire.events import EgressTunnel, SecurityFinding
from eleagent_daemon.domain.doors import Attempt, Purse, Unbounded
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.gateway.accept import Acceptor
from eleagent_daemon.gateway.asking import AskPerson, ask_person
from eleagent_daemon.gateway.clienthello import HELLO_LIMIT_BYTES, NotAClientHello, read_client_hello
from eleagent_daemon.gateway.connect import parse_connect, read_head
from eleagent_daemon.gateway.denial import Denied
from eleagent_daemon.gateway.network import STREAM_LIMIT_BYTES, Network, Streams, checked_addresses
from eleagent_daemon.gateway.record import Recorder, elapsed_ms

HELLO_S: Final = 5.0
IDLE_S: Final = 120.0
FLUSH_S: Final = 5.0
CONNECTION_LIMIT: Final = 40
PIECE_BYTES: Final = 64 * 1024


@dataclass
class Tunnel:
    """One CONNECT, while it goes on."""

    host: str = ""
    port: int = 0
    allowed: bool = False
    admitted: int | None = None
    rule: str = ""
    address: str = ""
    reason: str = ""
    bytes_up: int = 0
    bytes_down: int = 0
    started: float = field(default_factory=time.monotonic)

    def event(self) -> EgressTunnel:
        return EgressTunnel(
            allowed=self.allowed,
            rule=self.rule,
            host=self.host,
            port=self.port,
            address=self.address,
            reason=self.reason,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            duration_ms=elapsed_ms(self.started),
        )


class WrongName(Refused):
    """What came first through a tunnel is not TLS to the host that was asked for."""


class TunnelDoor:
    """Serves one session's tunnel listener until it is closed."""

    def __init__(
        self,
        *,
        listener: socket.socket,
        policy: Policy,
        network: Network,
        recorder: Recorder,
        purse: Purse = Unbounded(),  # noqa: B008 - it has no state
        ask: AskPerson,
        idle_s: float = IDLE_S,
    ) -> None:
        self._policy = policy
        self._network = network
        self._recorder = recorder
        self._purse = purse
        self._ask = ask
        self._idle_s = idle_s
        self._under_way: set[asyncio.Task[None]] = set()
        self._acceptor = Acceptor(listener=listener, factory=self._protocol, limit=CONNECTION_LIMIT)

    async def close(self) -> None:
        """What is under way is broken off and recorded as such."""
        await self._acceptor.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _protocol(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=STREAM_LIMIT_BYTES), self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream's callback runs in a task
        self._under_way.add(task)
        try:
            head = await read_head(reader)
            if head is not None:
                await self._tunnel(head, (reader, writer))
        except Denied as denied:
            await self._recorder.record(Tunnel(rule=denied.rule, reason=denied.message).event())
            _say_no(denied, writer)
        except (asyncio.CancelledError, OSError):
            writer.transport.abort()
        finally:
            await _finish(writer)
            self._under_way.discard(task)
            self._acceptor.released()

    async def _tunnel(self, head: bytes, here: Streams) -> None:
        tunnel = Tunnel()
        try:
            self._recorder.check()
            tunnel.host, tunnel.port = parse_connect(head)
            tunnel.rule = await self._decide(tunnel.host, tunnel.port, here[0])
            attempt = Attempt(door="tunnel", rule=tunnel.rule, host=tunnel.host, port=tunnel.port)
            tunnel.admitted = await self._recorder.admit(attempt)
            there = await self._connect(tunnel)
            try:
                await self._carry(tunnel, here, there)
            finally:
                await _finish(there[1])
        except Denied as denied:
            tunnel.rule, tunnel.reason = denied.rule, denied.message
            _say_no(denied, here[1])
        except WrongName as wrong:
            tunnel.allowed, tunnel.reason = False, wrong.message
            detail = f"a tunnel to {tunnel.host}:{tunnel.port} was closed: {wrong.message}"
            await self._recorder.record(SecurityFinding(kind="sni_mismatch", detail=detail))
            here[1].transport.abort()
        except LimitReached as limit:
            tunnel.reason = f"broken off: {limit.message}"
            here[1].transport.abort()
        except asyncio.CancelledError:
            tunnel.reason = "broken off by the gateway"
            raise
        except OSError as error:
            tunnel.reason = f"broken off: {error}"
            here[1].transport.abort()
        finally:
            await self._recorder.record(tunnel.event(), admitted=tunnel.admitted)

    async def _carry(self, tunnel: Tunnel, here: Streams, there: Streams) -> None:
        tunnel.allowed = True
        here[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        hello = await self._first_words(tunnel, here[0])
        await self._purse.send(len(hello))
        there[1].write(hello)
        tunnel.bytes_up += len(hello)
        await self._pump(tunnel, here, there)

    async def _decide(self, host: str, port: int, reader: asyncio.StreamReader) -> str:
        """By policy, and by a person where it says so: a name that is denied is never looked up."""
        rule = self._policy.tunnel_rule(host, port)
        if rule is not None:
            return str(rule)
        name = self._policy.name
        if self._policy.approvals.hosts:
            why = f"no rule of policy {name} names it"
            allowed = await ask_person(self._ask, self._policy, ApprovalKind.HOST, f"{host}:{port}", why)
            if reader.at_eof():
                raise ConnectionAbortedError("it left while a person was asked")
            return allowed
        if not self._policy.tunnel:
            raise Denied(
                name,
                f"EleAgent: {host}:{port} is refused: under policy {name} nothing passes the tunnel door; "
                "the provider is reachable through the model door alone (ANTHROPIC_BASE_URL)",
            )
        raise Denied(name, f"EleAgent: {host}:{port} is refused: no rule of policy {name} names it")

    async def _connect(self, tunnel: Tunnel) -> Streams:
        addresses = await checked_addresses(self._network, tunnel.host, tunnel.port)
        for address in addresses:
            with suppress(OSError):
                there = await self._network.connect(address, tunnel.port)
                tunnel.address = address
                return there
        raise Denied(tunnel.rule, f"EleAgent: {tunnel.host}:{tunnel.port} does not answer", http_status=502)

    async def _first_words(self, tunnel: Tunnel, reader: asyncio.StreamReader) -> bytes:
        """The bytes that hold the ClientHello. Nothing of them goes on before they are judged."""
        data = b""
        try:
            async with asyncio.timeout(HELLO_S):
                while (hello := read_client_hello(data)) is None:
                    piece = await reader.read(HELLO_LIMIT_BYTES)
                    if not piece:
                        raise WrongName("it ended before a TLS ClientHello")
                    data += piece
        except TimeoutError as error:
            raise WrongName(f"no TLS ClientHello came within {HELLO_S:.0f} s") from error
        except NotAClientHello as error:
            raise WrongName(str(error)) from error
        if hello.encrypted:
            raise WrongName("its ClientHello is encrypted (ECH)")
        if hello.server_name.removesuffix(".") != tunnel.host:
            raise WrongName(f"its TLS name is {ascii(hello.server_name[:120]) if hello.server_name else 'absent'}")
        return data

    async def _pump(self, tunnel: Tunnel, here: Streams, there: Streams) -> None:
        loop = asyncio.get_running_loop()

        async def up(count: int) -> None:
            idle.reschedule(None)  # a person may be asked how much may leave
            await self._purse.send(count)
            tunnel.bytes_up += count
            idle.reschedule(loop.time() + self._idle_s)

        async def down(count: int) -> None:
            tunnel.bytes_down += count
            idle.reschedule(loop.time() + self._idle_s)

        try:
            async with asyncio.timeout(self._idle_s) as idle, asyncio.TaskGroup() as both:
                both.create_task(_copy(here[0], there[1], up))
                both.create_task(_copy(there[0], here[1], down))
        except* TimeoutError:
            tunnel.reason = f"idle for {self._idle_s:g} s"
        except* OSError as errors:
            tunnel.reason = f"broken off: {errors.exceptions[0]}"
        except* LimitReached as limits:
            tunnel.reason = f"broken off: {limits.exceptions[0]}"


def _say_no(denied: Denied, writer: asyncio.StreamWriter) -> None:
    body = f"{denied.message}\n".encode()
    status = f"{denied.http_status} {HTTPStatus(denied.http_status).phrase}"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moving: Callable[[int], Awaitable[None]]
) -> None:
    """Until end of file, which is handed on as a half-close. It reads no more than the other side takes, and writes
    what `moving` has let pass.
    """
    while data := await reader.read(PIECE_BYTES):
        await moving(len(data))
        writer.write(data)
        await writer.drain()
    with suppress(OSError):  # the other side is gone altogether: nothing is left to tell it
        writer.write_eof()


async def _finish(writer: asyncio.StreamWriter) -> None:
    """Close after what was written; a peer that takes nothing is cut off."""
    writer.close()
    try:
        async with asyncio.timeout(FLUSH_S):
            await writer.wait_closed()
    except (OSError, asyncio.CancelledError):
        writer.transport.abort()
