"""How fast may something come?"""

from __future__ import annotations

import time


class Pace:
    """`burst` at once, then `per_s` a second."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._left = self._burst
        self._at = time.monotonic()

    def take(self, weight: int = 1) -> bool:
        """Whether one more, which counts as `weight`, may come now."""
        self._refill()
        if self._left < weight:
            return False
        self._left -= weight
        return True

    def reserve_s(self) -> float:
        """Take one in any case. Returns in how many seconds it may come."""
        self._refill()
        self._left -= 1
        return max(0.0, -self._left / self._per_s)

    def _refill(self) -> None:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
