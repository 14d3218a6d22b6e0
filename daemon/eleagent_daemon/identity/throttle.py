"""How often may somebody try? Back-off for each account, a bucket of tries for each address."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from eleagent.errors import Throttled
from eleagent_daemon.store.attempts import Attempts, Tries

FREE_FAILURES: Final = 4
LONGEST_WAIT_S: Final = 900.0
LOCKED_AT: Final = 100
"""NIST SP 800-63B: no more than 100 consecutive failures on one account."""

BURST: Final = 20
PER_MINUTE: Final = 10
_REMEMBERED: Final = 10_000


class Accounts:
    """Consecutive failures of each account, known or not: nobody learns from a delay who exists."""

    def __init__(self, *, attempts: Attempts, clock: Callable[[], float] = time.time) -> None:
        self._attempts = attempts
        self._clock = clock

    async def begin(self, account: str) -> None:
        """Before each try, which counts as failed until `succeeded`: so tries at the same time count too.

        Raises Throttled.
        """
        tries, at = self._attempts.get(account), self._clock()
        if tries.failed >= LOCKED_AT:
            raise Throttled(
                f"{LOCKED_AT} passwords in a row were wrong, so this account takes none any more: on the server,"
                " root or the daemon's account lets it again with eleagent user edit NAME --unlock"
            )
        if (left := tries.last + _wait_s(tries.failed) - at) > 0:
            raise Throttled(f"too many wrong passwords: try again in {left:.0f} s", retry_after_s=max(1, round(left)))
        await self._attempts.put(account, Tries(failed=tries.failed + 1, last=at))

    async def succeeded(self, account: str) -> None:
        await self._attempts.put(account, None)


class Addresses:
    """At most BURST tries at once from one address and PER_MINUTE in the long run; a /64 of IPv6 is one address."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises Throttled when no try is left."""
        left, _ = self._now(address)
        if left < 1:
            wait_s = round((1 - left) * 60 / PER_MINUTE) or 1
            raise Throttled(f"too many tries from {address}: try again in {wait_s} s", retry_after_s=wait_s)

    def take(self, address: str) -> None:
        """One try. Raises Throttled when none is left."""
        self.check(address)
        self._put(address, -1)

    def give(self, address: str) -> None:
        """It was none."""
        self._put(address, +1)

    def _put(self, address: str, change: int) -> None:
        left, at = self._now(address)
        who = _network(address)
        self._buckets[who] = (min(float(BURST), left + change), at)
        self._buckets.move_to_end(who)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)

    def _now(self, address: str) -> tuple[float, float]:
        at = self._clock()
        left, since = self._buckets.get(_network(address), (float(BURST), at))
        return min(float(BURST), left + max(0.0, at - since) * PER_MINUTE / 60), at


def _wait_s(failed: int) -> float:
    return 0.0 if failed <= FREE_FAILURES else min(2.0 ** (failed - FREE_FAILURES - 1), LONGEST_WAIT_S)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
