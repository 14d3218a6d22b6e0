"""How do connections come in from a listener that was handed over?"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from eleagent_daemon.domain.pace import Pace

RETRY_S: Final = 0.5
BURST: Final = 200
PER_S: Final = 50
"""More new connections a second than an agent makes; each costs the daemon a fraction of a millisecond."""

log = logging.getLogger(__name__)


class Acceptor:
    """Accepts from `listener`, which it owns, and gives each connection a protocol from `factory`.

    At `limit` live connections, and past the pace of new ones, the listener is simply not read: other sessions notice
    nothing.

    The owner of the protocols calls `released` once for each connection that ended.
    """

    def __init__(
        self,
        *,
        listener: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        limit: int,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._factory = factory
        self._free = asyncio.Semaphore(limit)
        self._pace = Pace(burst=BURST, per_s=PER_S)
        # the loop of one listener: it lives as long as this object and fails on its own
        self._task = asyncio.create_task(self._run(), name=f"accept {listener.fileno()}")

    def released(self) -> None:
        self._free.release()

    async def close(self) -> None:
        """Accept no more. Connections that were accepted are their protocols' business."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._listener.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            await asyncio.sleep(self._pace.reserve_s())
            try:
                connection, _ = await loop.sock_accept(self._listener)
                await loop.connect_accepted_socket(self._factory, connection)
            except OSError as error:
                # a peer that is gone already, or no descriptor left: either passes
                log.warning("a connection could not be accepted: %s", error)
                self._free.release()
                await asyncio.sleep(RETRY_S)
