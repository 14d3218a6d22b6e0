"""Who runs what must outlive a request? The one place that makes tasks; a child that fails takes no sibling with it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class Supervisor:
    """At most `slots` children with a slot at a time, in the order they came; the rest wait."""

    def __init__(self, *, slots: int) -> None:
        self.slots = slots
        self._waiting: deque[tuple[str, Work]] = deque()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._services: set[asyncio.Task[None]] = set()

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def submit(self, key: str, work: Work, *, at_once: bool = False) -> None:
        """Run `work` when a slot is free; `at_once` for what runs already and has to be looked after."""
        if at_once:
            self._begin(key, work)
            return
        self._waiting.append((key, work))
        self._fill()

    def place(self, key: str) -> int | None:
        """How many are before it in the queue, plus one; None when it does not wait."""
        return next((number for number, (waiting, _) in enumerate(self._waiting, 1) if waiting == key), None)

    def withdraw(self, key: str) -> bool:
        """Take a waiting child out of the queue; False when it does not wait any more."""
        for entry in self._waiting:
            if entry[0] == key:
                self._waiting.remove(entry)
                return True
        return False

    def serve(self, name: str, work: Work) -> None:
        """Run a part of the daemon itself, for as long as it lives, without a slot."""
        task = asyncio.create_task(self._guard(name, work), name=name)
        self._services.add(task)
        task.add_done_callback(self._services.discard)

    async def close(self) -> None:
        """Leave everything as it is: children are cancelled, what they look after lives on."""
        self._waiting.clear()
        tasks = [*self._working.values(), *self._services]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        while self._waiting and len(self._working) < self.slots:
            self._begin(*self._waiting.popleft())

    def _begin(self, key: str, work: Work) -> None:
        task = asyncio.create_task(self._guard(key, work), name=key)
        self._working[key] = task
        task.add_done_callback(partial(self._freed, key))

    def _freed(self, key: str, _: asyncio.Task[None]) -> None:
        del self._working[key]
        self._fill()

    async def _guard(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception:
            log.exception("%s failed", name)
