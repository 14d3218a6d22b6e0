"""Who runs what must outlive a request? The one place that makes tasks; a child that fails takes no sibling with it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from eleagent_daemon.domain.queue import FairQueue

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class Supervisor:
    """At most `slots` children with a slot at a time, and at most `slots_per_user` of one user; the rest wait, and
    their users take turns.
    """

    def __init__(self, *, slots: int, slots_per_user: int) -> None:
        self.slots = slots
        self.slots_per_user = slots_per_user
        self._queue = FairQueue()
        self._waiting: dict[str, Work] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._users: Counter[str] = Counter()
        self._services: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def submit(self, key: str, work: Work, *, user: str, at_once: bool = False) -> None:
        """Run `work` when a slot is free; `at_once` for what runs already and has to be looked after."""
        if at_once:
            self._begin(key, user, work)
            return
        self._waiting[key] = work
        self._queue.add(key, user)
        self._fill()

    def place(self, key: str) -> int | None:
        """How many are before it in the queue, plus one; None when it does not wait."""
        return self._queue.place(key)

    def withdraw(self, key: str) -> bool:
        """Take a waiting child out of the queue; False when it does not wait any more."""
        return self._queue.remove(key) and bool(self._waiting.pop(key))

    def serve(self, name: str, work: Work) -> None:
        """Run a part of the daemon itself, for as long as it lives, without a slot."""
        task = asyncio.create_task(self._guard(name, work), name=name)
        self._services.add(task)
        task.add_done_callback(self._services.discard)

    async def close(self) -> None:
        """Leave everything as it is: children are cancelled, what they look after lives on."""
        self._closing = True
        tasks = [*self._working.values(), *self._services]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        while len(self._working) < self.slots:
            taken = self._queue.take(lambda user: self._users[user] < self.slots_per_user)
            if taken is None:
                return
            key, user = taken
            self._begin(key, user, self._waiting.pop(key))

    def _begin(self, key: str, user: str, work: Work) -> None:
        task = asyncio.create_task(self._guard(key, work), name=key)
        self._working[key] = task
        self._users[user] += 1
        task.add_done_callback(partial(self._freed, key, user))

    def _freed(self, key: str, user: str, _: asyncio.Task[None]) -> None:
        del self._working[key]
        self._users[user] -= 1
        if not self._closing:
            self._fill()

    async def _guard(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception:
            log.exception("%s failed", name)
