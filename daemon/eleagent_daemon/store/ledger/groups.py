"""How do records share one sync of the disk? Whatever comes while a group is being written goes with the next."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger.health import Health
from eleagent_daemon.store.ledger.writer import Writer, Written

PATIENCE_S: Final = 10.0
"""How long a record may take. A disk that takes longer counts as one that refuses."""
GROUP_RECORDS: Final = 4096


@dataclass
class _Waiting:
    entries: Sequence[AuditRecord]
    done: asyncio.Future[int]
    take_away: bool
    since: float = field(default_factory=time.monotonic)


class Groups:
    """What waits to be written, and what is under way in the writer's thread."""

    def __init__(self, *, writer: Writer, thread: ThreadPoolExecutor, health: Health) -> None:
        self._writer = writer
        self._thread = thread
        self._health = health
        self._queue: deque[_Waiting] = deque()
        self._under_way: list[_Waiting] = []

    @property
    def slowness(self) -> str:
        """That the disk does not answer; else empty."""
        oldest = self._under_way[0] if self._under_way else self._queue[0] if self._queue else None
        if oldest is None or time.monotonic() - oldest.since <= PATIENCE_S:
            return ""
        return f"the disk has not answered for more than {PATIENCE_S:g} s"

    async def write(self, entries: Sequence[AuditRecord], *, take_away: bool, too_late: Callable[[int], object]) -> int:
        """Make entries durable together, in this order; returns the seq of the first. Raises AuditUnavailable, and
        calls `too_late` with the seq where they got into the log after that all the same.
        """
        if not self._health.takes(take_away=take_away):
            raise self._health.refuse(len(entries))
        waiting = _Waiting(entries, asyncio.get_running_loop().create_future(), take_away)
        self._queue.append(waiting)
        if not self._under_way:
            self._write_next()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(waiting.done)
        except TimeoutError:
            if waiting in self._queue:
                self._queue.remove(waiting)
            else:
                waiting.done.add_done_callback(lambda done: self._tell(done, too_late))
            raise self._health.refuse(len(entries), why=self.slowness) from None

    async def drain(self) -> None:
        while self._under_way:
            await asyncio.wait([one.done for one in self._under_way])
            await asyncio.sleep(0)

    def _tell(self, done: asyncio.Future[int], too_late: Callable[[int], object]) -> None:
        if not done.cancelled() and done.exception() is None:
            too_late(done.result())
            self._health.fail(OSError("the disk was too slow"))

    def _write_next(self) -> None:
        group: list[_Waiting] = []
        count = 0
        while self._queue and count < GROUP_RECORDS:
            group.append(self._queue.popleft())
            count += len(group[-1].entries)
        self._under_way = group
        failure = self._health.failure
        written = asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: self._writer.commit(group, failure=failure)
        )
        written.add_done_callback(lambda done: self._written(group, done.result()))

    def _written(self, group: list[_Waiting], written: Written) -> None:
        self._under_way = []
        if written.error is not None:
            self._health.fail(written.error)
        for number, one in enumerate(group):
            if number in written.first:
                one.done.set_result(written.first[number])
            else:
                self._refuse(one)
        for one in [one for one in self._queue if not self._health.takes(take_away=one.take_away)]:
            self._queue.remove(one)
            self._refuse(one)
        if self._queue:
            self._write_next()

    def _refuse(self, one: _Waiting) -> None:
        one.done.set_exception(self._health.refuse(len(one.entries)))
        one.done.exception()  # who gave up waiting does not ask
