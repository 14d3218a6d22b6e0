"""How does input get into a sandbox whose stdin another process holds?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class Input:
    """The sandbox's stdin, opened when it is first written to. The holder keeps it open, whoever lets go."""

    def __init__(self, open_stdin: Callable[[], int]) -> None:
        self._open = open_stdin
        self._fd = -1
        self.closed = False
        self.wake: asyncio.Event | None = None

    async def write(self, data: bytes) -> None:
        if self.closed:
            raise ConnectionResetError("the sandbox's input was let go of")
        if self._fd < 0:
            self._fd = self._open()
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await _writable(self._fd)

    async def close(self) -> None:
        self.closed = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.wake is not None:
            self.wake.set()


async def _writable(fd: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
