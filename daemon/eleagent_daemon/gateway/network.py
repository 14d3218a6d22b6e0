"""How does the gateway meet the network? It resolves a name once, checks each address and connects to a checked one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, Protocol

from eleagent_daemon.domain.addresses import Address, address_refusal
from eleagent_daemon.gateway.denial import Denied

RESOLVE_S: Final = 5.0
CONNECT_S: Final = 10.0
STREAM_LIMIT_BYTES: Final = 64 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Network(Protocol):
    """Neither method judges: `checked_addresses` does."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """All addresses of a name, in the order to be tried. Raises OSError."""

    async def connect(self, address: str, port: int) -> Streams:
        """Raises OSError (TimeoutError is one)."""

    async def own_addresses(self) -> Collection[Address]: ...


class HostNetwork:
    """The daemon's own network namespace and the host's resolver."""

    async def resolve(self, host: str, port: int) -> list[str]:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    async def connect(self, address: str, port: int) -> Streams:
        async with asyncio.timeout(CONNECT_S):
            return await asyncio.open_connection(address, port, limit=STREAM_LIMIT_BYTES)

    async def own_addresses(self) -> Collection[Address]:
        return await asyncio.to_thread(_own_addresses)


def _own_addresses() -> frozenset[Address]:
    """From /proc/net (proc(5)): in fib_trie a leaf that is followed by `/32 host LOCAL` is ours."""
    found: set[Address] = set()
    leaf = ""
    for line in _lines("/proc/net/fib_trie"):
        if line.startswith("|-- "):
            leaf = line.removeprefix("|-- ")
        elif line == "/32 host LOCAL":
            found.add(IPv4Address(leaf))
    for line in _lines("/proc/net/if_inet6"):
        found.add(IPv6Address(bytes.fromhex(line.split()[0])))
    return frozenset(found)


def _lines(path: str) -> list[str]:
    with suppress(FileNotFoundError):  # a kernel without IPv6
        return [line.strip() for line in Path(path).read_text().splitlines()]
    return []


async def checked_addresses(network: Network, host: str, port: int) -> list[str]:
    """The addresses of an allowed name. Raises Denied when it has none, or when any of them may not be connected to:
    a name that mixes public and private addresses is not to be trusted with either."""
    try:
        addresses = await network.resolve(host, port)
    except OSError as error:
        raise Denied("resolve", f"EleAgent: {host} could not be resolved", http_status=502) from error
    own = await network.own_addresses()
    for address in addresses:
        if why := address_refusal(address, own):
            raise Denied("address", f"EleAgent: {host} is at {address}, which is never reachable from a sandbox: {why}")
    if not addresses:
        raise Denied("resolve", f"EleAgent: {host} has no address", http_status=502)
    return addresses
