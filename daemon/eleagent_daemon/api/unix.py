"""How does the app listen on the Unix socket, where everybody of this machine can connect?"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Final

from aiohttp import web

from eleagent_daemon.api.peers import credentials

CONNECTIONS_EACH: Final = 256
"""Of one user at once; whoever comes after is hung up on. Root and the daemon's own account always get in."""

RETRY_S: Final = 0.5


class UnixSite:
    """`connections_each` are what one user of the machine may hold, so that none keeps the others out."""

    def __init__(
        self, runner: web.AppRunner, listener: socket.socket, *, connections_each: int = CONNECTIONS_EACH
    ) -> None:
        listener.setblocking(False)
        self._runner = runner
        self._listener = listener
        self._each = connections_each
        self._whose: dict[asyncio.BaseProtocol, int] = {}
        self._accepting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        # the loop of one listener: it lives until `close`
        self._accepting = asyncio.create_task(self._accept(), name="accept on the socket")

    async def close(self) -> None:
        """Take no more. Connections that are open are the runner's to end."""
        if self._accepting is not None:
            self._accepting.cancel()
            with suppress(asyncio.CancelledError):
                await self._accepting
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(self._listener)
            except OSError:  # no descriptor is left: that passes
                await asyncio.sleep(RETRY_S)
                continue
            try:
                await self._serve(peer)
            except OSError:  # it is gone already
                peer.close()

    async def _serve(self, peer: socket.socket) -> None:
        server = self._runner.server
        uid = credentials(peer)[1]
        open_ones = set(server.connections) if server is not None else set()
        self._whose = {one: whose for one, whose in self._whose.items() if one in open_ones}
        held = sum(whose == uid for whose in self._whose.values())
        if server is None or (uid not in (0, os.getuid()) and held >= self._each):
            peer.close()
            return
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(server, peer)
        self._whose[protocol] = uid
