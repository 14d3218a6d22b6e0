"""What is told of one sandbox's doings, so that no flood of them fills a disk and what is left out is counted?"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from eleagent.wire.observations import ObservationGap, ObservationStarted, Observer, ProgramExecuted
from eleagent.wire.payload import Payload
from eleagent_daemon.domain.observed import pack, rfc3339
from eleagent_daemon.domain.pace import Pace
from eleagent_daemon.domain.sandbox import SPARE_ARGV
from eleagent_daemon.domain.spool import PAYLOAD_LIMIT, Stream
from eleagent_daemon.launcher.spool import SpoolWriter

log = logging.getLogger(__name__)

BURST: Final = 10_000
PER_S: Final = 20
"""Programs that are told one by one: at once, and a second after that. A long argument list counts as several."""
WEIGHT_BYTES: Final = 1024
TOLD_APART: Final = 64
"""Programs (by their file) that are counted separately past the burst."""
OTHERS: Final = "…"
RETRY_S: Final = 1.0
_TOGETHER: Final = 200


def now() -> str:
    return rfc3339(time.time())


class Seen:
    """One sandbox's observations, into its spool. Nothing is taken before `begin`: what runs then is ours.

    Past the burst one event a second tells how many more executions there were of one program, as at a door. A spool
    that is full or can't be written costs observations, never the sandbox's time; how many is said when it is over.
    """

    def __init__(
        self, *, spool: SpoolWriter, written: Callable[[], None], burst: int = BURST, per_s: float = PER_S
    ) -> None:
        self._spool = spool
        self._written = written
        self._pace = Pace(burst=burst, per_s=per_s)
        self._begun = False
        self._first = True
        self._waiting: list[ProgramExecuted] = []
        self._held: dict[str, ProgramExecuted] = {}
        self._missed = 0
        self._missed_from = ""

    def begin(self, programs: Observer, why: str, *, passing: bool = False) -> None:
        """Idempotent."""
        if not self._begun:
            self._begun = True
            self.tell(ObservationStarted(programs=programs, why=why, passing=passing))

    def resume(self) -> None:
        """Go on with what an earlier launcher began."""
        self._begun, self._first = True, False

    def gap(self, begin: str, what: str, missed: int | None = None) -> None:
        """What was not watched from `begin` until now."""
        if self._begun:
            self.flush()
            self.tell(ObservationGap(begin=begin, end=now(), what=what, missed=missed))

    def executed(self, execution: ProgramExecuted) -> None:
        """Taken now, written with others at the next `flush`."""
        if not self._begun:
            return
        first, self._first = self._first, False
        if first and tuple(execution.argv) == SPARE_ARGV:  # what a spare runs to become the agent is ours
            return
        weight = 1 + sum(map(len, execution.argv)) // WEIGHT_BYTES
        if not self._held and self._pace.take(weight):
            self._waiting.append(execution)
            if len(self._waiting) >= _TOGETHER:
                self.flush()
            return
        exe = execution.exe if execution.exe in self._held or len(self._held) < TOLD_APART else OTHERS
        count = self._held[exe].count if exe in self._held else 0
        self._held[exe] = msgspec.structs.replace(execution, exe=exe, count=count + execution.count)

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.tell(*waiting)

    def tick(self) -> None:
        """Once a second: tell of the next program that was held back."""
        if self._held:
            self._pace.take()  # it is this second's
            self.flush()
            self.tell(self._held.pop(next(iter(self._held))))

    def end(self) -> None:
        """Tell all that is left. Idempotent."""
        self.flush()
        self.tell(*self._held.values())
        self._held.clear()
        self._begun = False

    def tell(self, *observations: Payload) -> None:
        """In as many frames as it takes."""
        if due := [*self._overdue(), *observations]:
            self._put(due)

    async def keep(self, frame: bytes) -> None:
        """Take packed observations that must not be missed: wait until there is room for them."""
        if not self._begun:
            return
        while True:
            await self._spool.room()
            self.tell()
            try:
                self._spool.append(Stream.SEEN, frame)
            except OSError as error:
                log.warning("observations can't be spooled yet: %s", error.strerror)
                await asyncio.sleep(RETRY_S)
            else:
                self._written()
                await asyncio.sleep(0)  # the others have their turn
                return

    def _put(self, observations: Sequence[Payload]) -> None:
        frame = pack(observations)
        if len(frame) > PAYLOAD_LIMIT and len(observations) > 1:
            half = len(observations) // 2
            self._put(observations[:half])
            self._put(observations[half:])
            return
        if self._spool.full:
            self._miss(observations)
            return
        try:
            self._spool.append(Stream.SEEN, frame)
        except OSError as error:
            log.warning("observations can't be spooled: %s", error.strerror)
            self._miss(observations)
        else:
            self._written()

    def _miss(self, observations: Sequence[Payload]) -> None:
        self._missed_from = self._missed_from or now()
        self._missed += sum(one.count if isinstance(one, ProgramExecuted) else 1 for one in observations)

    def _overdue(self) -> list[Payload]:
        if not self._missed or self._spool.full:
            return []
        what = "what went on inside: the spool was full or could not be written"
        gap = ObservationGap(begin=self._missed_from, end=now(), what=what, missed=self._missed)
        self._missed, self._missed_from = 0, ""
        return [gap]
