"""How long does a session run, and how long has it done nothing? Told by a clock that no one can set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

BUSY_SHARE: Final = 0.05
"""Of one core: an agent that only waits uses less (Claude Code 0.5 to 0.9 %), one that works far more."""

LOAD_S: Final = 30.0
"""A load that lasts so long is one: a start of a program, or a short compilation, is none."""

Clock = Callable[[], float]


class RunClock:
    """Its time since release without pauses, going on from the `before` seconds that an earlier daemon counted."""

    def __init__(self, *, before: float = 0.0, paused: bool = False, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._before = before
        self._since = None if paused else clock()

    @property
    def paused(self) -> bool:
        return self._since is None

    @property
    def seconds(self) -> float:
        return self._before + (0.0 if self._since is None else self._clock() - self._since)

    def pause(self) -> None:
        self._before, self._since = self.seconds, None

    def unpause(self) -> None:
        if self._since is None:
            self._since = self._clock()


class Progress:
    """No event, no traffic with the model, hardly any cpu: then it does nothing."""

    def __init__(self, *, cpu_s: float | None = 0.0, clock: Clock = time.monotonic) -> None:
        """`cpu_s` is what was used before; None where that is not known, and the first look is not judged."""
        self._clock = clock
        self._last = self._looked = clock()
        self._seen = (-1, -1)
        self._cpu_s = cpu_s

    @property
    def idle_s(self) -> float:
        return self._clock() - self._last

    def look(self, *, events: int, traffic: int, cpu_s: float | None) -> None:
        """`events` and `traffic` only grow; `cpu_s` is what its present processes have used, None where not asked."""
        now = self._clock()
        if (events, traffic) != self._seen:
            self._seen, self._last = (events, traffic), now
        if cpu_s is not None:
            used, elapsed = cpu_s - (self._cpu_s or 0.0), now - self._looked
            # Less than before: one that had worked has ended, and with it what it used.
            if self._cpu_s is None or used < 0 or (elapsed > 0 and used >= BUSY_SHARE * elapsed):
                self._last = now
            self._cpu_s, self._looked = cpu_s, now

    def told(self, events: int) -> None:
        """Events that we made ourselves are no progress of the session."""
        self._seen = (events, self._seen[1])

    def begin_anew(self) -> None:
        """It was paused, or is given another chance."""
        self._last = self._clock()


class Load:
    """How many processors are at work on average, over one LOAD_S after another?"""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, float] | None = None

    def look(self, cpu_s: float) -> float | None:
        """`cpu_s` is the time on processors since the start. None while the time is not over."""
        now = self._clock()
        began, used = self._began or (now, cpu_s)
        if self._began is not None and now - began < LOAD_S:
            return None
        told = None if self._began is None else max(0.0, cpu_s - used) / (now - began)
        self._began = now, cpu_s
        return told
