"""Who sees what an agent is still writing? Bounded, never kept, dropped first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = 256


class Previews:
    """One session's token deltas. A listener that does not read loses the oldest; nobody waits for it."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str]] = set()

    def push(self, text: str) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(text)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[str]]:
        queue: asyncio.Queue[str] = asyncio.Queue(maxsize=LIMIT)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)
