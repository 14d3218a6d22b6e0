"""How does one client come to the daemon as a crowd, each of whose requests is from another address?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final

_ADDRESSES: Final = 250


@contextmanager
def crowd(port: int) -> Iterator[int]:
    """A port of 127.0.0.1 that leads to `port`; the daemon there meets each connection from an address of its own."""
    loop = asyncio.new_event_loop()
    numbers = count(1)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        address = f"127.{1 + number // _ADDRESSES**2}.{number // _ADDRESSES % _ADDRESSES}.{1 + number % _ADDRESSES}"
        theirs, ours = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer))

    server = loop.run_until_complete(asyncio.start_server(meet, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    under_way = asyncio.all_tasks() - {asyncio.current_task()}
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
