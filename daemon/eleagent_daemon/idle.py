"""When does a daemon end by itself? When nobody needed it for long enough."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized
from pathlib import Path
from typing import Final, Protocol

_TICKS: Final = 20
_TICK_LIMIT_S: Final = 30.0
_SETTLE_S: Final = 0.1
"""A client that found the socket before it was put aside has been accepted by then."""


class Served(Protocol):
    """Who is connected, and how often was anything asked? (aiohttp's web.Server)"""

    @property
    def connections(self) -> Sized: ...

    @property
    def requests_count(self) -> int: ...


async def until_unneeded(
    stopped: asyncio.Event,
    *,
    idle_s: float,
    served: Served | None,
    sessions: Callable[[], Awaitable[Sized]],
    socket: Path,
) -> bool:
    """Wait until `stopped`, or until for `idle_s` (0: for ever) no session lived or waited and no client came; whether
    it was the latter. The socket is gone then: nobody who connects meanwhile is turned away, the next starts a daemon.
    """
    if served is None:
        raise RuntimeError("the server is not set up yet")
    clock = asyncio.get_running_loop().time
    seen, needed = served.requests_count, clock()
    while idle_s:
        try:
            async with asyncio.timeout(min(idle_s / _TICKS, _TICK_LIMIT_S)):
                await stopped.wait()
                return False
        except TimeoutError:
            pass
        if served.connections or served.requests_count != seen or await sessions():
            seen, needed = served.requests_count, clock()
        elif clock() - needed >= idle_s:
            aside = socket.with_name(f".{socket.name}")
            await asyncio.to_thread(socket.rename, aside)
            await asyncio.sleep(_SETTLE_S)
            if not (served.connections or served.requests_count != seen):
                await asyncio.to_thread(aside.unlink)
                return True
            await asyncio.to_thread(aside.rename, socket)
    await stopped.wait()
    return False
