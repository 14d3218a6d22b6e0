"""How does the app listen on TCP, where anybody can connect?"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final

from aiohttp import web

CONNECTIONS: Final = 512
"""At once; whoever comes after is hung up on, and the Unix socket stays for its own."""

HANDSHAKE_S: Final = 10.0


class TcpSite:
    """The same app as on the Unix socket."""

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        *,
        tls: ssl.SSLContext | None,
        connections: int = CONNECTIONS,
    ) -> None:
        self._runner = runner
        self._listener = listener
        self._tls = tls
        self._connections = connections
        self._open: set[asyncio.Protocol] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            self._meet,
            sock=self._listener,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE_S if self._tls is not None else None,
        )

    async def close(self) -> None:
        """Take no more. Connections that are open are the runner's to end."""
        if self._server is not None:
            self._server.close()

    def _meet(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None:
            return _HangUp()
        self._open.intersection_update(server.connections)
        if len(self._open) >= self._connections:
            return _HangUp()
        protocol = server()
        self._open.add(protocol)
        return protocol


class _HangUp(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a TCP server's is
        transport.abort()
